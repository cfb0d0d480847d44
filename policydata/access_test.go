package policydata

import (
	"slices"
	"strings"
	"testing"
)

// everything is a page that no random set fills.
var everything = AccessPage{Amount: 1 << 20}

// instance returns a random request that a pattern covers.
func (r random) instance(p AccessPattern) *Request {
	req := r.request() // for what conditions ask for beside
	req.Method, req.Path, req.Preflight, req.API = pick(r, p.Methods...), "", false, false
	switch req.Method {
	case "*":
		req.Method = pick(r, "GET", "POST", "PURGE", "OPTIONS", "get")
	case MethodsPreflight:
		req.Method, req.Preflight = "OPTIONS", true
	}
	req.Preflight = req.Preflight || req.Method == "OPTIONS" && r.IntN(2) == 0
	part := func() string { return pick(r, "a", "b", "g0", "g1", "x", "other") }
	for _, s := range strings.Split(p.Path, "/")[1:] {
		switch {
		case s == "**":
			for range r.IntN(3) {
				req.Path += "/" + part()
			}
			if req.Path == "" || r.IntN(4) == 0 {
				req.Path += "/"
			}
		case s == "*" || strings.HasPrefix(s, "{"):
			req.Path += "/" + part()
		default:
			req.Path += "/" + s
		}
	}
	if p.Host == "" {
		req.Host = pick(r, "", "a", "b.a", "c.b.a", "[::1]")
		return req
	}
	labels := strings.Split(p.Host, ".")
	for i, l := range labels {
		if l == "*" || strings.HasPrefix(l, "{") {
			labels[i] = part()
		}
	}
	req.Host = strings.Join(labels, ".")
	return req
}

// covers reports whether a pattern covers a request, by the reference.
func covers(p AccessPattern, req *Request) bool {
	method := slices.ContainsFunc(p.Methods, func(m string) bool { return refMethod(m, req) })
	path := refPath(strings.Split(p.Path, "/")[1:], strings.Split(req.Path, "/")[1:], map[string]string{})
	return method && path && (p.Host == "" || refHost(p.Host, req.Host, map[string]string{}))
}

func (x *AccessEntry) conditional() bool {
	return x.When != "" || x.Service != nil && x.Service.When != ""
}

// What is listed without a condition is allowed, unless one of its denials
// denies; what has none is allowed.
func TestAccessIsSound(t *testing.T) {
	e := NewEvaluator()
	asked, denied, filled, served := 0, 0, 0, 0
	eachRandom(t, 11, func(r random, _ *Source, s *Snapshot) {
		id := r.identity()
		access := NewEvaluator().Access(s, id, everything)
		if access.Refused != "" && len(access.Entries) > 0 {
			t.Fatalf("%+v", access)
		}
		for i := range access.Entries {
			x := &access.Entries[i]
			if x.conditional() {
				continue
			}
			for range 3 {
				req := r.instance(x.AccessPattern)
				d := e.Decide(s, req, id)
				asked++
				if len(x.Captures) > 0 {
					filled++
				}
				if x.Service != nil {
					served++
				}
				if d.Allowed() {
					continue
				}
				denied++
				told := slices.ContainsFunc(x.Denials, func(y AccessDenial) bool {
					return covers(y.AccessPattern, req) && (d.Reason == ReasonServiceGate && y.Gate == "service" || y.Policy == d.Policy && y.Rule == d.Rule)
				})
				if !told && (id.Authenticated || !slices.ContainsFunc(x.Denials, func(y AccessDenial) bool { return covers(y.AccessPattern, req) })) {
					t.Fatalf("listed as %+v, and %+v of %+v is %v by %s/%s", *x, *req, *id, d.Reason, d.Policy, d.Rule)
				}
			}
		}
	})
	if asked == 0 || denied == 0 || denied == asked || filled == 0 || served == 0 {
		t.Errorf("%d asked, %d denied, %d filled, %d on behalf: the test shows too little", asked, denied, filled, served)
	}
}

// What is allowed is listed.
func TestAccessIsComplete(t *testing.T) {
	e, allowed := NewEvaluator(), 0
	eachRandom(t, 12, func(r random, _ *Source, s *Snapshot) {
		id := r.identity()
		access := NewEvaluator().Access(s, id, everything)
		for range 20 {
			req := r.request()
			req.API = false
			if d := e.Decide(s, req, id); !d.Allowed() {
				continue
			}
			allowed++
			if !slices.ContainsFunc(access.Entries, func(x AccessEntry) bool { return covers(x.AccessPattern, req) }) {
				t.Fatalf("%+v of %+v is allowed, and not listed in %+v", *req, *id, access.Entries)
			}
		}
	})
	if allowed == 0 {
		t.Error("nothing was allowed: the test shows nothing")
	}
}

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
