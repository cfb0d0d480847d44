package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"sallyport/host/internal/model"
)

// durationPattern is what model.ParseDuration takes of texts, but for the
// fractions that make no whole second.
const durationPattern = `^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))*$|^[+-]?0$`

// JSONSchema returns the JSON Schema (draft 2020-12) of one document of any kind,
// suites of tests among them.
// It is made of the tables that documents are read by. What goes beyond the form
// of a single document, such as references, is not in it.
func JSONSchema() []byte {
	kinds := allKindNames()
	branches := make([]any, len(kinds))
	defs := map[string]any{}
	for i, k := range kinds {
		defs[k] = schemaOf(model.Kind(k)).jsonSchema()
		branches[i] = map[string]any{
			"if":   map[string]any{"properties": map[string]any{"kind": map[string]any{"const": k}}, "required": []string{"kind"}},
			"then": map[string]any{"$ref": "#/$defs/" + k},
		}
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(map[string]any{
		"$schema":     "https://json-schema.org/draft/2020-12/schema",
		"title":       "Sallyport document, " + model.APIVersion,
		"description": "One document of a file; a file of YAML may have several.",
		"type":        "object",
		"required":    []string{"kind"},
		"properties":  map[string]any{"kind": map[string]any{"enum": kinds, "description": "what the document describes"}},
		"allOf":       branches,
		"$defs":       defs,
	})
	if err != nil {
		panic(fmt.Sprintf("manifest: internal error: %v", err)) // of maps and texts
	}
	return out.Bytes()
}

// DocumentSchema returns the JSON Schema of documents of a kind, as a value to
// be encoded. It refers to nothing.
func DocumentSchema(k model.Kind) map[string]any {
	return documentOf(k).jsonSchema()
}

// schemaOf is documentOf, for suites of tests as well.
func schemaOf(k model.Kind) *schema {
	if k == kindPolicyTest {
		return policyTestDocument
	}
	return documentOf(k)
}

// allKindNames returns the kinds and that of suites in the order of their names.
func allKindNames() []string {
	names := append(kindNames(), string(kindPolicyTest))
	slices.Sort(names)
	return names
}

// kindNames returns the kinds in the order of their names.
func kindNames() []string {
	var names []string
	for _, k := range model.Kinds() {
		names = append(names, string(k))
	}
	slices.Sort(names)
	return names
}

func (s *schema) jsonSchema() map[string]any {
	switch s.shape {
	case shapeBool:
		return map[string]any{"type": "boolean"}
	case shapeDuration:
		return map[string]any{"type": "string", "pattern": durationPattern}
	case shapeTime:
		return map[string]any{"type": "string", "format": "date-time"}
	case shapeList:
		return map[string]any{"type": "array", "items": s.item.jsonSchema()}
	case shapeAny:
		return map[string]any{"type": "object"}
	case shapeObject:
		return s.jsonObject()
	}
	if s.oneOf != nil {
		return map[string]any{"type": "string", "enum": s.oneOf}
	}
	return map[string]any{"type": "string"}
}

func (s *schema) jsonObject() map[string]any {
	properties := map[string]any{}
	var required []string
	for _, f := range s.fields {
		value := f.value.jsonSchema()
		value["description"] = f.about
		properties[f.name] = value
		if f.required {
			required = append(required, f.name)
		}
	}
	object := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		object["required"] = required
	}
	return object
}
