//go:build keycloak

package keycloak

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/e2e/envoytest"
	"sallyport/e2e/hosttest"
)

// story are the policies: a team uses its workspace, librarians edit the
// catalogue, and mlops reads models for itself and starts jobs for users.
const story = `
apiVersion: sallyport/v1
kind: Policy
metadata: {name: own-workspace}
spec:
  rules:
  - {name: members, effect: allow, methods: ["*"], paths: ["/workspaces/{team}/**"], when: path.team in token.groups}
  - name: workspace-access
    effect: allow
    methods: ["@read"]
    paths: ["/shared/{team}/**"]
    when: '"ws_access" in token.claims.resource_access[path.team].roles'
---
apiVersion: sallyport/v1
kind: Group
metadata: {name: "system:authenticated"}
spec: {policies: [own-workspace]}
---
apiVersion: sallyport/v1
kind: Policy
metadata: {name: edit-catalogue}
spec: {rules: [{effect: allow, methods: ["@write"], paths: ["/catalogue/**"]}]}
---
apiVersion: sallyport/v1
kind: Role
metadata: {name: librarian}
spec: {policies: [edit-catalogue], claims: [librarian]}
---
apiVersion: sallyport/v1
kind: Policy
metadata: {name: read-models}
spec: {rules: [{effect: allow, methods: ["@read"], paths: ["/models/**"]}]}
---
apiVersion: sallyport/v1
kind: Role
metadata: {name: mlops-runtime}
spec: {policies: [read-models]}
---
apiVersion: sallyport/v1
kind: Policy
metadata: {name: start-jobs}
spec: {rules: [{effect: allow, methods: [POST], paths: ["/workspaces/{team}/jobs"]}]}
---
apiVersion: sallyport/v1
kind: Role
metadata: {name: act-as-user}
spec: {governing: true, policies: [start-jobs]}
---
apiVersion: sallyport/v1
kind: ServiceAccount
metadata: {name: mlops}
spec:
  role: mlops-runtime
  identities: [{issuer: keycloak, client: mlops, subject: 9b1c3a52-0d7e-4a51-8f0e-0c2f6f6f9a11}]
  delegation: [{role: act-as-user, users: ["*"]}]
`

// storyCase is a request with one of the tokens of storyTokens.
type storyCase struct {
	token, method, path string
	reason              string
}

var storyCases = []storyCase{
	{"eric", "GET", "/shared/foo/data", "allowed"},
	{"eric", "GET", "/shared/bar/data", "no_matching_rule"},
	{"bob", "GET", "/shared/bar/data", "allowed"},
	{"bob", "GET", "/shared/account/data", "no_matching_rule"},
	{"eric", "PUT", "/workspaces/foo/data", "allowed"},
	{"eric", "GET", "/workspaces/bar/data", "no_matching_rule"},
	{"eric", "GET", "/workspaces/", "no_matching_rule"},
	{"bob", "PUT", "/workspaces/bar/data", "allowed"},
	{"bob", "GET", "/workspaces/foo/data", "no_matching_rule"},
	{"mallory", "GET", "/workspaces/foo/data", "no_matching_rule"},
	{"mallory", "GET", "/workspaces/bar/data", "no_matching_rule"},
	{"mallory, without full group path", "GET", "/workspaces/foo/data", "allowed"},
	{"eric, ES256", "GET", "/workspaces/foo/data", "allowed"},
	{"eric", "POST", "/catalogue/items", "allowed"},
	{"bob", "POST", "/catalogue/items", "no_matching_rule"},
	{"mlops", "GET", "/models/m", "allowed"},
	{"mlops", "POST", "/workspaces/foo/jobs", "no_matching_rule"},
	{"mlops for eric", "POST", "/workspaces/foo/jobs", "allowed"},
	{"mlops for eric", "POST", "/workspaces/bar/jobs", "no_matching_rule"},
	{"mlops for eric", "GET", "/workspaces/foo/data", "service_gate"},
	{"eric, no audience mapper", "GET", "/workspaces/foo/data", "bad_audience"},
	{"eric, no audience at all", "GET", "/workspaces/foo/data", "bad_audience"},
	{"eric's ID token", "GET", "/workspaces/foo/data", "bad_audience"},
	{"eric's refresh token", "GET", "/workspaces/foo/data", "bad_token"},
	{"", "GET", "/workspaces/foo/data", "no_token"},
}

// storyTokens gets the tokens of the story from the server.
func storyTokens(s *server) map[string]string {
	s.t.Helper()
	got := map[string]string{"": ""}
	for name, at := range map[string][2]string{
		"eric":                             {"web", "eric"},
		"bob":                              {"web", "bob"},
		"mallory":                          {"web", "mallory"},
		"mallory, without full group path": {"web-short", "mallory"},
		"eric, ES256":                      {"web-es256", "eric"},
		"eric, no audience mapper":         {"plain", "eric"},
		"eric, no audience at all":         {"bare", "eric"},
		"mlops for eric":                   {"mlops", "eric"},
	} {
		t, err := s.user(s.t.Context(), at[0], at[1])
		if err != nil {
			s.t.Fatal(err)
		}
		got[name] = t.Access
		if name == "eric" {
			got["eric's ID token"], got["eric's refresh token"] = t.ID, t.Refresh
		}
	}
	t, err := s.service(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	got["mlops"] = t.Access
	return got
}

// document returns envoy/issuers/keycloak.yaml for this server, which also signs
// by ES256, with jwks as in the argument.
func document(s *server, jwks string) string {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(envoytest.Root(s.t), "envoy", "issuers", "keycloak.yaml"))
	if err != nil {
		s.t.Fatal(err)
	}
	text := string(b)
	for old, value := range map[string]string{
		"https://idp.example.com/realms/eo": s.issuer(),
		"algorithms: [RS256]":               "algorithms: [RS256, ES256]",
		"jwks: {discovery: true}":           "jwks: " + jwks,
	} {
		if !strings.Contains(text, old) {
			s.t.Fatalf("the document has no %q", old)
		}
		text = strings.Replace(text, old, value, 1)
	}
	return text
}

// testStoryOffline asks the engine as Go code and the filter in wazero, with the
// server's key set in the document.
func testStoryOffline(t *testing.T, s *server) {
	tokens := storyTokens(s)
	policies := filepath.Join(t.TempDir(), "policies.yaml")
	text := document(s, "{inline: "+string(s.keySet())+"}") + "---" + story
	if err := os.WriteFile(policies, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var batch bytes.Buffer
	encoder := json.NewEncoder(&batch)
	for _, c := range storyCases {
		line := map[string]string{"method": c.method, "path": c.path, "token": tokens[c.token]}
		if err := encoder.Encode(line); err != nil {
			t.Fatal(err)
		}
	}
	for _, engine := range []string{"go", "wasm"} {
		t.Run(engine, func(t *testing.T) {
			out := hosttest.Run(t, 0, batch.String(), "check", "-f", policies, "--engine", engine, "--batch", "-")
			lines := strings.Split(strings.TrimSpace(out), "\n")
			if len(lines) != len(storyCases) {
				t.Fatalf("%d decisions for %d requests", len(lines), len(storyCases))
			}
			for i, c := range storyCases {
				var d struct{ Reason string }
				if err := json.Unmarshal([]byte(lines[i]), &d); err != nil {
					t.Fatal(err)
				}
				if d.Reason != c.reason {
					t.Errorf("%s: %s %s: %s, want %s", c.token, c.method, c.path, d.Reason, c.reason)
				}
			}
		})
	}
}
