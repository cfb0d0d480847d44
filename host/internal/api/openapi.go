package api

import (
	_ "embed"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"sallyport/host/internal/manifest"
	"sallyport/host/internal/model"
)

// openAPIBase is what of the OpenAPI document is written by hand.
//
//go:embed openapi_base.yaml
var openAPIBase []byte

// openAPIDecisions are further schemas that are.
//
//go:embed openapi_decisions.yaml
var openAPIDecisions []byte

// OpenAPI returns the OpenAPI 3.1 document of all that New serves, in YAML.
var OpenAPI = sync.OnceValue(func() []byte {
	doc := written("openapi_base.yaml", openAPIBase)
	components := memberOf(doc, "components")
	schemas := memberOf(components, "schemas")
	schemas.Content = append(schemas.Content, written("openapi_decisions.yaml", openAPIDecisions).Content...)
	made := documentSchemas()
	for _, name := range slices.Sorted(maps.Keys(made)) {
		addMember(schemas, name, made[name])
	}
	addMember(components, "responses", problemAnswers())
	addMember(doc, "paths", pathItems())
	out, err := yaml.Marshal(doc)
	if err != nil {
		panic(fmt.Sprintf("api: internal error: openapi: %v", err))
	}
	return out
})

// written returns what was written by hand, without the comment for who does.
func written(name string, text []byte) *yaml.Node {
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		panic(fmt.Sprintf("api: internal error: %s: %v", name, err))
	}
	doc := root.Content[0]
	root.HeadComment, doc.HeadComment, doc.Content[0].HeadComment = "", "", ""
	return doc
}

// memberOf returns the value of a member of a mapping.
func memberOf(n *yaml.Node, name string) *yaml.Node {
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1]
		}
	}
	panic("api: internal error: openapi_base.yaml has no " + name)
}

func addMember(n *yaml.Node, name string, value any) {
	var v yaml.Node
	if err := v.Encode(value); err != nil {
		panic(fmt.Sprintf("api: internal error: openapi: %v", err))
	}
	n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: name}, &v)
}

// object is an object of the OpenAPI document.
type object = map[string]any

func schemaRef(name string) object { return object{"$ref": "#/components/schemas/" + name} }

// documentSchemas are the schemas that follow from the tables of documents.
func documentSchemas() object {
	schemas := object{}
	var kinds []string
	var documents []object
	mapping := map[string]string{}
	for _, k := range model.Kinds() {
		name := string(k)
		kinds = append(kinds, name)
		s := manifest.DocumentSchema(k)
		if k == model.KindIssuer {
			s["properties"].(object)["status"] = schemaRef("KeyStatus")
		}
		if k == model.KindUser {
			s["properties"].(object)["status"] = schemaRef("UserStatus")
		}
		schemas[name] = s
		schemas[name+"Page"] = pageOf(name)
		documents = append(documents, schemaRef(name))
		mapping[name] = "#/components/schemas/" + name
	}
	schemas["Kind"] = object{"enum": kinds}
	schemas["Document"] = object{"oneOf": documents, "discriminator": object{"propertyName": "kind", "mapping": mapping}}
	for _, of := range []string{"Reference", "Credentials", "Revocation", "AuditRecord", "ProxyToken"} {
		schemas[of+"Page"] = pageOf(of)
	}
	return schemas
}

func pageOf(name string) object {
	return object{
		"type": "object", "required": []string{"results", "pagination"},
		"properties": object{
			"results":    object{"type": "array", "items": schemaRef(name)},
			"pagination": schemaRef("Pagination"),
		},
	}
}

// problemText says what an error status means.
var problemText = map[int]string{
	http.StatusBadRequest:            "the path, the query or the body is malformed",
	http.StatusUnauthorized:          "no credentials, or bad ones",
	http.StatusForbidden:             "the policies don't allow it, or it would grant what the caller does not hold",
	http.StatusNotFound:              "there is no such thing",
	http.StatusConflict:              "it exists, is reserved, or is in use",
	http.StatusPreconditionFailed:    "the entity is not as If-Match or If-None-Match says",
	http.StatusRequestEntityTooLarge: "the body is too large",
	http.StatusUnprocessableEntity:   "the documents are not as they should be; errors say where",
	http.StatusTooManyRequests:       "too many failed logins, or too many proxies",
	http.StatusInternalServerError:   "nothing was changed; the host's log says why",
	http.StatusServiceUnavailable:    "the host can't answer now",
	http.StatusInsufficientStorage:   "nothing was changed: the host's disk is full",
}

// problemAnswers are the error answers, by names such as "Problem404".
func problemAnswers() object {
	answers := object{}
	for status, text := range problemText {
		headers := object{}
		switch status {
		case http.StatusUnauthorized:
			headers["WWW-Authenticate"] = headerRef("WWWAuthenticate")
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
			headers["Retry-After"] = headerRef("RetryAfter")
		}
		answers[problemName(status)] = object{
			"description": text, "headers": headers,
			"content": object{"application/problem+json": object{"schema": schemaRef("Problem")}},
		}
	}
	return answers
}

func problemName(status int) string { return "Problem" + strconv.Itoa(status) }

func headerRef(name string) object { return object{"$ref": "#/components/headers/" + name} }

// pathItems are the operations by path and method.
func pathItems() object {
	paths := object{}
	for _, op := range operations() {
		method, path, _ := strings.Cut(op.route, " ")
		item, ok := paths[path].(object)
		if !ok {
			item = object{}
			if p := pathParameters(path); len(p) > 0 {
				item["parameters"] = p
			}
			paths[path] = item
		}
		item[strings.ToLower(method)] = op.object()
	}
	return paths
}

var wildcard = regexp.MustCompile(`\{(\w+)\}`)

// pathParameters describes the wildcards of a path.
func pathParameters(path string) (list []object) {
	for _, m := range wildcard.FindAllStringSubmatch(path, -1) {
		list = append(list, object{"name": m[1], "in": "path", "required": true, "schema": object{"type": "string"}})
	}
	return list
}

// object returns the operation as the document has it.
func (op operation) object() object {
	o := object{"operationId": op.id(), "summary": op.summary, "tags": []string{op.tag}, "responses": op.responses()}
	switch {
	case op.open:
		o["security"] = []object{}
	case op.proxy: // none, on loopback
		o["security"] = []object{{"proxyToken": []string{}}, {"proxyCertificate": []string{}}, {}}
	}
	var parameters []object
	for _, name := range op.parameters {
		parameters = append(parameters, object{"$ref": "#/components/parameters/" + name})
	}
	if len(parameters) > 0 {
		o["parameters"] = parameters
	}
	if op.body != nil {
		o["requestBody"] = object{"required": true, "content": op.body}
	}
	return o
}

// id makes "get_users_name_groups" of "GET /api/v1/users/{name}/groups".
func (op operation) id() string {
	words := strings.FieldsFunc(strings.Replace(op.route, apiPrefix, "", 1), func(r rune) bool {
		return strings.ContainsRune(" /{}.-", r)
	})
	return strings.ToLower(words[0]) + "_" + strings.Join(words[1:], "_")
}

func (op operation) responses() object {
	out := object{}
	for status, answer := range op.answers {
		out[strconv.Itoa(status)] = answer
	}
	for _, status := range op.errors {
		out[strconv.Itoa(status)] = object{"$ref": "#/components/responses/" + problemName(status)}
	}
	return out
}

// serveOpenAPI and serveSchema answer anybody: they say what this program is,
// and nothing of the host's state.
func serveOpenAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(OpenAPI()) // a client that went away is no error of ours
}

func serveSchema(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/schema+json")
	_, _ = w.Write(manifest.JSONSchema()) // as above
}
