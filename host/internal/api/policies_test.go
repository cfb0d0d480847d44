package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
)

const staff = `
apiVersion: sallyport/v1
kind: User
metadata: {name: vic}
spec: {policies: [viewer]}
---
apiVersion: sallyport/v1
kind: User
metadata: {name: ed}
spec: {policies: [editor]}
---
apiVersion: sallyport/v1
kind: User
metadata: {name: "ed;x"}
spec: {policies: [editor]}
---
apiVersion: sallyport/v1
kind: User
metadata: {name: ada}
spec: {policies: [admin]}
---
apiVersion: sallyport/v1
kind: User
metadata: {name: nobody}
---
apiVersion: sallyport/v1
kind: Policy
metadata: {name: draft}
spec: {rules: [{effect: allow, methods: [GET], paths: [/draft]}]}
---
apiVersion: sallyport/v1
kind: Policy
metadata: {name: spare, reserved: true}
spec: {rules: [{effect: allow, methods: [GET], paths: [/draft]}]}
`

// TestShippedPolicies tries what the policies of a first start allow: each
// request is made by who has viewer, by who has editor and by who has admin, in
// that order.
func TestShippedPolicies(t *testing.T) {
	f := newFixture(t, options{})
	f.apply(t, staff)
	f.apply(t, idp)
	keys := map[string]directory.Credentials{}
	for _, name := range []string{"vic", "ed", "ada", "nobody"} {
		creds, err := f.directory.CreateCredentials(t.Context(), model.Key{Kind: model.KindUser, Name: name}, directory.Options{})
		if err != nil {
			t.Fatal(err)
		}
		keys[name] = creds
	}
	user := func(name, spec string) string {
		return "{apiVersion: sallyport/v1, kind: User, metadata: {name: " + name + "}, spec: {" + spec + "}}"
	}
	policy := func(name string) string {
		return "{apiVersion: sallyport/v1, kind: Policy, metadata: {name: " + name +
			"}, spec: {rules: [{effect: allow, methods: ['*'], hosts: ['system:api'], paths: ['/**']}]}}"
	}
	const service = "{apiVersion: sallyport/v1, kind: ServiceAccount, metadata: {name: s}, spec: {role: own, disabled: true}}"
	const role = "{apiVersion: sallyport/v1, kind: Role, metadata: {name: own}, spec: {policies: [editor]}}"
	for _, tt := range []struct {
		rule, method, path, body string
		vic, ed, ada             int
	}{
		{"all read entities", "GET", "users/admin", "", 200, 200, 200},
		{"all read lists", "GET", "policies", "", 200, 200, 200},
		{"all read what was changed by whom", "GET", "audit", "", 200, 200, 200},
		{"all ask who may do something", "POST", "who-can", `{"method":"GET","path":"/x"}`, 200, 200, 200},
		{"all read relations", "GET", "users/ed/policies?effective=true", "", 200, 200, 200},
		{"all read whose an access key is", "GET", "users/ada/credentials", "", 200, 200, 200},
		{"all export", "GET", "export", "", 200, 200, 200},
		{"all ask for decisions", "POST", "check", `{"method":"GET","path":"/"}`, 200, 200, 200},
		{"editors apply", "POST", "apply", user("new", ""), 403, 200, 200},
		{"editors try to apply", "POST", "apply?dryRun=true", user("new", "disabled: true"), 403, 200, 200},
		{"editors write users", "PUT", "users/new", user("new", "email: n@example.org"), 403, 200, 200},
		{"editors go back on what they wrote", "POST", "rollback", `{"to":"8"}`, 403, 200, 200},
		{"editors don't go back on what they could not write", "POST", "rollback", `{"to":"1","force":true,"dryRun":true}`, 403, 403, 200},
		{"editors give what they hold", "PUT", "users/new/policies/editor", "", 403, 200, 200},
		{"editors don't give what they don't hold", "PUT", "users/new/policies/draft", "", 403, 403, 200},
		{"editors don't give themselves everything", "PUT", "users/ed/policies/admin", "", 403, 403, 0},
		{"editors write policies that nobody has", "PUT", "policies/own", policy("own"), 403, 201, 200},
		{"editors don't attach them", "PUT", "users/nobody/policies/own", "", 403, 403, 200},
		{"editors don't change reserved policies", "PUT", "policies/spare?force=true", policy("spare"), 403, 403, 200},
		{"editors don't delete reserved policies", "DELETE", "policies/viewer?force=true", "", 403, 403, 0},
		{"editors don't delete the first user", "DELETE", "users/admin?force=true", "", 403, 403, 0},
		{"editors make roles of what they hold", "PUT", "roles/own", role, 403, 201, 200},
		{"editors make no services", "PUT", "services/s", service, 403, 403, 201},
		{"editors change no issuers", "DELETE", "issuers/idp", "", 403, 403, 0},
		{"editors make keys of their own", "POST", "users/ed/credentials", "", 403, 201, 201},
		{"editors make no keys of others", "POST", "users/nobody/credentials", "", 403, 403, 201},
		{"a name in base64url is not one's own", "POST", "users/~ZWQ7eA/credentials", "", 403, 403, 201},
		{"editors withdraw no keys of others", "DELETE", "users/nobody/credentials/" + keys["nobody"].AccessKeyID, "", 403, 403, 200},
		{"what is new is for admin alone", "GET", "new-thing", "", 403, 403, 404},
	} {
		for _, by := range []struct {
			name string
			want int
		}{{"vic", tt.vic}, {"ed", tt.ed}, {"ada", tt.ada}} {
			if by.want == 0 {
				continue // what follows needs it as it is
			}
			req := httptest.NewRequest(tt.method, "/api/v1/"+tt.path, strings.NewReader(tt.body))
			req.SetBasicAuth(keys[by.name].AccessKeyID, keys[by.name].Secret.Reveal())
			w := f.do(req)
			if w.Code != by.want {
				t.Errorf("%s: %s by %s: %d, want %d: %s", tt.rule, tt.path, by.name, w.Code, by.want, w.Body)
			}
			// What was made is published before the next one asks.
			if revision, err := f.directory.Load(t.Context()); err != nil {
				t.Fatal(err)
			} else if _, err := f.publisher.Wait(t.Context(), revision.Generation); err != nil {
				t.Fatal(err)
			}
			if tt.method == http.MethodGet && strings.Contains(w.Body.String(), "ecret") {
				t.Errorf("%s: %s", tt.path, w.Body)
			}
		}
	}
}
