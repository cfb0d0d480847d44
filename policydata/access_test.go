package policydata

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

// everything is a page that no set here fills.
var everything = AccessPage{Amount: 1 << 20}

func TestAccess(t *testing.T) {
	in := func(name string) *Expr {
		return &Expr{Op: OpIn, Args: []*Expr{{Op: OpPathVar, Str: name}, {Op: OpVar, Int: int64(VarTokenGroups)}}}
	}
	is := func(op Op, v Var, text string) *Expr {
		return &Expr{Op: op, Args: []*Expr{{Op: OpVar, Int: int64(v)}, {Op: OpString, Str: text}}}
	}
	and := func(x, y *Expr) *Expr { return &Expr{Op: OpAnd, Args: []*Expr{x, y}} }
	deny := func(when *Expr, paths ...string) Rule {
		return Rule{Effect: EffectDeny, Methods: []string{"*"}, Paths: paths, When: when, Text: "cond"}
	}
	allow := func(when *Expr, paths ...string) Rule {
		return Rule{Effect: EffectAllow, Methods: []string{"GET"}, Paths: paths, When: when, Text: "cond"}
	}
	tests := []struct {
		name  string
		rules []Rule
		want  string
	}{
		{"one_pattern_a_group", []Rule{allow(in("team"), "/w/{team}/**")}, "/w/bar/** /w/foo/**"},
		{"groups_that_no_path_can_have_are_left_out", []Rule{allow(in("team"), "/x/{team}")}, "/x/bar /x/foo"},
		{"a_rest_that_asks_for_the_request_remains", []Rule{allow(and(in("team"), is(OpEq, VarRequestMethod, "GET")), "/w/{team}")}, "/w/bar?cond /w/foo?cond"},
		{"what_is_known_is_no_condition", []Rule{allow(is(OpEq, VarUserName, "eric"), "/mine")}, "/mine"},
		{"what_never_holds_is_not_listed", []Rule{allow(is(OpEq, VarUserName, "ann"), "/hers")}, ""},
		{"other_use_of_a_capture_remains", []Rule{allow(&Expr{Op: OpStartsWith, Args: []*Expr{{Op: OpPathVar, Str: "x"}, {Op: OpString, Str: "a"}}}, "/{x}")}, "/{x}?cond"},
		{"all_but_some", []Rule{allow(&Expr{Op: OpNot, Args: []*Expr{in("team")}}, "/w/{team}")}, "/w/{team}?cond"},
		{"one_pattern_a_key_of_a_claim", []Rule{allow(atKey(), "/w/{team}/**")}, "/w/foo/**"},
		{"error_whatever_the_request", []Rule{allow(&Expr{Op: OpField, Str: "missing", Args: []*Expr{{Op: OpVar, Int: int64(VarTokenClaims)}}}, "/w")}, ""},
		{"time_remains", []Rule{allow(&Expr{Op: OpLt, Args: []*Expr{{Op: OpVar, Int: int64(VarRequestTime)}, {Op: OpTime, Int: 5}}}, "/w")}, "/w?cond"},
		{"deny_that_cuts_in", []Rule{allow(nil, "/a/**"), deny(nil, "/a/secret/**")}, "/a/**-/a/secret/**"},
		{"deny_that_covers", []Rule{allow(nil, "/a/b", "/c"), deny(nil, "/a/**")}, "/c"},
		{"deny_elsewhere", []Rule{allow(nil, "/a"), deny(nil, "/b")}, "/a"},
		{"deny_by_a_filled_capture", []Rule{
			allow(in("team"), "/w/{team}/**"),
			deny(&Expr{Op: OpEq, Args: []*Expr{{Op: OpPathVar, Str: "t"}, {Op: OpString, Str: "foo"}}}, "/w/{t}/x"),
		}, "/w/bar/** /w/foo/**-/w/foo/x"},
		{"deny_that_depends_on_the_request", []Rule{allow(nil, "/a"), deny(is(OpEq, VarRequestHost, "h"), "/**")}, "/a-/a?cond"},
	}
	id := &Identity{Authenticated: true, User: "eric", Claims: `{"access":{"foo":{"roles":["ws"]},"bar":{"roles":["x"]},"none":{}}}`, Groups: []string{"bar", "foo", "a/b", "..", "x;y"}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := load(t, everyone([]Policy{{Name: "p", Rules: tt.rules}}, "p"))
			var got []string
			for _, x := range NewEvaluator().Access(s, id, everything).Entries {
				text := x.Path
				if x.When != "" {
					text += "?" + x.When
				}
				for _, d := range x.Denials {
					text += "-" + d.Path
					if d.When != "" {
						text += "?" + d.When
					}
				}
				got = append(got, text)
			}
			slices.Sort(got)
			if strings.Join(got, " ") != tt.want {
				t.Errorf("got  %s\nwant %s", strings.Join(got, " "), tt.want)
			}
		})
	}
}

// atKey is "ws" in token.claims.access[path.team].roles.
func atKey() *Expr {
	access := &Expr{Op: OpField, Str: "access", Args: []*Expr{{Op: OpVar, Int: int64(VarTokenClaims)}}}
	team := &Expr{Op: OpIndex, Args: []*Expr{access, {Op: OpPathVar, Str: "team"}}}
	roles := &Expr{Op: OpField, Str: "roles", Args: []*Expr{team}}
	return &Expr{Op: OpIn, Args: []*Expr{{Op: OpString, Str: "ws"}, roles}}
}

// Pages are parts of the whole, in its order, and the last says so.
func TestAccessPages(t *testing.T) {
	s := load(t, everyone([]Policy{allowPaths("own", inGroups(), "/w/{team}/**", "/x/{team}")}, "own"))
	id := &Identity{Authenticated: true, User: "eric", Groups: manyGroups(10)}
	all := NewEvaluator().Access(s, id, everything)
	if len(all.Entries) != 20 || all.More {
		t.Fatalf("%d entries, more %t", len(all.Entries), all.More)
	}
	var paged []string
	for offset := 0; ; offset += 7 {
		page := NewEvaluator().Access(s, id, AccessPage{Offset: offset, Amount: 7})
		for _, x := range page.Entries {
			paged = append(paged, x.Path)
		}
		if !page.More {
			break
		}
	}
	if want := names(all.Entries, func(x AccessEntry) string { return x.Path }); !slices.Equal(paged, want) {
		t.Errorf("got  %q\nwant %q", paged, want)
	}
}

func TestAccessRefused(t *testing.T) {
	src := everyone([]Policy{allowPaths("p", nil, "/**")}, "p")
	src.Users = []User{{Name: "gone", Disabled: true}}
	s := load(t, src)
	for want, id := range map[string]*Identity{
		"user_disabled": {Authenticated: true, User: "gone"},
		"unknown_user":  {Authenticated: true, User: "ghost", RequireKnownUser: true},
		"service_gate":  {Authenticated: true, User: "eric", HasActor: true, Actor: "nobody"},
		"":              {Authenticated: true, User: "eric"},
	} {
		if got := NewEvaluator().Access(s, id, everything); got.Refused != want || (len(got.Entries) == 0) != (want != "") {
			t.Errorf("%+v, want %q", got, want)
		}
	}
	if got := NewEvaluator().Access(nil, &Identity{}, everything); got.Refused != "no_snapshot" {
		t.Errorf("%+v", got)
	}
}

// Each pattern is compared with each denial. What takes too long ends, and what
// is listed until then has all its denials.
func TestAccessEnds(t *testing.T) {
	const n = 3300
	var allow, deny []Rule
	for i := range n {
		path := "/" + strconv.Itoa(i)
		allow = append(allow, Rule{Effect: EffectAllow, Methods: []string{"*"}, Paths: []string{path + "/**"}})
		deny = append(deny, Rule{Effect: EffectDeny, Methods: []string{"*"}, Paths: []string{path + "/x"}})
	}
	s := load(t, everyone([]Policy{{Name: "p", Rules: allow}, {Name: "q", Rules: deny}}, "p", "q"))
	access := NewEvaluator().Access(s, &Identity{Authenticated: true, User: "u"}, everything)
	if len(access.Entries) == 0 || len(access.Entries) >= n || !access.Partial {
		t.Errorf("%d of %d entries, partial: %t", len(access.Entries), n, access.Partial)
	}
	for _, x := range access.Entries {
		if len(x.Denials) != 1 {
			t.Fatalf("%s has %d denials", x.Path, len(x.Denials))
		}
	}
}
