package api_test

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"sallyport/host/internal/api"
	"sallyport/host/internal/check"
	"sallyport/host/internal/directory"
	"sallyport/host/internal/explain"
	"sallyport/host/internal/policytest"
)

// TestAnswersAreDescribedWhole: the schemas of what is answered to questions have
// the members that Go's types have, those within them included, and no others.
func TestAnswersAreDescribedWhole(t *testing.T) {
	d, err := openAPI()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	var compare func(at string, schema map[string]any, of reflect.Type)
	compare = func(at string, schema map[string]any, of reflect.Type) {
		if ref, ok := schema["$ref"].(string); ok {
			schema = d.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
		}
		for of.Kind() == reflect.Pointer {
			of = of.Elem()
		}
		switch {
		case of.Kind() == reflect.Slice && of != reflect.TypeFor[json.RawMessage]():
			items, _ := schema["items"].(map[string]any)
			compare(at+"[]", items, of.Elem())
			return
		case of.Kind() != reflect.Struct || of == reflect.TypeFor[time.Time]():
			return
		}
		properties, _ := schema["properties"].(map[string]any)
		members := membersOf(of)
		for name, member := range members {
			seen++
			property, ok := properties[name].(map[string]any)
			if !ok {
				t.Errorf("%s.%s is in answers and not in the document", at, name)
				continue
			}
			compare(at+"."+name, property, member)
		}
		for name := range properties {
			if _, ok := members[name]; !ok {
				t.Errorf("%s.%s is in the document and not in answers", at, name)
			}
		}
	}
	for name, of := range map[string]reflect.Type{
		"Explanation":  reflect.TypeFor[explain.Explanation](),
		"AccessAnswer": reflect.TypeFor[check.AccessAnswer](),
		"AccessQuery":  reflect.TypeFor[check.AccessQuery](),
		"Query":        reflect.TypeFor[check.Query](),
		"WhoAnswer":    reflect.TypeFor[check.WhoAnswer](),
		"WhoQuery":     reflect.TypeFor[check.WhoQuery](),
		"TestReport":   reflect.TypeFor[policytest.Report](),
		"Applied":      reflect.TypeFor[api.Applied](),
		"AuditRecord":  reflect.TypeFor[directory.Record](),
	} {
		compare(name, d.at("components", "schemas", name), of)
	}
	if seen < 100 {
		t.Errorf("only %d members were compared", seen)
	}
}

// membersOf returns the members that a struct has as JSON.
func membersOf(of reflect.Type) map[string]reflect.Type {
	members := map[string]reflect.Type{}
	for i := range of.NumField() {
		f := of.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			maps.Copy(members, membersOf(f.Type))
		case f.IsExported() && name != "-":
			members[cmp.Or(name, f.Name)] = f.Type
		}
	}
	return members
}

// TestExplanationsAreAsDocumented explains decisions of many kinds; what is
// answered is held against the document by fixture.do.
func TestExplanationsAreAsDocumented(t *testing.T) {
	f := newFixture(t, options{})
	f.apply(t, idp)
	f.apply(t, explained)
	reasons := map[string]bool{}
	for _, query := range []string{
		`"method":"GET","path":"/w/foo","claims":{"iss":"https://idp.example.com","sub":"eric","groups":["foo"]}`,
		`"method":"GET","path":"/w/bar","claims":{"iss":"https://idp.example.com","sub":"eric","groups":["foo"]}`,
		`"method":"PUT","path":"/w/foo","claims":{"iss":"https://idp.example.com","sub":"eric","groups":["foo"]}`,
		`"method":"GET","path":"/w/secret","claims":{"iss":"https://idp.example.com","sub":"eric","groups":["foo","secret"]}`,
		`"method":"GET","path":"/odd","claims":{"iss":"https://idp.example.com","sub":"eric"}`,
		`"method":"GET","path":"/w/foo","claims":{"iss":"https://idp.example.com","sub":"eric","groups":["foo"],"azp":"mlops"}`,
		`"method":"GET","path":"/w/foo","claims":{"iss":"https://idp.example.com","sub":"mlops","azp":"mlops","act":{"sub":"nobody"}}`,
		`"method":"GET","path":"//"`,
		`"method":"GET","path":"/w/foo"`,
		`"method":"GET","path":"/w/foo","token":"a.b.c"`,
		`"method":"GET","path":"/w/foo","claims":{"iss":"nobody"}`,
	} {
		w := f.do(f.admin("POST", "/api/v1/check", strings.NewReader(`{"explain":true,`+query+`}`)))
		var answer struct {
			Reason      string
			Explanation map[string]any
		}
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK || answer.Explanation == nil {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
		reasons[answer.Reason] = true
	}
	if len(reasons) < 7 {
		t.Errorf("only the reasons %v", reasons)
	}
	for path, host := range map[string]string{"/w/foo": "x", "/w/secret": "", "/odd": "", "//": "", "/api/v1/apply": "system:api"} {
		if w := f.do(f.admin("POST", "/api/v1/who-can", strings.NewReader(`{"method":"GET","path":"`+path+`","host":"`+host+`"}`))); w.Code != http.StatusOK {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	for _, query := range []string{`{}`, `{"claims":{"iss":"https://idp.example.com","sub":"eric","groups":["foo"]}}`, `{"claims":{"iss":"https://idp.example.com","sub":"eric","groups":["foo"],"azp":"mlops"}}`, `{"claims":{"iss":"nobody"}}`} {
		if w := f.do(f.admin("POST", "/api/v1/access", strings.NewReader(query))); w.Code != http.StatusOK {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
}

const explained = everyoneReads + `
---
apiVersion: sallyport/v1
kind: Policy
metadata: {name: odd}
spec: {rules: [{effect: deny, methods: [GET], paths: [/odd], when: token.claims.x == "1"}]}
---
apiVersion: sallyport/v1
kind: User
metadata: {name: eric}
spec: {policies: [odd]}
---
apiVersion: sallyport/v1
kind: Role
metadata: {name: own}
---
apiVersion: sallyport/v1
kind: Role
metadata: {name: act}
spec: {governing: true, policies: [reading]}
---
apiVersion: sallyport/v1
kind: ServiceAccount
metadata: {name: mlops}
spec: {role: own, identities: [{issuer: idp, client: mlops, subject: mlops}], delegation: [{role: act, users: ["*"]}]}
`
