package policydata

import (
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// evaluatorFor is an evaluator in the middle of deciding r for id, to ask single
// conditions of.
func evaluatorFor(r *Request, id *Identity) *Evaluator {
	e := NewEvaluator()
	e.begin(&Snapshot{}, r, id)
	e.cond.steps = MaxConditionSteps
	return e
}

func TestHeaders(t *testing.T) {
	r := &Request{TokenHeader: "x-token", Headers: [][2]string{
		{":path", "/x"},
		{"host", "h"},
		{"a", "1"},
		{"cookie", "c=1"},
		{"authorization", "Bearer x"},
		{"a", ""},
		{"x-token", "x"},
		{"proxy-authorization", "x"},
		{"cookie", "d=2"},
		{"x-sallyport-user", "root"},
		{"x-sallyport", "kept"},
		{"x-tenant", "forged"},
		{"a", "3"},
		{"empty", ""},
		{"", "nameless"},
	}}
	e := evaluatorFor(r, &Identity{})
	e.snap.claimHeaders = claimHeaderNames([]Issuer{{ClaimHeaders: []ClaimHeader{{Header: "x-tenant"}}}})
	all, want := map[string]string{}, map[string]string{"a": "1,,3", "cookie": "c=1; d=2", "x-sallyport": "kept", "empty": ""}
	for c := e.each(e.variable(VarRequestHeaders)); e.next(&c); {
		if _, twice := all[c.value.s]; twice {
			t.Errorf("%q comes twice", c.value.s)
		}
		all[c.value.s] = strings.Clone(e.header(c.value.s).s)
	}
	if fmt.Sprint(all) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", all, want)
	}
	for _, hidden := range []string{":path", "host", "authorization", "x-token", "proxy-authorization", "x-sallyport-user", "x-tenant", "", "A", "none"} {
		if v := e.header(hidden); v.kind != kindError {
			t.Errorf("%q is %q", hidden, v.s)
		}
	}
}

func TestQuery(t *testing.T) {
	tests := []struct {
		name, raw string
		want      string // the parameters as %q; "" for malformed
	}{
		{"nothing", "", `[]`},
		{"separators alone", "&&&", `[]`},
		{"in order", "b=1&a=2&b=3", `[["b" "1"] ["a" "2"] ["b" "3"]]`},
		{"without a value", "a&b=", `[["a" ""] ["b" ""]]`},
		{"without a name", "=a&=", `[["" "a"] ["" ""]]`},
		{"the first equals sign", "a=b=c", `[["a" "b=c"]]`},
		{"a space", "a+b=c+%20d", `[["a b" "c  d"]]`},
		{"escapes of both cases", "%c3%A9=%2b%26%3D%25", `[["é" "+&=%"]]`},
		{"decoded once", "a=%2541", `[["a" "%41"]]`},
		{"other characters", "a=//../?:@[]{}|\\^`'\"<>", `[["a" "//../?:@[]{}|\\^` + "`" + `'\"<>"]]`},
		{"raw UTF-8", "é=é", `[["é" "é"]]`},
		{"a bad escape", "a=1&b=%zz", ""},
		{"half an escape", "a=%4", ""},
		{"a percent sign", "%", ""},
		{"escaped bytes that are no UTF-8", "a=%ff", ""},
		{"raw bytes that are no UTF-8", "a=\xff", ""},
		{"a surrogate", "a=%ed%a0%80", ""},
		{"a semicolon", "a=1;b=2", ""},
		{"as many parameters as may be", strings.Repeat("a&", maxParams), fmt.Sprintf("%q", slices.Repeat([][2]string{{"a", ""}}, maxParams))},
		{"more parameters", strings.Repeat("a&", maxParams+1), ""},
	}
	var q query
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q.state = queryUnread
			ok := q.read(tt.raw)
			if ok != (tt.want != "") || ok != q.read(tt.raw) {
				t.Fatalf("ok %t", ok)
			}
			if got := fmt.Sprintf("%q", q.params); ok && got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// FuzzQuery compares with net/url, which is as strict but for UTF-8.
func FuzzQuery(f *testing.F) {
	for _, raw := range []string{"a=1&b=%20+&&c", "%zz", "a;b", "=&=", "%ff"} {
		f.Add(raw)
	}
	var q query
	f.Fuzz(func(t *testing.T, raw string) {
		want, err := url.ParseQuery(raw)
		wantOK := err == nil
		for name, values := range want {
			wantOK = wantOK && utf8.ValidString(name+" "+strings.Join(values, " "))
		}
		q.state = queryUnread
		ok := q.read(raw)
		if ok != wantOK && len(q.params) < maxParams {
			t.Fatalf("%q: ok %t, net/url says %t", raw, ok, wantOK)
		}
		got := url.Values{}
		for _, p := range q.params {
			got.Add(p[0], p[1])
		}
		if ok && got.Encode() != want.Encode() {
			t.Fatalf("%q: got %q, want %q", raw, got, want)
		}
	})
}

func TestTimeParts(t *testing.T) {
	days := 0
	for at := time.Date(-401, 1, 1, 23, 59, 58, 987654321, time.UTC); at.Year() < 10_000; at = at.Add(5*24*time.Hour + 7*time.Second) {
		v := value{kind: kindTime, n: at.Unix(), count: uint32(at.Nanosecond())}
		want := [numParts]int{
			at.Year(), int(at.Month()) - 1, at.Day(), at.Day() - 1, int(at.Weekday()), at.YearDay() - 1,
			at.Hour(), at.Minute(), at.Second(), at.Nanosecond() / 1e6,
		}
		for p := range numParts {
			if got := timePart(v, p).n; got != int64(want[p]) {
				t.Fatalf("part %d of %v: got %d, want %d", p, at, got, want[p])
			}
		}
		days++
	}
	if days < 700_000 {
		t.Errorf("only %d days", days)
	}
	for _, n := range []int64{math.MinInt64, math.MaxInt64} { // from nobody, and no harm
		if v := timePart(value{kind: kindTime, n: n}, PartDayOfYear); v.kind != kindInt {
			t.Errorf("%d: kind %d", n, v.kind)
		}
	}
	if timePart(value{kind: kindTime}, numParts).kind != kindError {
		t.Error("a part that there is not")
	}
}

// claimConditions look at claims in all ways.
func claimConditions() []*Expr {
	deep := op(OpExists, variable(VarTokenClaims), op(OpExists, op(OpIndex, variable(VarTokenClaims), local(0)), op(OpEq, local(1), text("x"))))
	return []*Expr{
		op(OpEq, variable(VarTokenClaims), variable(VarTokenClaims)), op(OpGt, op(OpSize, variable(VarTokenClaims)), number(2)), deep,
		op(OpEq, claim("a"), text("b")), op(OpLt, claim("a"), number(3)), has(claim("a"), "b"), op(OpIn, text("a"), claim("a")), claim("a", "b"),
		op(OpEq, claim("a"), claim("b")), op(OpEq, op(OpIndex, claim("a"), number(1)), null()), op(OpEq, op(OpSize, claim("a")), number(1)),
	}
}

// Claims that are no JSON object make a condition that reads them an error that
// || can't take back, and nothing else.
func TestClaimsThatAreNone(t *testing.T) {
	when := op(OpOr, op(OpEq, claim("a"), claim("b")), truth(1))
	s := load(t, everyone([]Policy{allowPaths("p", when, "/a"), allowPaths("q", nil, "/b")}, "p", "q"))
	for _, claims := range []string{"x", "[]", `{"a":`, `{"a" 1}`, `{"a":"\ud800"}`, `{"a":"\udc00\udc00"}`, `{"a":-}`, `{"a":nul}`, `{"a":"\`} {
		id := &Identity{Authenticated: true, User: "u", Claims: claims}
		for path, want := range map[string]Reason{"/a": ReasonNoMatchingRule, "/b": ReasonAllowed} {
			if d := NewEvaluator().Decide(s, &Request{Method: "GET", Path: path}, id); d.Reason != want {
				t.Errorf("%q at %s: %v", claims, path, d.Reason)
			}
		}
	}
}

// What takes more than MaxConditionSteps errs as a whole: an allow rule does not
// match, a deny rule denies, whatever stands beside it.
func TestConditionSteps(t *testing.T) {
	groups := variable(VarTokenGroups)
	product := func(n int) *Expr { // all groups with all groups, n deep
		e := op(OpEq, local(0), local(0))
		for range n {
			e = op(OpAll, groups, e)
		}
		return e
	}
	double := func(n int) *Expr { // a text of 2^n times the length
		e := text(strings.Repeat("x", 1024))
		for range n {
			e = op(OpConcat, e, e)
		}
		return op(OpExists, groups, op(OpContains, e, text("y")))
	}
	many := func(n int) *Expr { // n operators that come to nothing but their number
		e := truth(1)
		for range n {
			e = op(OpNot, op(OpNot, e))
		}
		return e
	}
	list := `[` + strings.Repeat(`{"a":[1,2,3]},`, 300) + `0]`
	var escaped strings.Builder
	for i := range 300 {
		fmt.Fprintf(&escaped, `,"\\u0061%d":0`, i)
	}
	tests := []struct {
		name   string
		when   *Expr
		groups int
		within bool
	}{
		{"one macro over many groups", product(1), 1000, true},
		{"two over a hundred", product(2), 100, true},
		{"two over a thousand", product(2), 1000, false},
		{"four over twenty", product(4), 20, false},
		{"operators for each group", op(OpAll, groups, many(12)), 1000, true},
		{"operators for each pair of groups", op(OpAll, groups, op(OpAll, groups, many(12))), 60, false},
		{"long texts", op(OpNot, double(3)), 10, true},
		{"long texts for many", op(OpNot, double(3)), 200, false},
		{"claims for each group", op(OpAll, groups, op(OpEq, op(OpSize, claim("l")), number(301))), 50, true},
		{"claims for too many", op(OpAll, groups, op(OpEq, op(OpSize, claim("l")), number(301))), 1000, false},
		{"equal lists", op(OpEq, claim("l"), claim("l")), 1, true},
		{"equal lists for each group", op(OpAll, groups, op(OpEq, claim("l"), claim("l"))), 100, false},
		{"claims with escaped names for each group", op(OpAll, groups, op(OpNot, op(OpIn, text("x"), claim("e")))), 300, false},
		{"long headers for each group", op(OpAll, groups, op(OpEq, field(variable(VarRequestHeaders), "long"), field(variable(VarRequestHeaders), "long"))), 100, false},
		{"headers for each header", op(OpAll, variable(VarRequestHeaders), op(OpAll, variable(VarRequestHeaders), op(OpIn, local(0), variable(VarRequestHeaders)))), 1, false},
		{"parameters for each parameter", op(OpAll, variable(VarRequestQuery), op(OpAll, variable(VarRequestQuery), op(OpIn, local(0), variable(VarRequestQuery)))), 1, false},
	}
	req := &Request{Method: "GET", Path: "/p"}
	req.Headers = [][2]string{{"long", strings.Repeat("x", 16<<10)}, {"long", ""}}
	for i := range 600 {
		req.Headers = append(req.Headers, [2]string{fmt.Sprintf("h%d", i), "x"})
		req.Query += fmt.Sprintf("q%d&", i)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id := &Identity{Authenticated: true, User: "u", Groups: manyGroups(tt.groups), Claims: `{"l":` + list + `,"e":{` + escaped.String()[1:] + `}}`}
			for _, when := range []*Expr{tt.when, op(OpOr, tt.when, truth(1)), op(OpOr, op(OpNot, tt.when), truth(1)), op(OpAnd, truth(1), tt.when)} {
				rule := Rule{Effect: EffectDeny, Methods: []string{"*"}, Paths: []string{"/p"}, When: when}
				s := load(t, everyone([]Policy{{Name: "p", Rules: []Rule{rule}}, allowPaths("q", nil, "/**")}, "p", "q"))
				want := ReasonConditionError
				if tt.within {
					want = ReasonDeniedByRule
				}
				if d := NewEvaluator().Decide(s, req, id); d.Reason != want {
					t.Errorf("%v, want %v", d.Reason, want)
				}
			}
		})
	}
}

// One condition's memory is not another's, nor one request's the next's.
func TestConditionsDoNotMix(t *testing.T) {
	const n = 50
	src := everyone(nil)
	for i := range n {
		when := op(OpEq, op(OpConcat, claim("é"), &Expr{Op: OpPathVar, Str: "x"}), text(fmt.Sprintf("ä%d", i)))
		src.Policies = append(src.Policies, allowPaths(teamName(i), when, "/{x}"))
		src.Groups[0].Policies = append(src.Groups[0].Policies, teamName(i))
	}
	s, e := load(t, src), NewEvaluator()
	for i := range n {
		d := e.Decide(s, &Request{Method: "GET", Path: fmt.Sprintf("/%d", i)}, &Identity{Authenticated: true, User: "u", Claims: `{"\u00e9":"\u00e4"}`})
		if !d.Allowed() || d.Policy != teamName(i) {
			t.Errorf("%d: %v by %q", i, d.Reason, d.Policy)
		}
	}
}
