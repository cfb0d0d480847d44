package explain_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"sallyport/host/internal/compile"
	"sallyport/host/internal/explain"
	"sallyport/host/internal/manifest"
	"sallyport/host/internal/model"
	"sallyport/host/internal/signing"
	"sallyport/policydata"
	"sallyport/policydata/authorize"
)

const now = 1_900_000_000

const policies = `
apiVersion: sallyport/v1
kind: Policy
metadata: {name: own-workspace}
spec:
  rules:
  - {name: members, effect: allow, methods: ["*"], paths: ["/workspaces/{team}/**"], when: path.team in token.groups}
  - {name: no-secrets, effect: deny, methods: ["*"], paths: ["/workspaces/{team}/secrets/**"], when: '!("admins" in token.groups)'}
  - {name: closed, effect: deny, methods: ["*"], paths: ["/closed/**"]}
---
apiVersion: sallyport/v1
kind: Policy
metadata: {name: read-catalog}
spec:
  rules:
  - {effect: allow, methods: ["@read"], hosts: ["api.example.com"], paths: ["/catalog/**"]}
---
apiVersion: sallyport/v1
kind: Group
metadata: {name: "system:authenticated"}
spec: {policies: [own-workspace]}
---
apiVersion: sallyport/v1
kind: Group
metadata: {name: library}
spec: {policies: [read-catalog], members: [eric]}
---
apiVersion: sallyport/v1
kind: Role
metadata: {name: librarian}
spec: {policies: [read-catalog], claims: [lib]}
---
apiVersion: sallyport/v1
kind: Role
metadata: {name: act-as-user}
spec: {governing: true, policies: [own-workspace]}
---
apiVersion: sallyport/v1
kind: Role
metadata: {name: empty}
---
apiVersion: sallyport/v1
kind: ServiceAccount
metadata: {name: mlops}
spec:
  role: librarian
  identities: [{issuer: kc, client: mlops-client, subject: mlops-subject}]
  delegation: [{role: act-as-user, users: [eric]}]
---
apiVersion: sallyport/v1
kind: ServiceAccount
metadata: {name: idle}
spec: {disabled: true, role: empty, identities: [{issuer: kc, client: idle-client}]}
---
apiVersion: sallyport/v1
kind: User
metadata: {name: eric}
---
apiVersion: sallyport/v1
kind: User
metadata: {name: oscar}
spec: {disabled: true}
---
apiVersion: sallyport/v1
kind: Issuer
metadata: {name: kc}
spec:
  issuer: https://idp.example.com
  audiences: [api]
  algorithms: [RS256]
  jwks: {uri: "https://idp.example.com/jwks"}
  claims: {roles: [[roles]]}
`

func load(t *testing.T) *policydata.Snapshot {
	t.Helper()
	docs, err := manifest.Parse("p.yaml", []byte(policies))
	if err != nil {
		t.Fatal(err)
	}
	source, err := compile.New().Source((&model.State{}).With(manifest.Entities(docs)), compile.Version{})
	if err != nil {
		t.Fatal(err)
	}
	body, err := policydata.Build(source)
	if err != nil {
		t.Fatal(err)
	}
	key, err := signing.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	signed, err := key.Sign(body)
	if err != nil {
		t.Fatal(err)
	}
	verify, err := signing.Verifier(key.SPKI())
	if err != nil {
		t.Fatal(err)
	}
	s, err := policydata.Load(signed, verify)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// unsigned is a token whose header, claims and signature say nothing good.
const unsigned = "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlLmNvbSIsInN1YiI6ImEifQ.c2VjcmV0"

func TestSummary(t *testing.T) {
	tests := []struct {
		name, method, path, host, claims, token string

		reason string
		want   []string // in the printed text
	}{
		{
			name: "condition_with_its_values_and_what_would_help", path: "/workspaces/foo", claims: `{"sub":"eric","groups":["bar"]}`,
			reason: "no_matching_rule", want: []string{
				`Rule own-workspace/members (allow) does not match: it wants path.team in token.groups (path.team is "foo", token.groups is ["bar","library"]).`,
				"With the group foo rule own-workspace/members would allow it.",
				"groups    bar (token; not in the store)\n          library (store)\n",
				"policies  own-workspace (group system:authenticated)\n          read-catalog (group library)\n",
			},
		},
		{
			name: "method", method: "POST", path: "/catalog/1", host: "api.example.com", claims: `{"sub":"eric"}`, reason: "no_matching_rule",
			want: []string{"it wants the method GET or HEAD or OPTIONS.", "With method GET or HEAD or OPTIONS rule read-catalog/#0 would allow it."},
		},
		{
			name: "host", path: "/catalog/1", host: "other.example.com", claims: `{"sub":"eric"}`, reason: "no_matching_rule",
			want: []string{"it wants the host api.example.com."},
		},
		{
			name: "policy_that_does_not_count", path: "/catalog/1", host: "api.example.com", claims: `{"sub":"ann"}`, reason: "no_matching_rule",
			want: []string{"With the group library rule", "With the role claim lib rule", "user      ann (not in the store)"},
		},
		{
			name: "role_by_claim", path: "/catalog/1", host: "api.example.com", claims: `{"sub":"ann","roles":["lib"]}`, reason: "allowed",
			want: []string{"Rule read-catalog/#0 (allow) matches.", "roles     librarian (claim lib)", "read-catalog (role librarian)"},
		},
		{
			name: "deny_over_allow", path: "/workspaces/foo/secrets/a", claims: `{"sub":"eric","groups":["foo"]}`, reason: "denied_by_rule",
			want: []string{"Rule own-workspace/no-secrets (deny) matches: ", "Without it rule own-workspace/members would allow the request", "decides   deny own-workspace/no-secrets"},
		},
		{
			name: "deny_without_any_allow", path: "/closed/a", claims: `{"sub":"eric"}`, reason: "denied_by_rule",
			want: []string{"Even without it no rule would allow the request."},
		},
		{
			name: "no_token", path: "/catalog/1", host: "api.example.com", reason: "no_token",
			want: []string{"token     none", "With a token and the group library rule read-catalog/#0 would allow it."},
		},
		{
			name: "refused_token_and_what_it_says", path: "/catalog/1", token: unsigned, reason: "bad_token",
			want: []string{`its "alg" is "HS256"; the Issuer accepts RS256`, `its "exp" is missing`, "wants one of api", "refused: bad_token"},
		},
		{name: "garbage_for_a_token", path: "/", token: "garbage", reason: "bad_token", want: []string{"does not have the three parts"}},
		{name: "unknown_issuer", path: "/", claims: `{"iss":"x","sub":"a"}`, reason: "unknown_issuer", want: []string{`its "iss" is "x"; trusted are https://idp.example.com`}},
		{name: "claims_without_a_user", path: "/", claims: `{"groups":["a"]}`, reason: "bad_token", want: []string{"the user name is in sub"}},
		{name: "bad_path", path: "/a/../b", claims: `{"sub":"eric"}`, reason: "bad_path", want: []string{"must send the canonical form", "token     not looked at", "GET /a/../b"}},
		{name: "user_disabled", path: "/", claims: `{"sub":"oscar"}`, reason: "user_disabled", want: []string{"The User is disabled", "user      oscar\n"}},
		{name: "service_disabled", path: "/", claims: `{"sub":"eric","azp":"idle-client"}`, reason: "service_disabled", want: []string{"The ServiceAccount idle is disabled", "idle, on behalf of the user, disabled"}},
		{
			name: "service_without_delegation", path: "/workspaces/foo", claims: `{"sub":"ann","azp":"mlops-client","groups":["foo"]}`, reason: "service_gate",
			want: []string{"its delegation gives it no governing role for this user", "SERVICE GATE  no_matching_rule"},
		},
		{
			name: "service_whose_governing_roles_do_not_reach", path: "/catalog/1", host: "api.example.com", claims: `{"sub":"eric","azp":"mlops-client"}`, reason: "service_gate",
			want: []string{"its governing roles for this user do not allow the request", "own-workspace (delegation act-as-user)"},
		},
		{
			name: "both_gates", path: "/workspaces/foo", claims: `{"sub":"eric","azp":"mlops-client","groups":["foo"]}`, reason: "allowed",
			want: []string{"SERVICE GATE  allowed", "USER GATE  allowed"},
		},
		{
			name: "service_for_itself", path: "/catalog/1", host: "api.example.com", claims: `{"sub":"mlops-subject","azp":"mlops-client"}`, reason: "allowed",
			want: []string{"mlops, for itself by role librarian", "read-catalog (role librarian)"},
		},
		{
			name: "service_for_itself_and_no_rule", path: "/x", claims: `{"sub":"mlops-subject","azp":"mlops-client"}`, reason: "no_matching_rule",
			want: []string{"The only rule that counts for the service mlops does not match."},
		},
		{name: "actor_that_is_no_service", path: "/", claims: `{"sub":"eric","act":{"sub":"who"}}`, reason: "service_gate", want: []string{`The token says that "who" acts for its user`}},
	}
	s := load(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, err := authorize.New(s, authorize.TokenSource{})
			if err != nil {
				t.Fatal(err)
			}
			q := explain.Query{Request: &authorize.Request{Method: "GET", Target: tt.path, Authority: tt.host}, Claims: tt.claims, Token: tt.token, Now: now}
			if tt.method != "" {
				q.Request.Method = tt.method
			}
			if tt.token != "" {
				q.Request.Headers = [][2]string{{"authorization", "Bearer " + tt.token}}
			}
			x := explain.Decide(s, e, q)
			var out bytes.Buffer
			if err := explain.Print(&out, x); err != nil {
				t.Fatal(err)
			}
			raw, err := x.JSON()
			if err != nil || !json.Valid(raw) || !bytes.Contains(raw, []byte(`"reason":"`+tt.reason+`"`)) {
				t.Errorf("not %s: %v %s", tt.reason, err, raw)
			}
			for _, want := range tt.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("nothing of %q in:\n%s", want, out.String())
				}
			}
			if tt.token != "" && (strings.Contains(out.String(), tt.token) || bytes.Contains(raw, []byte(tt.token)) || strings.Contains(string(raw), "c2VjcmV0")) {
				t.Error("the token is told")
			}
		})
	}
}

// What comes from a request can't move a terminal's cursor.
func TestPrintEscapes(t *testing.T) {
	x := &explain.Explained{Decision: json.RawMessage(`{"decision":"deny","status":403,"reason":"no_matching_rule"}`)}
	x.Explanation.User = "a\x1b[2Jb\n\u202ec"
	var out bytes.Buffer
	if err := explain.Print(&out, x); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), `user      a\u001b[2Jb\u000a\u202ec (not`) {
		t.Errorf("%q", out.String())
	}
}
