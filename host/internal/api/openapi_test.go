package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"sallyport/host/internal/api"
	"sallyport/host/internal/manifest"
	"sallyport/host/internal/model"
)

// document is the OpenAPI document, with its schemas compiled when needed. Its
// objects are closed, so that a member that it does not have is an error.
type document struct {
	root     map[string]any
	compiler *jsonschema.Compiler
	mu       sync.Mutex // the compiler is for one at a time
}

var openAPI = sync.OnceValues(func() (*document, error) {
	var root map[string]any
	if err := yaml.Unmarshal(api.OpenAPI(), &root); err != nil {
		return nil, err
	}
	closeObjects(root["components"].(map[string]any)["schemas"])
	text, err := json.Marshal(root)
	if err != nil {
		return nil, err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	d := &document{root: root, compiler: jsonschema.NewCompiler()}
	d.compiler.DefaultDraft(jsonschema.Draft2020)
	d.compiler.AssertFormat()
	return d, d.compiler.AddResource("openapi.json", value)
})

// closeObjects makes members that a schema does not name an error.
func closeObjects(v any) {
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			closeObjects(x)
		}
	case map[string]any:
		_, named := v["properties"]
		if _, ok := v["additionalProperties"]; named && !ok && v["type"] == "object" {
			v["additionalProperties"] = false
		}
		for _, x := range v {
			closeObjects(x)
		}
	}
}

// at returns what is at a path of names in the document; nil if nothing is.
func (d *document) at(names ...string) map[string]any {
	v := d.root
	for _, n := range names {
		v, _ = v[n].(map[string]any)
		if ref, ok := v["$ref"].(string); ok {
			v = d.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
		}
	}
	return v
}

// pointer returns the JSON pointer of the schema of an answer.
func pointer(path, method, status, mediaType string) string {
	escape := strings.NewReplacer("~", "~0", "/", "~1")
	p := "openapi.json#"
	for _, n := range []string{"paths", path, method, "responses", status, "content", mediaType, "schema"} {
		p += "/" + escape.Replace(n)
	}
	return p
}

func (d *document) validate(where string, body []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, err := d.compiler.Compile(where)
	if err != nil {
		return err
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

// everywhere are the errors of requests that no operation is for.
var everywhere = []int{400, 401, 403, 404, 405, 429, 503}

// conform fails unless the answer to a request is as the document says.
func conform(t *testing.T, req *http.Request, w *httptest.ResponseRecorder) {
	t.Helper()
	d, err := openAPI()
	if err != nil {
		t.Fatal(err)
	}
	mediaType, _, _ := mime.ParseMediaType(w.Header().Get("Content-Type"))
	method, path, ok := strings.Cut(req.Pattern, " ")
	if !ok { // of no operation
		err := d.validate("openapi.json#/components/schemas/Problem", w.Body.Bytes())
		if !slices.Contains(everywhere, w.Code) || mediaType != "application/problem+json" || err != nil {
			t.Errorf("%s %s: %d %s %v", req.Method, req.RequestURI, w.Code, w.Body, err)
		}
		return
	}
	method, status := strings.ToLower(method), fmt.Sprint(w.Code)
	answer := d.at("paths", path, method, "responses", status)
	if answer == nil {
		t.Errorf("%s: an answer %s is not in the document: %s", req.Pattern, status, w.Body)
		return
	}
	content, _ := answer["content"].(map[string]any)
	switch _, ok := content[mediaType]; {
	case content == nil && w.Body.Len() == 0:
	case !ok:
		t.Errorf("%s: answer %s of media type %q is not in the document", req.Pattern, status, mediaType)
	case strings.HasSuffix(mediaType, "json"):
		where := pointer(path, method, status, mediaType)
		if w.Code >= 400 {
			where = "openapi.json#/components/schemas/Problem"
		}
		if err := d.validate(where, w.Body.Bytes()); err != nil {
			t.Errorf("%s: answer %s: %v\n%s", req.Pattern, status, err, w.Body)
		}
	}
	for name := range w.Header() {
		named, _ := answer["headers"].(map[string]any)
		if _, ok := named[documentedName(name)]; !ok && slices.Contains([]string{"Etag", "Location", "Im", "Delta-Base", "Content-Encoding", "Retry-After", "Www-Authenticate"}, name) {
			t.Errorf("%s: answer %s has the header %s, which is not in the document", req.Pattern, status, name)
		}
	}
}

// documentedName returns a header's name as the document spells it.
func documentedName(name string) string {
	switch name {
	case "Etag":
		return "ETag"
	case "Im":
		return "IM"
	case "Www-Authenticate":
		return "WWW-Authenticate"
	}
	return name
}

func TestOperationsAreTheRoutes(t *testing.T) {
	d, err := openAPI()
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	ids := map[string]string{}
	for path, item := range d.root["paths"].(map[string]any) {
		for method, op := range item.(map[string]any) {
			if method == "parameters" {
				continue
			}
			route := strings.ToUpper(method) + " " + path
			documented = append(documented, route)
			id := op.(map[string]any)["operationId"].(string)
			if other, twice := ids[id]; twice {
				t.Errorf("%s and %s are both %q", route, other, id)
			}
			ids[id] = route
		}
	}
	routes := api.Routes(api.Options{Registry: prometheus.NewRegistry()})
	if len(routes) == 0 {
		t.Fatal("no routes")
	}
	for _, r := range routes {
		if !slices.Contains(documented, r) {
			t.Errorf("%s is served and not in the document", r)
		}
	}
	for _, r := range documented {
		if !slices.Contains(routes, r) {
			t.Errorf("%s is in the document and not served", r)
		}
	}
}

// TestDocumentIsWhole: what is referred to is there, each path parameter is
// described, and each schema compiles.
func TestDocumentIsWhole(t *testing.T) {
	d, err := openAPI()
	if err != nil {
		t.Fatal(err)
	}
	refs := 0
	for _, m := range regexp.MustCompile(`\$ref: '?#/([\w./]+)`).FindAllSubmatch(api.OpenAPI(), -1) {
		refs++
		if d.at(strings.Split(string(m[1]), "/")...) == nil {
			t.Errorf("nothing is at %s", m[1])
		}
	}
	if refs == 0 {
		t.Error("no references")
	}
	schemas := d.at("components", "schemas")
	if len(schemas) == 0 {
		t.Error("no schemas")
	}
	for name := range schemas {
		d.mu.Lock()
		if _, err := d.compiler.Compile("openapi.json#/components/schemas/" + name); err != nil {
			t.Error(err)
		}
		d.mu.Unlock()
	}
	for path, item := range d.root["paths"].(map[string]any) {
		parameters, _ := item.(map[string]any)["parameters"].([]any)
		if len(parameters) != strings.Count(path, "{") {
			t.Errorf("%s: %d parameters", path, len(parameters))
		}
	}
}

func TestDocumentsOfTheAPIAreForAnybody(t *testing.T) {
	f := newFixture(t, options{})
	w := f.do(httptest.NewRequest(http.MethodGet, api.OpenAPIPath, nil))
	if w.Code != http.StatusOK || !bytes.HasPrefix(w.Body.Bytes(), []byte("openapi: 3.1.1\n")) {
		t.Errorf("%d %.80s", w.Code, w.Body)
	}
	w = f.do(httptest.NewRequest(http.MethodGet, api.SchemaPath, nil))
	if w.Code != http.StatusOK || !bytes.Equal(w.Body.Bytes(), manifest.JSONSchema()) {
		t.Errorf("%d %.80s", w.Code, w.Body)
	}
}

// TestEachOperationAnswersAsDocumented makes a request for each operation but
// those that delete; what else tests of this package meet is held against the
// document as well, see fixture.do.
func TestEachOperationAnswersAsDocumented(t *testing.T) {
	f := newFixture(t, options{})
	f.apply(t, conformanceSet)
	d, err := openAPI()
	if err != nil {
		t.Fatal(err)
	}
	bodies := map[string]string{
		"/api/v1/apply": conformanceSet, "/api/v1/access": `{}`, "/api/v1/who-can": `{"method":"GET","path":"/a"}`, "/api/v1/test": conformanceSet, "/api/v1/check": `{"method":"GET","path":"/"}`,
		"/api/v1/proxy-tokens": `{"name":"edge-1"}`,
		"/api/v1/rollback":     `{"to":"1","dryRun":true}`,
		"/api/v1/revocations":  `{"issuer":"a","jti":"t","expires":"` + time.Now().Add(time.Hour).UTC().Format(time.RFC3339) + `"}`,
	}
	for _, kind := range model.Kinds() {
		bodies[string(kind)] = kindBody(string(kind))
	}
	var routes []string
	for path, item := range d.root["paths"].(map[string]any) {
		for method := range item.(map[string]any) {
			if method != "parameters" {
				routes = append(routes, strings.ToUpper(method)+" "+path)
			}
		}
	}
	slices.SortFunc(routes, func(a, b string) int { return strings.Compare(order(a), order(b)) })
	for _, route := range routes {
		method, path, _ := strings.Cut(route, " ")
		if !strings.HasPrefix(path, "/api/v1/") || method == http.MethodDelete {
			continue
		}
		w := f.do(f.admin(method, target(f, path), strings.NewReader(bodyOf(d, bodies, method, path))))
		want := http.StatusOK
		switch {
		case route == "POST /api/v1/issuers/{name}/refresh": // its keys are inline
			want = http.StatusNotFound
		case path == "/api/v1/test": // the body has no tests; a form would
			want = http.StatusUnprocessableEntity
		case method == http.MethodPost && strings.HasSuffix(path, "/{name}"): // it is there
			want = http.StatusConflict
		case method == http.MethodPost && (strings.HasSuffix(path, "/credentials") || path == "/api/v1/proxy-tokens"):
			want = http.StatusCreated
		case path == "/api/v1/services/{name}/credentials/{other}": // the key is a user's
			want = http.StatusNotFound
		}
		if w.Code != want {
			t.Errorf("%s: %d, want %d: %s", route, w.Code, want, w.Body)
		}
	}
}

// order sorts by method, PUT before what needs it.
func order(route string) string {
	method, path, _ := strings.Cut(route, " ")
	return fmt.Sprint(slices.Index([]string{"PUT", "GET", "POST", "DELETE"}, method)) + path
}

// target fills the wildcards of a path with names that there are.
func target(f *fixture, path string) string {
	name, other := "a", "a"
	if strings.Contains(path, "credentials/{") {
		name, other = "admin", f.key
		if strings.HasPrefix(path, "/api/v1/credentials/") {
			name = f.key
		}
	}
	return strings.NewReplacer("{name}", name, "{other}", other).Replace(path)
}

func bodyOf(d *document, bodies map[string]string, method, path string) string {
	if body, ok := bodies[path]; ok && method == http.MethodPost {
		return body
	}
	content, _ := d.at("paths", path, strings.ToLower(method), "requestBody", "content", "application/yaml", "schema")["required"].([]any)
	if content == nil {
		return ""
	}
	kind := d.at("paths", path, strings.ToLower(method), "requestBody", "content", "application/yaml", "schema", "properties", "kind")
	return bodies[kind["enum"].([]any)[0].(string)]
}

// kindBody returns the first document of a kind.
func kindBody(kind string) string {
	for doc := range strings.SplitSeq(conformanceSet, "---\n") {
		if strings.Contains(doc, "kind: "+kind+"\n") {
			return doc
		}
	}
	panic("no " + kind)
}

const conformanceSet = `apiVersion: sallyport/v1
kind: Policy
metadata: {name: a}
spec: {rules: [{effect: allow, methods: [GET], paths: [/a]}]}
---
apiVersion: sallyport/v1
kind: User
metadata: {name: a, description: one}
spec: {email: a@example.org, policies: [a], tokensNotBefore: "2020-01-01T00:00:00Z"}
---
apiVersion: sallyport/v1
kind: Group
metadata: {name: a}
spec: {members: [a], policies: [a]}
---
apiVersion: sallyport/v1
kind: Role
metadata: {name: a}
spec: {policies: [a], users: [a], groups: [a]}
---
apiVersion: sallyport/v1
kind: Role
metadata: {name: runtime}
---
apiVersion: sallyport/v1
kind: ServiceAccount
metadata: {name: a}
spec: {role: runtime, identities: [{issuer: a, client: c}]}
---
apiVersion: sallyport/v1
kind: Issuer
metadata: {name: a}
spec: {issuer: "https://a.example", audiences: [b], algorithms: [ES256], shareNames: true, jwks: {inline: {keys: []}}}
`
