package policydata

import (
	"fmt"
	"strings"
	"testing"
)

func TestIDSetSurvivesTheLastRound(t *testing.T) {
	var s idSet
	s.reset(4)
	s.add(2)
	s.round = 1<<32 - 1
	s.reset(4)
	if s.has(2) || s.has(0) || !s.add(0) || s.add(0) || len(s.ids) != 1 {
		t.Errorf("%+v", s)
	}
}

func TestDecideReportsTheSmallest(t *testing.T) {
	rule := func(name string, effect Effect, hosts, paths []string) Rule {
		return Rule{Name: name, Effect: effect, Methods: []string{"*"}, Hosts: hosts, Paths: paths}
	}
	tests := []struct {
		name     string
		policies []Policy
		want     string
	}{
		{"policy_by_name", []Policy{
			{Name: "b", Rules: []Rule{rule("x", EffectAllow, nil, []string{"/a/b"})}},
			{Name: "a", Rules: []Rule{rule("y", EffectAllow, nil, []string{"/**"})}},
		}, "allowed a y"},
		{"rule_by_index", []Policy{{Name: "a", Rules: []Rule{
			rule("no", EffectAllow, nil, []string{"/x"}),
			rule("second", EffectAllow, nil, []string{"/**"}),
			rule("third", EffectAllow, nil, []string{"/a/b"}),
		}}}, "allowed a second"},
		{"path_by_index_not_by_place_in_the_trie", []Policy{{Name: "a", Rules: []Rule{
			rule("r", EffectAllow, nil, []string{"/{q}/**", "/a/{p}", "/a/b"}),
		}}}, "allowed a r q=a"},
		{"host_by_index", []Policy{{Name: "a", Rules: []Rule{
			rule("r", EffectAllow, []string{"x", "{one}.example", "h.{two}"}, []string{"/a/{p}"}),
		}}}, "allowed a r p=b host.one=h"},
		{"path_before_host", []Policy{{Name: "a", Rules: []Rule{
			rule("r", EffectAllow, []string{"x", "{one}.example"}, []string{"/{p}/b", "/a/{q}"}),
		}}}, "allowed a r p=a host.one=h"},
		{"all_captures_of_path_and_host", []Policy{{Name: "a", Rules: []Rule{
			rule("r", EffectAllow, []string{"{h1}.{h2}"}, []string{"/{p1}/{p2}"}),
		}}}, "allowed a r p1=a p2=b host.h2=example host.h1=h"},
		{"any_deny_before_the_smallest_allow", []Policy{
			{Name: "a", Rules: []Rule{rule("allow", EffectAllow, nil, []string{"/**"})}},
			{Name: "z", Rules: []Rule{rule("ok", EffectAllow, nil, []string{"/a/b"}), rule("deny", EffectDeny, nil, []string{"/{d}/*"})}},
		}, "denied_by_rule z deny d=a"},
		{"smallest_deny", []Policy{
			{Name: "c", Rules: []Rule{rule("", EffectDeny, nil, []string{"/a/b"})}},
			{Name: "b", Rules: []Rule{rule("", EffectDeny, nil, []string{"/x"}), rule("", EffectDeny, nil, []string{"/**"})}},
		}, "denied_by_rule b #1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := load(t, everyone(tt.policies, names(tt.policies, func(p Policy) string { return p.Name })...))
			d := NewEvaluator().Decide(s, &Request{Method: "GET", Path: "/a/b", Host: "h.example"}, &Identity{Authenticated: true, User: "u"})
			got := fmt.Sprintf("%v %s %s", d.Reason, d.Policy, d.Rule)
			for _, c := range d.Captures {
				prefix := ""
				if c.Host {
					prefix = "host."
				}
				got += fmt.Sprintf(" %s%s=%s", prefix, c.Name, c.Value)
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// The zeroth path of a rule errs and another one holds: the rule matches. A deny
// rule of which one path errs and none holds denies.
func TestDecideTriesEveryPathAndHostOfACondition(t *testing.T) {
	when := op(OpEq, &Expr{Op: OpPathVar, Str: "x"}, text("b"))
	for _, effect := range []Effect{EffectAllow, EffectDeny} {
		rule := Rule{Effect: effect, Methods: []string{"*"}, Paths: []string{"/{x}/b", "/a/{x}"}, When: when}
		s := load(t, everyone([]Policy{{Name: "p", Rules: []Rule{rule}}}, "p"))
		d := NewEvaluator().Decide(s, &Request{Method: "GET", Path: "/a/b"}, &Identity{Authenticated: true, User: "u"})
		want := map[Effect]Reason{EffectAllow: ReasonAllowed, EffectDeny: ReasonDeniedByRule}[effect]
		if d.Reason != want || len(d.Captures) != 1 || d.Captures[0].Value != "b" {
			t.Errorf("%v with %v, want %v", d.Reason, d.Captures, want)
		}
	}
}

func TestDecideLongPaths(t *testing.T) {
	deep := strings.Repeat("/a", MaxPatternSegments)
	s := load(t, everyone([]Policy{
		allowPaths("exact", nil, deep),
		allowPaths("tail", nil, "/t/**"),
		allowPaths("late-tail", nil, "/b"+strings.Repeat("/*", MaxPatternSegments-2)+"/**"),
		allowPaths("late-capture", nil, "/c"+strings.Repeat("/*", MaxPatternSegments-2)+"/{last}"),
	}, "exact", "tail", "late-tail", "late-capture"))
	tests := []struct{ name, path, want string }{
		{"as_many_segments_as_a_pattern_can_have", deep, "exact"},
		{"one_fewer", deep[2:], ""},
		{"one_more", deep + "/a", ""},
		{"one_more_that_is_empty", deep + "/", ""},
		{"tail_over_many", "/t" + strings.Repeat("/x", 5_000), "tail"},
		{"tail_over_many_with_trailing_slash", "/t" + strings.Repeat("/x", 200) + "/", "tail"},
		{"tail_at_the_last_segment", "/b" + strings.Repeat("/x", 62), "late-tail"},
		{"tail_behind_the_last_segment", "/b" + strings.Repeat("/x", 200), "late-tail"},
		{"tail_not_reached", "/b" + strings.Repeat("/x", 61), ""},
		{"capture_of_the_last_segment", "/c" + strings.Repeat("/x", 62) + "/z", "late-capture"},
		{"many_without_a_pattern", strings.Repeat("/n", 5_000), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := NewEvaluator().Decide(s, &Request{Method: "GET", Path: tt.path}, &Identity{Authenticated: true, User: "u"})
			if d.Policy != tt.want || d.Allowed() != (tt.want != "") {
				t.Errorf("%v by %q, want %q", d.Reason, d.Policy, tt.want)
			}
			if tt.want == "late-capture" && d.Captures[0].Value != "z" {
				t.Errorf("captured %v", d.Captures)
			}
		})
	}
}

// What does not come from CanonicalPath and CanonicalHost matches nothing, and
// harms nothing.
func TestDecideSurvivesWhatIsNotCanonical(t *testing.T) {
	s := load(t, everyone([]Policy{{Name: "p", Rules: []Rule{{
		Effect: EffectAllow, Methods: []string{"*"}, Hosts: []string{"{a}.{b}", "*.{c}", "[::1]"}, Paths: []string{"/**", "/{x}"},
	}}}}, "p"))
	id := &Identity{Authenticated: true, User: "u"}
	for _, path := range []string{"", "x", "a/b", "?", "%2F"} {
		if d := NewEvaluator().Decide(s, &Request{Method: "GET", Path: path, Host: "a.b"}, id); d.Reason != ReasonNoMatchingRule {
			t.Errorf("path %q: %v", path, d.Reason)
		}
	}
	for _, host := range []string{".", "..", "a.", ".a", "[", "[::1", "]", "[]."} {
		_ = NewEvaluator().Decide(s, &Request{Method: "GET", Path: "/x", Host: host}, id)
	}
}

func TestDecideIgnoresGroupsThatStandForNothingOrAll(t *testing.T) {
	src := everyone([]Policy{allowPaths("own", inGroups(), "/w/{team}"), allowPaths("any", op(OpEq, op(OpSize, variable(VarTokenGroups)), number(0)), "/size")}, "own", "any")
	s, e := load(t, src), NewEvaluator()
	id := &Identity{Authenticated: true, User: "u", Groups: []string{"", "*", GroupAuthenticated, "system:x"}}
	if d := e.Decide(s, &Request{Method: "GET", Path: "/w/*"}, id); d.Allowed() {
		t.Error("the group * opens the workspace *")
	}
	if d := e.Decide(s, &Request{Method: "GET", Path: "/size"}, id); !d.Allowed() {
		t.Errorf("token.groups is not empty: %v", e.Groups())
	}
}

func TestPreflight(t *testing.T) {
	rule := Rule{Effect: EffectAllow, Methods: []string{"@preflight"}, Paths: []string{"/**"}}
	s := load(t, everyone([]Policy{{Name: "p", Rules: []Rule{rule}}}, "p"))
	for _, preflight := range []bool{true, false} {
		d := NewEvaluator().Decide(s, &Request{Method: "OPTIONS", Path: "/", Preflight: preflight}, &Identity{Authenticated: true, User: "u"})
		if d.Allowed() != preflight {
			t.Errorf("preflight %t: %v", preflight, d.Reason)
		}
	}
}
