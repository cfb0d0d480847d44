package policydata_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"sallyport/policydata"
	"sallyport/policydata/decidetest"
)

var decisions = flag.Int("decisions", 20_000, "how many random decisions are compared with the reference")

// The engine decides as the reference does, in reason, gate, report and
// captures, on random policy sets and requests.
func TestDecideAsReference(t *testing.T) {
	const requestsPerSet = 50
	e, reasons := policydata.NewEvaluator(), map[policydata.Reason]int{}
	for set := range uint64(max(1, *decisions/requestsPerSet)) {
		r := decidetest.NewRandom(1, set)
		src := r.Source()
		s := load(t, src)
		for range requestsPerSet {
			req, id := r.Request(), r.Identity()
			want, got := decidetest.Decide(&src, req, id), decidetest.VerdictOf(e.Decide(s, req, id))
			reasons[got.Reason]++
			if got.String() != want.String() {
				t.Fatalf("set %d, %+v, %+v:\ngot  %v\nwant %v\nsource %+v", set, *req, *id, got, want, src)
			}
		}
	}
	t.Log(reasons)
	for _, reason := range []policydata.Reason{
		policydata.ReasonAllowed, policydata.ReasonNoToken, policydata.ReasonUserDisabled, policydata.ReasonServiceDisabled,
		policydata.ReasonUnknownUser, policydata.ReasonDeniedByRule, policydata.ReasonConditionError,
		policydata.ReasonNoMatchingRule, policydata.ReasonServiceGate,
	} {
		if reasons[reason] == 0 && *decisions >= 20_000 {
			t.Errorf("no random decision was %v: the test shows too little", reason)
		}
	}
}

// load builds and loads src with a signature that is not looked at.
func load(t testing.TB, src policydata.Source) *policydata.Snapshot {
	t.Helper()
	body, err := policydata.Build(src)
	if err != nil {
		t.Fatal(err)
	}
	s, err := policydata.Load(policydata.AppendSignature(body, "k", []byte("sig")), func(_, _ []byte) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// An evaluator's memory of one snapshot must not tell in the next, whatever
// their sizes.
func TestEvaluatorServesSnapshotsOfAnySize(t *testing.T) {
	r := decidetest.NewRandom(3, 3)
	snaps := []*policydata.Snapshot{
		load(t, policydata.Source{}), load(t, policydata.Story()),
		load(t, policydata.LiteralRules(2_000)), load(t, policydata.SharedPath(300)),
	}
	for range 20 {
		snaps = append(snaps, load(t, r.Source()))
	}
	used := policydata.NewEvaluator()
	for range 2_000 {
		s, req, id := snaps[r.IntN(len(snaps))], r.Request(), r.Identity()
		got := decidetest.VerdictOf(used.Decide(s, req, id))
		want := decidetest.VerdictOf(policydata.NewEvaluator().Decide(s, req, id))
		if got.String() != want.String() {
			t.Fatalf("used evaluator %v, new one %v", got, want)
		}
	}
}

// The two ways of finding the principal's rules among a node's terminals agree,
// whichever is the shorter: with a few groups of 400, and with many.
func TestConsiderAgreesWithSearch(t *testing.T) {
	r := decidetest.NewRandom(5, 5)
	const n = 400
	src := policydata.Everyone(nil)
	for i := range n {
		p := policydata.Policy{Name: policydata.TeamName(i)}
		for range 1 + r.IntN(3) {
			p.Rules = append(p.Rules, policydata.Rule{
				Effect:  decidetest.Pick(r, policydata.EffectAllow, policydata.EffectDeny),
				Methods: []string{decidetest.Pick(r, "*", "GET", "POST")},
				Paths:   []string{decidetest.Pick(r, "/w/{x}", "/w/**", "/w/a"), "/w/{y}"},
			})
		}
		src.Policies = append(src.Policies, p)
		src.Groups = append(src.Groups, policydata.Group{Name: p.Name, Policies: []string{p.Name}})
	}
	s, e := load(t, src), policydata.NewEvaluator()
	for range 500 {
		id := &policydata.Identity{Authenticated: true, User: "u"}
		for range 1 + r.IntN(decidetest.Pick(r, 2, 4, 100)) {
			id.Groups = append(id.Groups, policydata.TeamName(r.IntN(n)))
		}
		req := &policydata.Request{Method: decidetest.Pick(r, "GET", "POST", "PUT"), Path: decidetest.Pick(r, "/w/a", "/w/b", "/w")}
		want, got := decidetest.Decide(&src, req, id), decidetest.VerdictOf(e.Decide(s, req, id))
		if got.String() != want.String() {
			t.Fatalf("%v of %d groups:\ngot  %v\nwant %v", req, len(id.Groups), got, want)
		}
	}
}

// Comparing one's own patterns one by one, which ends walks that patterns of
// others make too long, finds what the reference finds.
func TestLongWalksAgree(t *testing.T) {
	const levels = 14
	deep := strings.Repeat("/a", levels)
	for set := range uint64(30) {
		r := decidetest.NewRandom(6, set)
		src := policydata.Everyone(nil)
		pattern := func(tails ...string) string {
			var path strings.Builder
			for range levels {
				path.WriteString(decidetest.Pick(r, "/a", "/*"))
			}
			return path.String() + decidetest.Pick(r, tails...)
		}
		for i := range 2_000 { // the strangers
			src.Policies = append(src.Policies, policydata.AllowPaths(policydata.TeamName(i), nil, pattern("")))
		}
		own := policydata.Policy{Name: decidetest.Pick(r, "a", "z")}
		for range 4 {
			rule := policydata.Rule{Effect: decidetest.Pick(r, policydata.EffectAllow, policydata.EffectDeny), Methods: []string{"*"}}
			for range 1 + r.IntN(3) {
				rule.Paths = append(rule.Paths, decidetest.Pick(r,
					pattern("", "/**", "/", "/a", "/{end}"), "/{first}"+deep[2:], "/b/**", "/**", "/a/{second}/**", deep+"/**", deep[2:], deep+"/"))
			}
			own.Rules = append(own.Rules, rule)
		}
		src.Policies = append(src.Policies, own)
		src.Groups = append(src.Groups, policydata.Group{Name: "g", Policies: []string{own.Name}})
		s, e := load(t, src), policydata.NewEvaluator()
		for _, path := range []string{deep, deep + "/", deep + "/a", deep[2:], deep + deep} {
			req, id := &policydata.Request{Method: "GET", Path: path}, &policydata.Identity{Authenticated: true, User: "u", Groups: []string{"g"}}
			want, got := decidetest.Decide(&src, req, id), decidetest.VerdictOf(e.Decide(s, req, id))
			if got.String() != want.String() {
				t.Fatalf("set %d, %s:\ngot  %v\nwant %v\nrules %+v", set, path, got, want, own)
			}
		}
	}
}

// Two hosts may list what their stores hold in different orders.
func TestBuildDoesNotDependOnOrder(t *testing.T) {
	r := decidetest.NewRandom(7, 7)
	for range 50 {
		src := r.Source()
		want, err := policydata.Build(src)
		if err != nil {
			t.Fatal(err)
		}
		shuffle(r, src.Policies)
		shuffle(r, src.Users)
		shuffle(r, src.Groups)
		shuffle(r, src.Roles)
		shuffle(r, src.Services)
		shuffle(r, src.Issuers)
		shuffle(r, src.Revoked)
		for i := range src.Groups {
			shuffle(r, src.Groups[i].Members)
			shuffle(r, src.Groups[i].Policies)
		}
		for i := range src.Services {
			shuffle(r, src.Services[i].Identities)
		}
		got, err := policydata.Build(src)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatal("the same source in another order is another snapshot")
		}
	}
}

func shuffle[T any](r decidetest.Random, s []T) {
	r.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
}

// FuzzPattern takes any text for a path and a host pattern: what the checks
// accept Build compiles, and it decides as the reference does.
func FuzzPattern(f *testing.F) {
	f.Add("/workspaces/{team}/**", "{team}.ws.example.org", "/workspaces/foo/x", "foo.ws.example.org")
	f.Add("/", "a", "/", "A.")
	f.Add("/*/a/", "*.b.c", "/x/a/", "a.b.c")
	f.Add("/**", "[::1]", "/a%20b", "[::1]:80")
	f.Add("/{a}/{b}/é", "*.{x}.c", "/a/b/%C3%A9", "q.a.c")
	e := policydata.NewEvaluator()
	f.Fuzz(func(t *testing.T, pathPattern, hostPattern, target, authority string) {
		_, pathErr := policydata.CheckPathPattern(pathPattern)
		_, hostErr := policydata.CheckHostPattern(hostPattern)
		rule := policydata.Rule{Effect: policydata.EffectAllow, Methods: []string{"*"}, Hosts: []string{hostPattern}, Paths: []string{pathPattern}}
		src := policydata.Everyone([]policydata.Policy{{Name: "p", Rules: []policydata.Rule{rule}}}, "p")
		_, err := policydata.Build(src)
		if (err == nil) != (pathErr == nil && hostErr == nil) {
			t.Fatalf("checks say %v, %v; Build says %v", pathErr, hostErr, err)
		}
		path, pathOK := policydata.CanonicalPath(target)
		host, hostOK := policydata.CanonicalHost(authority)
		if err != nil || !pathOK || !hostOK {
			return
		}
		req, id := &policydata.Request{Method: "GET", Path: path, Host: host}, &policydata.Identity{Authenticated: true, User: "u"}
		got, want := decidetest.VerdictOf(e.Decide(load(t, src), req, id)), decidetest.Decide(&src, req, id)
		if got.String() != want.String() {
			t.Fatalf("%q, %q by %q, %q:\ngot  %v\nwant %v", path, host, pathPattern, hostPattern, got, want)
		}
	})
}

// FuzzClaims takes any text for claims: what is JSON means what encoding/json
// says, and what is none harms nothing.
func FuzzClaims(f *testing.F) {
	for _, text := range []string{
		"", "{}", policydata.TestClaims, policydata.BenchClaims, `{"a":"b"}`, `{"a":[1,null],"b":[1,null]}`, `{"a":{"b":true}}`, `{"\u0061":"\ud83d\ude00"}`, `{`, `{"a`, `{"a":"\`, `{"a":"\u00`, `{"a":"\ud800"}`,
		`{"a":-}`, `{"a":1.e}`, `{"a":tru}`, `{"a":[}`, `{"a":[[[[`, `{a:1}`, `{"a" 1}`, `[1]`, `{"a":1,,"b":2}`, `{"a":}`, `{"":"x"}`, strings.Repeat(`{"a":`, 100), `{"a":"x"y}`, `{"a":1e999}`,
	} {
		f.Add(text)
	}
	var names []string
	var policies []policydata.Policy
	for i, when := range policydata.ClaimConditions() {
		names = append(names, fmt.Sprintf("p%02d", i))
		policies = append(policies, policydata.Policy{Name: names[i], Rules: []policydata.Rule{{
			Effect: policydata.EffectDeny, Methods: []string{"*"}, Paths: []string{"/" + names[i]}, When: when,
		}}})
	}
	src := policydata.Everyone(append(policies, policydata.AllowPaths("z", nil, "/**")), append(names, "z")...)
	s, e := load(f, src), policydata.NewEvaluator()
	f.Fuzz(func(t *testing.T, claims string) {
		var decoded map[string]any
		// Names that stand twice, and escapes of no code point, never get here.
		valid := json.Unmarshal([]byte(claims), &decoded) == nil && decoded != nil && utf8.ValidString(claims) && !strings.Contains(claims, `\u`)
		again, err := json.Marshal(decoded)
		valid = valid && err == nil && strings.Count(claims, ":") == strings.Count(string(again), ":")
		id := &policydata.Identity{Authenticated: true, User: "u", Claims: claims}
		for i := range policies {
			req := &policydata.Request{Method: "GET", Path: "/" + policies[i].Name}
			got := e.Decide(s, req, id).Reason
			if !valid {
				continue
			}
			if want := decidetest.Decide(&src, req, id).Reason; got != want {
				t.Fatalf("%s in %q: %v, want %v", req.Path, claims, got, want)
			}
		}
	})
}
