package compile_test

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/host/internal/check"
	"sallyport/host/internal/compile"
	"sallyport/host/internal/manifest"
	"sallyport/host/internal/model"
	"sallyport/policydata"
)

func state(t testing.TB, name string) *model.State {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, string(text))
}

func parse(t testing.TB, text string) *model.State {
	t.Helper()
	docs, err := manifest.Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return (&model.State{}).With(manifest.Entities(docs))
}

var version = compile.Version{Epoch: 3, Generation: 14, Committed: time.Unix(1_800_000_000, 0), Expires: time.Unix(1_800_000_600, 0)}

func TestSourceHasAllThatADocumentSays(t *testing.T) {
	got, err := compile.New().Source(state(t, "testdata/all.yaml"), version)
	if err != nil {
		t.Fatal(err)
	}
	when := got.Policies[0].Rules[0].When
	if when == nil || when.Op != policydata.OpIn {
		t.Errorf("condition %+v", when)
	}
	got.Policies[0].Rules[0].When = nil
	if len(got.Issuers[0].Keys) != 1 || got.Issuers[0].Keys[0].ID != "k" {
		t.Errorf("keys %+v", got.Issuers[0].Keys)
	}
	got.Issuers[0].Keys = nil
	want := policydata.Source{
		Epoch: 3, Generation: 14, Created: 1_800_000_000, Expires: 1_800_000_600,
		Policies: []policydata.Policy{{Name: "p", Rules: []policydata.Rule{
			{
				Name: "team", Effect: policydata.EffectAllow, Methods: []string{"GET"}, Hosts: []string{"a.example.com"},
				Paths: []string{"/{team}/**", "/x/{team}"}, Text: "path.team in token.groups",
			},
			{Effect: policydata.EffectDeny, Methods: []string{"*"}, Paths: []string{"/no"}},
		}}},
		Users:  []policydata.User{{Name: "eric", Disabled: true, TokensNotBefore: 1_793_491_200, Policies: []string{"p"}}, {Name: "sean"}},
		Groups: []policydata.Group{{Name: "foo", Members: []string{"eric"}, Policies: []string{"p"}}},
		Roles: []policydata.Role{
			{Name: "act", Governing: true, Policies: []string{"p"}},
			{Name: "r", Policies: []string{"p"}, Users: []string{"sean"}, Groups: []string{"foo"}, Claims: []string{"c"}},
		},
		Services: []policydata.Service{{
			Name: "svc", Disabled: true, Role: "r",
			Identities: []policydata.ServiceIdentity{{Issuer: "idp", Client: "cl", Subject: "su"}},
			Delegation: []policydata.Delegation{{Role: "act", Users: []string{"*"}}, {Role: "act", Groups: []string{"foo"}}},
		}},
		Issuers: []policydata.Issuer{{
			Name: "idp", Issuer: "https://idp.example.com", Audiences: []string{"a", "b"}, Algorithms: []string{"ES256"},
			UsernamePrefix: "u-", GroupsPrefix: "g-", TrimGroup: "/",
			UsernameClaims: [][]string{{"preferred_username"}}, GroupsClaims: [][]string{{"groups"}},
			RolesClaims: [][]string{{"realm_access", "roles"}}, ClientClaims: [][]string{{"azp"}, {"client_id"}},
			ClaimHeaders: []policydata.ClaimHeader{{Header: "x-tenant", Claim: []string{"tenant", "id"}}},
			ClockSkew:    5, MaxTokenLifetime: 3600, RequireKnownUser: true,
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("source (-want +got):\n%s", diff)
	}
	if _, err := policydata.Build(got); err != nil {
		t.Errorf("it can't be built: %v", err)
	}
}

func TestBodyIsAFunctionOfTheState(t *testing.T) {
	first, err := compile.New().Body(state(t, "testdata/all.yaml"), version)
	if err != nil {
		t.Fatal(err)
	}
	c := compile.New()
	for range 3 { // the second and third time with what it remembers
		again, err := c.Body(state(t, "testdata/all.yaml"), version)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first, again) {
			t.Fatal("other bytes for the same state")
		}
	}
}

func rule(paths, when string) string {
	return `apiVersion: sallyport/v1
kind: Policy
metadata: {name: p}
spec:
  rules:
  - {effect: allow, methods: [GET], paths: [` + paths + `], when: ` + when + `}
`
}

func TestConditionsAreRememberedByTextAndCaptures(t *testing.T) {
	c := compile.New()
	expr := func(text string) *policydata.Expr {
		t.Helper()
		source, err := c.Source(parse(t, text), version)
		if err != nil {
			t.Fatal(err)
		}
		return source.Policies[0].Rules[0].When
	}
	first := expr(rule(`"/{a}"`, `path.a == "x"`))
	if again := expr(rule(`"/{a}/y"`, `path.a == "x"`)); again != first {
		t.Error("the same condition was compiled again")
	}
	if other := expr(rule(`"/{a}"`, `path.a == "z"`)); other == first {
		t.Error("another condition got the same expression")
	}
	// A capture that is gone must not be found in the memory.
	expr(rule(`"/{a}"`, `path.a == "x"`))
	if _, err := c.Source(parse(t, rule(`"/{b}"`, `path.a == "x"`)), version); err == nil {
		t.Error("a condition on a capture that is not there was accepted")
	}
	// After an error, what is remembered is what was compiled last.
	if again := expr(rule(`"/{a}"`, `path.a == "x"`)); again == nil {
		t.Error("no expression after an error")
	}
}

func TestSourceNamesWhatCannotBeCompiled(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"condition":               {rule(`"/{a}"`, "path.b"), `policy "p": rule 0: when: `},
		"capture of some paths":   {rule(`"/{a}", "/x"`, `path.a == "x"`), `policy "p": rule 0: when: `},
		"pattern":                 {rule(`"/**/x"`, `path.a == "x"`), `policy "p": rule 0: when: "/**/x": `},
		"keys that can't be read": {issuer("idp", "https://idp.example.com", `{keys: [{kty: EC}]}`), `issuer "idp": jwks: `},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := compile.New().Source(parse(t, tt.text), version)
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got error %v, want it to begin with %q", err, tt.want)
			}
		})
	}
}

func issuer(name, iss, jwks string) string {
	return `apiVersion: sallyport/v1
kind: Issuer
metadata: {name: ` + name + `}
spec: {issuer: "` + iss + `", audiences: [a], algorithms: [ES256], jwks: {inline: ` + jwks + `}}
`
}

const goodKeys = `{keys: [{kty: EC, crv: P-256, kid: k, x: f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU, y: x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0}]}`

func TestAnExtraIssuerGivesWayToOneOfTheStore(t *testing.T) {
	source, err := compile.New().Source(parse(t, issuer("dev", "https://dev.example", goodKeys)), version)
	if err != nil {
		t.Fatal(err)
	}
	extra := source.Issuers[0]
	tests := map[string]struct {
		name, iss string
		want      int
	}{
		"other name and iss": {"idp", "https://idp.example", 2},
		"same name":          {"dev", "https://idp.example", 1},
		"same iss":           {"idp", "https://dev.example", 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			body, err := compile.New().Body(parse(t, issuer(tt.name, tt.iss, goodKeys)), version, extra)
			if err != nil {
				t.Fatal(err)
			}
			s, err := policydata.Load(policydata.AppendSignature(body, "k", []byte("s")), func(_, _ []byte) error { return nil })
			if err != nil {
				t.Fatal(err)
			}
			if len(s.Issuers()) != tt.want {
				t.Errorf("%d issuers, want %d", len(s.Issuers()), tt.want)
			}
		})
	}
}

// TestTheStory takes the demo's policies from documents to decisions.
func TestTheStory(t *testing.T) {
	text, err := os.ReadFile("../demo/story.yaml")
	if err != nil {
		t.Fatal(err)
	}
	source, err := compile.New().Source(parse(t, string(text)+"---\n"+issuer("idp", "https://idp.example.com", goodKeys)), version)
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := check.Load(source)
	if err != nil {
		t.Fatal(err)
	}
	engine, err := check.NewGo(snapshot, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	eric, bob, editor := `{"sub":"eric","groups":["foo"]}`, `{"sub":"bob","groups":["bar"]}`, `{"sub":"sean","groups":["stac-editors"]}`
	tests := []struct{ claims, method, path, want string }{
		{eric, "GET", "/workspaces/foo/data", "allowed"},
		{eric, "DELETE", "/workspaces/foo", "allowed"},
		{eric, "GET", "/workspaces/bar/data", "no_matching_rule"},
		{eric, "GET", "/workspaces/", "no_matching_rule"},
		{eric, "GET", "/workspaces", "no_matching_rule"},
		{bob, "PUT", "/workspaces/bar/a/b", "allowed"},
		{bob, "PUT", "/workspaces/foo/a/b", "no_matching_rule"},
		{bob, "HEAD", "/stac/collections", "allowed"},
		{bob, "POST", "/stac/collections/c/items", "no_matching_rule"},
		{editor, "POST", "/stac/collections/c/items", "allowed"},
		{editor, "PUT", "/stac/collections/c/items/1", "allowed"},
		{editor, "DELETE", "/stac/collections/c", "no_matching_rule"},
		{"", "GET", "/stac/collections", "no_token"},
		{"", "GET", "/healthz", "allowed"},
		{eric, "GET", "/healthz", "allowed"},
	}
	for _, tt := range tests {
		t.Run(tt.method+tt.path+" "+tt.claims, func(t *testing.T) {
			d, err := engine.Decide(t.Context(), &check.Query{Claims: []byte(tt.claims), Method: tt.method, Path: tt.path})
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(d), `"reason":"`+tt.want+`"`) {
				t.Errorf("got %s, want %s", d, tt.want)
			}
		})
	}
}

func TestRevokedTokensGoIntoTheSnapshot(t *testing.T) {
	s := *state(t, "testdata/all.yaml")
	s.Revoked = []policydata.RevokedToken{{Issuer: "idp", ID: "t", Expires: 1_800_000_060}}
	got, err := compile.New().Source(&s, version)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s.Revoked, got.Revoked); diff != "" {
		t.Errorf("revoked (-want +got):\n%s", diff)
	}
}
