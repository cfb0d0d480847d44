package policydata

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// load builds and loads src with a signature that any verifier here accepts.
func load(t testing.TB, src Source) *Snapshot {
	t.Helper()
	body, err := Build(src)
	if err != nil {
		t.Fatal(err)
	}
	return mustLoad(t, body)
}

func mustLoad(t testing.TB, body []byte) *Snapshot {
	t.Helper()
	s, err := Load(AppendSignature(body, "k", []byte("sig")), acceptAll)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func inGroups() *Expr {
	return &Expr{Op: OpIn, Args: []*Expr{{Op: OpPathVar, Str: "team"}, {Op: OpVar, Int: int64(VarTokenGroups)}}}
}

// story is the workspace story with roles and services beside it. The golden
// snapshot is made of it, so what a new test needs goes elsewhere.
func story() Source {
	allow := func(name string, methods, paths []string, when *Expr) Rule {
		return Rule{Name: name, Effect: EffectAllow, Methods: methods, Paths: paths, When: when, Text: "x"}
	}
	return Source{
		Epoch: 1, Generation: 7,
		Policies: []Policy{
			{Name: "own-workspace", Rules: []Rule{allow("members", []string{"*"}, []string{"/workspaces/{team}/**"}, inGroups())}},
			{Name: "stac", Rules: []Rule{
				allow("", []string{"@read"}, []string{"/stac/**"}, nil),
				allow("edit", []string{"@write"}, []string{"/stac/collections/{c}/items/**"}, &Expr{
					Op: OpIn, Args: []*Expr{{Op: OpString, Str: "stac-editors"}, {Op: OpVar, Int: int64(VarTokenGroups)}},
				}),
			}},
			{Name: "health", Rules: []Rule{allow("", []string{"GET"}, []string{"/healthz"}, nil)}},
			{Name: "frozen", Rules: []Rule{{Name: "no-writes", Effect: EffectDeny, Methods: []string{"@write"}, Paths: []string{"/workspaces/{team}/frozen/**"}}}},
			{Name: "host-bound", Rules: []Rule{{Effect: EffectAllow, Methods: []string{"PURGE"}, Hosts: []string{"{team}.ws.example.org", "*.cdn.example.org"}, Paths: []string{"/cache/**"}}}},
			{Name: "mlops", Rules: []Rule{allow("", []string{"GET"}, []string{"/workspaces/*/models"}, nil)}},
			{Name: "runtime", Rules: []Rule{allow("", []string{"GET"}, []string{"/own/{x}"}, nil)}},
			{Name: "admin-api", Rules: []Rule{{Effect: EffectAllow, Methods: []string{"*"}, Hosts: []string{HostAPI}, Paths: []string{"/**"}}}},
		},
		Users:  []User{{Name: "root", Policies: []string{"admin-api", "host-bound"}}, {Name: "gone", Disabled: true}},
		Groups: []Group{{Name: GroupAuthenticated, Policies: []string{"own-workspace", "stac", "frozen", "health"}}, {Name: GroupUnauthenticated, Policies: []string{"health"}}, {Name: "foo", Members: []string{"root"}}},
		Roles: []Role{
			{Name: "librarian", Policies: []string{"host-bound"}, Claims: []string{"lib"}, Groups: []string{"foo"}},
			{Name: "act-as-user", Governing: true, Policies: []string{"mlops"}},
			{Name: "mlops-runtime", Policies: []string{"runtime"}},
		},
		Services: []Service{
			{Name: "mlops", Role: "mlops-runtime", Identities: []ServiceIdentity{{Issuer: "kc", Client: "mlops-client", Subject: "sub-1"}}, Delegation: []Delegation{{Role: "act-as-user", Groups: []string{"foo"}}}},
			{Name: "off", Disabled: true, Role: "mlops-runtime", Identities: []ServiceIdentity{{Issuer: "kc", Client: "off-client"}}},
		},
		Issuers: []Issuer{{Name: "kc", Issuer: "https://kc", Audiences: []string{"a"}, Algorithms: []string{"RS256"}, UsernameClaims: [][]string{{"sub"}}, MaxTokenLifetime: 3600}},
		Revoked: []RevokedToken{{"kc", "t-1", 1_800_000_000}, {"kc", "t-2", 1_800_000_000}},
	}
}

func TestDecide(t *testing.T) {
	user := func(name string, groups ...string) *Identity {
		return &Identity{Authenticated: true, Issuer: "kc", User: name, Groups: groups}
	}
	client := func(client, sub string) *Identity {
		return &Identity{Authenticated: true, Issuer: "kc", User: "eric", Subject: sub, Client: client, Groups: []string{"foo"}}
	}
	req := func(method, path string) Request { return Request{Method: method, Path: path} }
	tests := []struct {
		name string
		req  Request
		id   *Identity
		want string // reason gate policy rule captures
	}{
		{"own_team", req("PUT", "/workspaces/foo/x"), user("eric", "foo"), "allowed user own-workspace members team=foo"},
		{"own_team_root", req("GET", "/workspaces/foo"), user("eric", "foo"), "allowed user own-workspace members team=foo"},
		{"own_team_trailing_slash", req("GET", "/workspaces/foo/"), user("eric", "foo"), "allowed user own-workspace members team=foo"},
		{"other_team", req("GET", "/workspaces/foo/x"), user("bob", "bar"), "no_matching_rule user  "},
		{"prefix_of_team", req("GET", "/workspaces/foobar"), user("eric", "foo"), "no_matching_rule user  "},
		{"collection", req("GET", "/workspaces/"), user("eric", "foo", ""), "no_matching_rule user  "},
		{"star_is_text", req("GET", "/workspaces/*"), user("eric", "foo"), "no_matching_rule user  "},
		{"group_from_store", req("GET", "/workspaces/foo"), user("root"), "allowed user own-workspace members team=foo"},
		{"deny_wins_over_allow", req("POST", "/workspaces/foo/frozen/x"), user("eric", "foo"), "denied_by_rule user frozen no-writes team=foo"},
		{"deny_by_method_only", req("GET", "/workspaces/foo/frozen/x"), user("eric", "foo"), "allowed user own-workspace members team=foo"},
		{"unnamed_rule", req("GET", "/stac/collections"), user("eric"), "allowed user stac #0"},
		{"write_needs_group", req("POST", "/stac/collections/c/items"), user("eric"), "no_matching_rule user  "},
		{"write_with_group", req("POST", "/stac/collections/c/items/1"), user("eric", "stac-editors"), "allowed user stac edit c=c"},
		{"public_without_token", req("GET", "/healthz"), &Identity{}, "allowed user health #0"},
		{"no_token", req("GET", "/stac/x"), &Identity{}, "no_token user  "},
		{"method_is_case_sensitive", req("get", "/healthz"), &Identity{}, "no_token user  "},
		{"host_capture", Request{Method: "PURGE", Path: "/cache", Host: "foo.ws.example.org"}, user("root"), "allowed user host-bound #0 host.team=foo"},
		{"host_capture_is_one_label", Request{Method: "PURGE", Path: "/cache", Host: "a.foo.ws.example.org"}, user("root"), "no_matching_rule user  "},
		{"host_wildcard_many_labels", Request{Method: "PURGE", Path: "/cache", Host: "a.b.cdn.example.org"}, user("root"), "allowed user host-bound #0"},
		{"host_wildcard_not_bare", Request{Method: "PURGE", Path: "/cache", Host: "cdn.example.org"}, user("root"), "no_matching_rule user  "},
		{"role_by_claim", Request{Method: "PURGE", Path: "/cache", Host: "x.cdn.example.org"}, &Identity{Authenticated: true, User: "eve", Roles: []string{"lib"}}, "allowed user host-bound #0"},
		{"role_by_group", Request{Method: "PURGE", Path: "/cache", Host: "x.cdn.example.org"}, user("eve", "foo"), "allowed user host-bound #0"},
		{"api_rules_only_at_the_api", req("GET", "/api/v1/users"), user("root"), "no_matching_rule user  "},
		{"api", Request{Method: "GET", Path: "/api/v1/users", API: true}, user("root"), "allowed user admin-api #0"},
		{"other_rules_not_at_the_api", Request{Method: "GET", Path: "/healthz", API: true}, user("eric"), "no_matching_rule user  "},
		{"disabled_user", req("GET", "/healthz"), user("gone"), "user_disabled   "},
		{"unknown_user", req("GET", "/healthz"), &Identity{Authenticated: true, User: "eve", RequireKnownUser: true}, "unknown_user   "},
		{"service_itself", req("GET", "/own/1"), client("mlops-client", "sub-1"), "allowed user runtime #0 x=1"},
		{"service_itself_has_no_built_ins", req("GET", "/healthz"), client("mlops-client", "sub-1"), "no_matching_rule user  "},
		{"service_gate_opens_then_user_gate", req("GET", "/workspaces/foo/models"), client("mlops-client", "eric"), "allowed user own-workspace members team=foo"},
		{"service_gate_closed", req("GET", "/workspaces/foo/other"), client("mlops-client", "eric"), "service_gate service  "},
		{"user_gate_closed_behind_service_gate", req("GET", "/workspaces/bar/models"), client("mlops-client", "eric"), "no_matching_rule user  "},
		{"disabled_service", req("GET", "/own/1"), client("off-client", "x"), "service_disabled   "},
		{"actor_that_is_no_service", req("GET", "/healthz"), &Identity{Authenticated: true, Issuer: "kc", User: "eric", HasActor: true, Actor: "who"}, "service_gate service  "},
		{"actor_without_name", req("GET", "/healthz"), &Identity{Authenticated: true, Issuer: "kc", User: "eric", HasActor: true}, "service_gate service  "},
		{"actor", req("GET", "/workspaces/foo/models"), &Identity{Authenticated: true, Issuer: "kc", User: "eric", Groups: []string{"foo"}, HasActor: true, Actor: "mlops-client"}, "allowed user own-workspace members team=foo"},
		{"own_issuer_names_services_by_name", req("GET", "/own/1"), &Identity{Authenticated: true, Own: true, Client: "mlops", Subject: "mlops"}, "allowed user runtime #0 x=1"},
	}
	snap := load(t, story())
	e := NewEvaluator()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := e.Decide(snap, &tt.req, tt.id)
			got := fmt.Sprintf("%s %s %s %s", d.Reason, d.Gate, d.Policy, d.Rule)
			for _, c := range d.Captures {
				name := c.Name
				if c.Host {
					name = "host." + name
				}
				got += fmt.Sprintf(" %s=%s", name, c.Value)
			}
			if got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
			if d.Generation != 7 {
				t.Errorf("generation %d", d.Generation)
			}
		})
	}
}

func TestDecideWithoutSnapshotDenies(t *testing.T) {
	d := NewEvaluator().Decide(nil, &Request{Method: "GET", Path: "/"}, &Identity{})
	if d.Reason != ReasonNoSnapshot || d.Reason.Status() != 503 {
		t.Errorf("got %v", d.Reason)
	}
}

func TestZeroDecisionDenies(t *testing.T) {
	var d Decision
	if d.Allowed() || d.Reason.Status() != 503 {
		t.Errorf("the zero decision allows")
	}
}

func TestDecideDoesNotAllocate(t *testing.T) {
	snap, e := load(t, story()), NewEvaluator()
	id := &Identity{Authenticated: true, Issuer: "kc", User: "root", Groups: []string{"foo", "bar"}, Roles: []string{"lib"}}
	req := &Request{Method: "GET", Path: "/workspaces/foo/a/b", Host: "x.example.org"}
	if n := testing.AllocsPerRun(100, func() {
		if d := e.Decide(snap, req, id); !d.Allowed() {
			t.Fatal(d.Reason)
		}
	}); n != 0 {
		t.Errorf("%v allocations a decision", n)
	}
}

func TestLoadRefusesEveryChange(t *testing.T) {
	body, err := Build(story())
	if err != nil {
		t.Fatal(err)
	}
	good := AppendSignature(body, "k", []byte("sig"))
	want := string(body)
	verify := func(signed, sig []byte) error {
		if string(signed) != want || string(sig) != "sig" {
			return errors.New("changed")
		}
		return nil
	}
	if _, err := Load(good, verify); err != nil {
		t.Fatal(err)
	}
	for i := range good {
		if i >= len(body)+8 && i < len(body)+9 {
			continue // the key id is a hint and not signed
		}
		bad := []byte(string(good))
		bad[i] ^= 1
		if _, err := Load(bad, verify); err == nil {
			t.Fatalf("accepted with byte %d changed", i)
		}
	}
	for n := range good {
		if _, err := Load(good[:n:n], verify); err == nil {
			t.Fatalf("accepted when cut to %d bytes", n)
		}
	}
}

// Whatever a signed body holds, loading refuses it or deciding survives it.
func TestDecideSurvivesAnyLoadedBody(t *testing.T) {
	body, err := Build(story())
	if err != nil {
		t.Fatal(err)
	}
	e, loaded := NewEvaluator(), 0
	for i := range body {
		for _, flip := range []byte{1, 0x80, 0xFF} {
			bad := []byte(string(body))
			bad[i] ^= flip
			s, err := Load(AppendSignature(bad, "", nil), func(_, _ []byte) error { return nil })
			if err != nil {
				continue
			}
			loaded++
			exercise(e, s)
		}
	}
	if loaded == 0 {
		t.Fatal("no changed body was loaded: the test shows nothing")
	}
}

// exercise asks a snapshot what touches all kinds of its records.
func exercise(e *Evaluator, s *Snapshot) {
	ids := []*Identity{
		{},
		{Authenticated: true, Issuer: "kc", User: "root", Groups: []string{"foo"}, Roles: []string{"lib"}},
		{Authenticated: true, Issuer: "kc", User: "eric", Client: "mlops-client", Subject: "sub-1"},
		{Authenticated: true, Issuer: "kc", User: "eric", Client: "mlops-client", Subject: "x", Groups: []string{"foo"}},
		{Authenticated: true, Own: true, HasActor: true, Actor: "mlops", User: "gone"},
	}
	for _, id := range ids {
		id.Claims = testClaims
		for _, path := range []string{"/", "/conditions/abc", "/healthz", "/workspaces/foo/models", "/stac/collections/c/items/1", "/cache/x", strings.Repeat("/a", 100)} {
			for _, host := range []string{"", "h.example", "foo.ws.example.org", "a.b.cdn.example.org", "[::1]"} {
				d := e.Decide(s, &Request{Method: "POST", Path: path, Host: host}, id)
				e.Decide(s, &Request{Method: "GET", Path: path, Host: host, Query: "a=%41&b", Headers: [][2]string{{"a", "b"}, {"a", "c"}}, Time: testTime}, id)
				_ = d.AppendJSON(nil)
				e.Decide(s, &Request{Method: "PURGE", Path: path, Host: host, API: host == ""}, id)
			}
		}
	}
}
