package manifest

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
	"golang.org/x/tools/txtar"

	"sallyport/host/internal/model"
)

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(JSONSchema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asJSON returns the values of a YAML stream's documents as jsonschema wants
// them.
func asJSON(t *testing.T, data []byte) (values []any) {
	t.Helper()
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var v any
		if dec.Decode(&v) != nil {
			return values
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, value)
	}
}

// TestSchemaTakesWhatIsTaken: each document of the stories is valid.
func TestSchemaTakesWhatIsTaken(t *testing.T) {
	schema := compiledSchema(t)
	stories, err := filepath.Glob(filepath.Join("..", "..", "..", "policydata", "testdata", "decide", "*.txtar"))
	if err != nil || len(stories) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	documents, kinds := 0, map[string]bool{}
	for _, path := range stories {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range txtar.Parse(data).Files {
			docs, err := Parse(f.Name, f.Data)
			if filepath.Ext(f.Name) != ".yaml" || err != nil || len(docs) == 0 {
				continue
			}
			for _, v := range asJSON(t, f.Data) {
				if v == nil {
					continue
				}
				documents++
				kinds[v.(map[string]any)["kind"].(string)] = true
				if err := schema.Validate(v); err != nil {
					t.Errorf("%s: %s: %v", path, f.Name, err)
				}
			}
		}
	}
	if documents == 0 || len(kinds) != len(model.Kinds()) {
		t.Errorf("%d documents of the kinds %v", documents, kinds)
	}
}

func TestSchemaAgreesWithReading(t *testing.T) {
	schema := compiledSchema(t)
	const user = "apiVersion: sallyport/v1\nkind: User\nmetadata: {name: eric}\n"
	const issuer = "apiVersion: sallyport/v1\nkind: Issuer\nmetadata: {name: i}\nspec: {issuer: a, audiences: [b], algorithms: [ES256], jwks: {inline: {keys: []}}, clockSkew: "
	const suite = "apiVersion: sallyport/v1\nkind: PolicyTest\nmetadata: {name: s}\nspec: {principals: ["
	tests := map[string]struct {
		text string
		good bool
	}{
		"a user without a spec":       {user, true},
		"an unknown field":            {user + "spec: {mail: x}\n", false},
		"an unknown kind":             {"apiVersion: sallyport/v1\nkind: Robot\nmetadata: {name: x}\n", false},
		"no kind":                     {"apiVersion: sallyport/v1\nmetadata: {name: x}\n", false},
		"another version":             {"apiVersion: sallyport/v2\nkind: User\nmetadata: {name: x}\n", false},
		"no name":                     {"apiVersion: sallyport/v1\nkind: User\nmetadata: {}\n", false},
		"a spec that is required":     {"apiVersion: sallyport/v1\nkind: Policy\nmetadata: {name: x}\n", false},
		"an effect that there is not": {"apiVersion: sallyport/v1\nkind: Policy\nmetadata: {name: x}\nspec: {rules: [{effect: maybe, methods: [GET], paths: [/]}]}\n", false},
		"a text where a list is":      {user + "spec: {policies: read}\n", false},
		"a text for a truth value":    {user + "spec: {disabled: 'true'}\n", false},
		"a time":                      {user + "spec: {tokensNotBefore: '2026-11-01T00:00:00Z'}\n", true},
		"a time that is none":         {user + "spec: {tokensNotBefore: 'tomorrow'}\n", false},
		"a status":                    {user + "status: {anything: [1, {}]}\n", true},
		"a suite of tests": {suite + "{name: a, claims: {sub: x}}], requests: [{name: r, path: /, headers: {a: [b]}}], " +
			"tests: [{expect: [{decision: deny, reason: no_matching_rule}]}]}\n", true},
		"a suite with a reason that there is not": {suite + "{name: a}], requests: [{name: r, path: /}], " +
			"tests: [{expect: [{decision: deny, reason: because}]}]}\n", false},
		"a suite with an unknown field": {suite + "{name: a, token: x}], requests: [{name: r, path: /}], tests: [{expect: []}]}\n", false},
		"a suite without requests":      {suite + "{name: a}], tests: [{expect: []}]}\n", false},
		"a suite with a status":         {suite + "{name: a}], requests: [{name: r, path: /}], tests: [{expect: []}]}\nstatus: {}\n", false},
		"a duration":                    {issuer + "1h30m}\n", true},
		"a duration of nothing":         {issuer + "'0'}\n", true},
		"a duration of another format":  {issuer + "PT30S}\n", false},
		"a duration without a unit":     {issuer + "'30'}\n", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, _, errs := parseAll("x.yaml", []byte(tt.text))
			if good := len(errs) == 0; good != tt.good {
				t.Errorf("reading: %v", errs)
			}
			values := asJSON(t, []byte(tt.text))
			if len(values) != 1 {
				t.Fatalf("%d documents", len(values))
			}
			if err := schema.Validate(values[0]); (err == nil) != tt.good {
				t.Errorf("schema: %v", err)
			}
		})
	}
}
