package api_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sallyport/host/internal/devissuer"
	"sallyport/host/internal/directory"
	"sallyport/host/internal/jwks"
	"sallyport/host/internal/model"
)

// writers are users who may write by policy: ed may do everything that requests
// do, and boss everything.
const writers = `
apiVersion: sallyport/v1
kind: Policy
metadata: {name: editing}
spec: {rules: [{effect: allow, methods: ["@read", "@write"], hosts: ["system:api"], paths: ["/api/v1/**"]}]}
---
apiVersion: sallyport/v1
kind: Policy
metadata: {name: users-only}
spec: {rules: [{effect: allow, methods: ["*"], hosts: ["system:api"], paths: ["/api/v1/users/**"]}]}
---
apiVersion: sallyport/v1
kind: User
metadata: {name: ed}
spec: {policies: [editing]}
---
apiVersion: sallyport/v1
kind: User
metadata: {name: uli}
spec: {policies: [users-only]}
---
apiVersion: sallyport/v1
kind: User
metadata: {name: boss}
spec: {policies: [admin]}
---
apiVersion: sallyport/v1
kind: Group
metadata: {name: editors}
spec: {policies: [editing]}
---
apiVersion: sallyport/v1
kind: Role
metadata: {name: editing-service}
spec: {policies: [editing]}
---
apiVersion: sallyport/v1
kind: ServiceAccount
metadata: {name: robot}
spec: {role: editing-service}
`

func TestNobodyGrantsWhatTheyDoNotHold(t *testing.T) {
	f := newFixture(t, options{})
	f.apply(t, writers)
	f.apply(t, idp)
	basic := func(kind model.Kind, name string) func(*http.Request) {
		creds, err := f.directory.CreateCredentials(t.Context(), model.Key{Kind: kind, Name: name}, directory.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return func(r *http.Request) { r.SetBasicAuth(creds.AccessKeyID, creds.Secret.Reveal()) }
	}
	ed, uli, boss := basic(model.KindUser, "ed"), basic(model.KindUser, "uli"), basic(model.KindUser, "boss")
	robot := basic(model.KindServiceAccount, "robot")
	member := "Bearer " + f.token(t, devissuer.MintRequest{User: "x", Groups: []string{"editors"}})
	token := func(r *http.Request) { r.Header.Set("Authorization", member) }
	send := func(as func(*http.Request), method, path, body string) *httptest.ResponseRecorder {
		var b io.Reader
		if body != "" {
			b = strings.NewReader(body)
		}
		req := httptest.NewRequest(method, "/api/v1/"+path, b)
		as(req)
		return f.do(req)
	}
	attach := func(p string) string {
		return "{apiVersion: sallyport/v1, kind: User, metadata: {name: new}, spec: {policies: [" + p + "]}}"
	}
	decode[any](t, send(boss, "POST", "revocations", revocation("idp", "t", time.Now().Add(time.Hour))))
	for name, tt := range map[string]struct {
		as                 func(*http.Request)
		method, path, body string
		status             int
		field, reason      string
	}{
		"attach what one holds":                   {ed, "PUT", "users/new", attach("editing"), 201, "", ""},
		"attach what one does not hold":           {ed, "PUT", "users/new", attach("admin"), 403, "spec.policies", `User "new": you don't hold Policy "admin"`},
		"the same by apply":                       {ed, "POST", "apply", attach("admin"), 403, "spec.policies", "you don't hold"},
		"the same by a relation":                  {ed, "PUT", "users/ed/policies/admin", "", 403, "spec.policies", `User "ed": you don't hold Policy "admin"`},
		"even in a dry run":                       {ed, "POST", "apply?dryRun=true", attach("admin"), 403, "spec.policies", "you don't hold"},
		"everything, but for users alone":         {uli, "PUT", "users/uli/policies/admin", "", 403, "spec.policies", "you don't hold"},
		"join a group":                            {ed, "PUT", "groups/editors/members/ed", "", 403, "spec.members", "a group that you are not in"},
		"a member to the group of one's token":    {token, "PUT", "groups/editors/members/boss", "", 200, "", ""},
		"a policy that the token's group holds":   {token, "PUT", "users/boss/policies/editing", "", 200, "", ""},
		"a policy that the token does not hold":   {token, "PUT", "users/ed/policies/users-only", "", 403, "spec.policies", "you don't hold"},
		"a service holds nothing":                 {robot, "PUT", "users/boss/policies/editing", "", 200, "", ""},
		"a service attaches nothing":              {robot, "PUT", "users/uli/policies/editing", "", 403, "spec.policies", "you don't hold"},
		"an issuer":                               {ed, "DELETE", "issuers/idp", "", 403, "spec", "an issuer says who anybody is"},
		"one's own access key":                    {ed, "POST", "users/ed/credentials", "", 201, "", ""},
		"somebody's access key":                   {ed, "POST", "users/boss/credentials", "", 403, "credentials", "act as somebody else"},
		"a service's access key":                  {ed, "POST", "services/robot/credentials", "", 403, "credentials", "act as somebody else"},
		"a token of the user's name is the user":  {token, "POST", "users/x/credentials", "", 404, "", ""},
		"a token revoked":                         {ed, "POST", "revocations", revocation("idp", "u", time.Now().Add(time.Hour)), 200, "", ""},
		"a revoked token back":                    {ed, "DELETE", "revocations/idp/t", "", 403, "revocations", "would count again"},
		"everything by who may do everything":     {boss, "PUT", "users/boss/policies/users-only", "", 200, "", ""},
		"somebody's key by who may do everything": {boss, "POST", "users/uli/credentials", "", 201, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "a service holds nothing" { // what boss has already is no grant
				decode[any](t, send(boss, "PUT", "users/boss/policies/editing", ""))
			}
			w := send(tt.as, tt.method, tt.path, tt.body)
			if tt.field == "" {
				if w.Code != tt.status {
					t.Errorf("got %d %s, want %d", w.Code, w.Body, tt.status)
				}
				return
			}
			p := wantProblem(t, w, tt.status, "nobody can grant what they don't hold, unless their policies allow the method ESCALATE on /api/v1")
			if len(p.Errors) != 1 || p.Errors[0].Field != tt.field || !strings.Contains(p.Errors[0].Detail, tt.reason) {
				t.Errorf("errors %+v, want %s: %s", p.Errors, tt.field, tt.reason)
			}
		})
	}
	decode[any](t, send(boss, "DELETE", "revocations/idp/t", ""))
	if w := send(boss, "ESCALATE", "generation", ""); w.Code != 405 {
		t.Errorf("the method of no request: %d", w.Code)
	}
}

func TestAServiceDoesNotActInTheFirstUsersName(t *testing.T) {
	f := newFixture(t, options{})
	keys, err := jwks.Marshal(f.dev.Keys())
	if err != nil {
		t.Fatal(err)
	}
	f.apply(t, fmt.Sprintf(`
apiVersion: sallyport/v1
kind: Issuer
metadata: {name: dev-copy}
spec: {issuer: %q, audiences: [%q], algorithms: [ES256], jwks: {inline: %s}}
---
apiVersion: sallyport/v1
kind: Role
metadata: {name: act}
spec: {governing: true, policies: [admin]}
---
apiVersion: sallyport/v1
kind: Role
metadata: {name: runtime}
---
apiVersion: sallyport/v1
kind: User
metadata: {name: boss}
spec: {policies: [admin]}
---
apiVersion: sallyport/v1
kind: ServiceAccount
metadata: {name: robot}
spec: {role: runtime, identities: [{issuer: dev-copy, client: c}], delegation: [{role: act, users: ["*"]}]}
`, devissuer.Iss, devissuer.Audience, keys))
	ask := func(user, method, path string) *httptest.ResponseRecorder {
		claims := map[string]json.RawMessage{"act": json.RawMessage(`{"sub":"c"}`)}
		req := httptest.NewRequest(method, path, nil)
		req.Header.Set("Authorization", "Bearer "+f.token(t, devissuer.MintRequest{User: user, Claims: claims}))
		return f.do(req)
	}
	wantProblem(t, ask("admin", "GET", "/api/v1/generation"), 403, "acts by access key only")
	if w := ask("boss", "GET", "/api/v1/generation"); w.Code != 200 {
		t.Errorf("in another user's name: %d %s", w.Code, w.Body)
	}
	// Both gates let it escalate, so it is not bound by what it holds, which is nothing.
	if w := ask("boss", "PUT", "/api/v1/users/boss/policies/admin?force=true"); w.Code != 200 {
		t.Errorf("in the name of who may everything: %d %s", w.Code, w.Body)
	}
}
