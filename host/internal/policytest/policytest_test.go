package policytest_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sallyport/host/internal/compile"
	"sallyport/host/internal/manifest"
	"sallyport/host/internal/model"
	"sallyport/host/internal/policytest"
	"sallyport/policydata"
)

const policies = `
apiVersion: sallyport/v1
kind: Policy
metadata: {name: p}
spec:
  rules:
  - {name: own, effect: allow, methods: [GET], paths: ["/w/{team}"], when: path.team in token.groups}
  - {name: librarians, effect: allow, methods: [GET], paths: ["/books"], when: '"librarian" in token.roles'}
  - {name: eric, effect: allow, methods: [GET], paths: ["/eric"], when: user.name == "kc-eric"}
---
apiVersion: sallyport/v1
kind: Policy
metadata: {name: jobs}
spec: {rules: [{name: jobs, effect: allow, methods: ["*"], paths: ["/jobs", "/w/**"]}]}
---
apiVersion: sallyport/v1
kind: Group
metadata: {name: "system:authenticated"}
spec: {policies: [p]}
---
apiVersion: sallyport/v1
kind: Role
metadata: {name: runtime}
spec: {policies: [jobs]}
---
apiVersion: sallyport/v1
kind: Role
metadata: {name: act}
spec: {governing: true, policies: [jobs]}
`

const issuers = `---
apiVersion: sallyport/v1
kind: ServiceAccount
metadata: {name: mlops}
spec:
  role: runtime
  identities: [{issuer: kc, client: mlops-client, subject: mlops-subject}]
  delegation: [{role: act, users: ["*"]}]
---
apiVersion: sallyport/v1
kind: Issuer
metadata: {name: kc}
spec:
  issuer: https://kc.example
  audiences: [a]
  algorithms: [RS256]
  jwks: {uri: "https://kc.example/keys"}
  usernamePrefix: kc-
  groupsPrefix: kc-
  claims: {username: [[profile, name]], groups: [[g]], roles: [[realm, roles]], client: [[client]], trimGroupPrefix: /}
`

func sourceOf(t *testing.T, text string) policydata.Source {
	t.Helper()
	docs, err := manifest.Parse("p.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	source, err := compile.New().Source((&model.State{}).With(manifest.Entities(docs)), compile.Version{})
	if err != nil {
		t.Fatal(err)
	}
	return source
}

// suite returns a suite with one principal, whose fields are given, that makes
// the request read of a path.
func suite(t *testing.T, principal, path, tests string) []manifest.Suite {
	t.Helper()
	text := fmt.Sprintf(`apiVersion: sallyport/v1
kind: PolicyTest
metadata: {name: s}
spec:
  principals: [{name: who%s}]
  requests: [{name: read, path: %q}]
  tests: [%s]
`, principal, path, tests)
	suites, err := manifest.ParseSuites([]manifest.File{{Name: "s.yaml", Data: []byte(text)}})
	if err != nil {
		t.Fatal(err)
	}
	return suites
}

const allow, deny = `{expect: [{decision: allow}]}`, `{expect: []}`

// Who a principal in short is to the policies.
func TestPrincipals(t *testing.T) {
	tests := []struct {
		name, principal, path string
		want                  string
	}{
		{"user_with_the_prefix", ", user: kc-eric", "/eric", allow},
		{"group_with_the_prefix", ", user: kc-ann, groups: [kc-foo]", "/w/kc-foo", allow},
		{"another_group", ", user: kc-ann, groups: [kc-bar]", "/w/kc-foo", deny},
		{"role_claim", ", user: kc-ann, roles: [librarian]", "/books", allow},
		{"service_for_itself", ", service: mlops", "/jobs", allow},
		{"service_for_a_user", ", service: mlops, user: kc-ann, groups: [kc-foo]", "/w/kc-foo", allow},
		{"service_for_a_user_who_may_not", ", service: mlops, user: kc-ann", "/w/kc-foo", deny},
		{"nobody", "", "/eric", deny},
		{"claims", `, claims: {iss: "https://kc.example", profile: {name: eric}}`, "/eric", allow},
		{"claims_of_a_named_issuer", `, issuer: kc, claims: {profile: {name: eric}}`, "/eric", allow},
	}
	source := sourceOf(t, policies+issuers)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			report, err := policytest.Run(t.Context(), source, suite(t, tt.principal, tt.path, tt.want), policytest.Options{Now: time.Now()})
			if err != nil {
				t.Fatal(err)
			}
			if len(report.Results) != 1 || report.Failed > 0 {
				t.Errorf("%d results: %v", len(report.Results), report.Results)
			}
		})
	}
}

func TestPrincipalsThatDoNotFit(t *testing.T) {
	tests := map[string]struct{ principal, want string }{
		"user_without_the_prefix":  {", user: eric", `names of this issuer begin with "kc-"`},
		"group_without_the_prefix": {", user: kc-eric, groups: [foo]", `group: names of this issuer begin with "kc-"`},
		"unknown_issuer":           {", user: kc-eric, issuer: other", `there is no Issuer "other"`},
		"unknown_service":          {", service: nope", `there is no ServiceAccount "nope"`},
	}
	source := sourceOf(t, policies+issuers)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := policytest.Run(t.Context(), source, suite(t, tt.principal, "/x", deny), policytest.Options{Now: time.Now()})
			var located manifest.Errors
			if !errors.As(err, &located) || located[0].Line != 5 || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v", err)
			}
		})
	}
}

// Policies without any Issuer are tested by a stand-in.
func TestWithoutAnIssuer(t *testing.T) {
	source := sourceOf(t, policies)
	report, err := policytest.Run(t.Context(), source, suite(t, ", user: ann, groups: [foo], roles: [librarian]", "/w/foo", allow), policytest.Options{Now: time.Now()})
	if err != nil || report.Failed > 0 {
		t.Errorf("%v %+v", err, report)
	}
}

// What is refused before any rule is asked proves nothing of a policy.
func TestDenialsThatProveNothing(t *testing.T) {
	tests := map[string]struct {
		principal, path, tests string
		passes                 bool
	}{
		"bad_path":          {", user: kc-eric", "/a//b", deny, false},
		"expected_bad_path": {", user: kc-eric", "/a//b", `{expect: [{decision: deny, reason: bad_path}]}`, true},
		"bad_claims":        {", claims: {sub: eric}", "/x", `{expect: [{decision: deny}]}`, false},
		"unknown_issuer":    {`, claims: {iss: x, sub: eric}`, "/x", deny, false},
		"no_token":          {"", "/x", deny, true},
		"no_matching_rule":  {", user: kc-eric", "/x", deny, true},
	}
	source := sourceOf(t, policies+issuers)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			report, err := policytest.Run(t.Context(), source, suite(t, tt.principal, tt.path, tt.tests), policytest.Options{Now: time.Now()})
			if err != nil {
				t.Fatal(err)
			}
			if (report.Failed == 0) != tt.passes {
				t.Errorf("%+v", report.Results)
			}
		})
	}
}

func TestCoverage(t *testing.T) {
	source := sourceOf(t, policies+issuers)
	report, err := policytest.Run(t.Context(), source, suite(t, ", user: kc-eric", "/eric", allow), policytest.Options{Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	c := report.Coverage
	if c.Rules != 4 || c.Reached != 1 || len(c.Unreached) != 3 || c.Percent() != 25 {
		t.Errorf("%+v", c)
	}
	if got := c.Unreached[0]; got != (policytest.RuleName{Policy: "jobs", Rule: "jobs"}) {
		t.Errorf("%+v", got)
	}
}
