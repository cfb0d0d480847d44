package condition_test

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/host/internal/condition"
	"sallyport/policydata"
)

var opNames = map[policydata.Op]string{
	policydata.OpList: "list", policydata.OpAnd: "&&", policydata.OpOr: "||", policydata.OpNot: "!",
	policydata.OpEq: "==", policydata.OpNe: "!=", policydata.OpLt: "<", policydata.OpLe: "<=",
	policydata.OpGt: ">", policydata.OpGe: ">=", policydata.OpIn: "in", policydata.OpStartsWith: "startsWith",
	policydata.OpEndsWith: "endsWith", policydata.OpContains: "contains", policydata.OpSize: "size",
	policydata.OpIndex: "[]", policydata.OpIf: "?:", policydata.OpExists: "exists", policydata.OpAll: "all", policydata.OpConcat: "+",
}

// render writes a tree as text: operators before their operands.
func render(e *policydata.Expr) string {
	switch e.Op {
	case policydata.OpString:
		return strconv.Quote(e.Str)
	case policydata.OpInt:
		return strconv.FormatInt(e.Int, 10)
	case policydata.OpBool:
		return strconv.FormatBool(e.Int != 0)
	case policydata.OpVar:
		return fmt.Sprintf("$%d", e.Int)
	case policydata.OpUint:
		return strconv.FormatUint(uint64(e.Int), 10) + "u"
	case policydata.OpDouble:
		return strconv.FormatFloat(math.Float64frombits(uint64(e.Int)), 'e', -1, 64)
	case policydata.OpNull:
		return "null"
	case policydata.OpTime:
		return fmt.Sprintf("@%d.%09d", e.Int, e.Nanos)
	case policydata.OpLocal:
		return fmt.Sprintf("local%d", e.Int)
	case policydata.OpField:
		return render(e.Args[0]) + "." + strconv.Quote(e.Str)
	case policydata.OpHas:
		return "(has " + render(e.Args[0]) + "." + strconv.Quote(e.Str) + ")"
	case policydata.OpTimePart:
		return fmt.Sprintf("(part%d %s)", e.Int, render(e.Args[0]))
	case policydata.OpPathVar:
		return "path." + e.Str
	case policydata.OpHostVar:
		return "host." + e.Str
	}
	var s strings.Builder
	s.WriteString("(" + opNames[e.Op])
	for _, a := range e.Args {
		s.WriteString(" " + render(a))
	}
	return s.String() + ")"
}

func TestCompile(t *testing.T) {
	tests := []struct{ name, src, want string }{
		{"the team rule", `path.team in token.groups`, `(in path.team $6)`},
		{"request", `request.method == request.path || request.host != ""`, `(|| (== $1 $2) (!= $3 ""))`},
		{"token", `token.iss == token.sub && token.groups == token.roles`, `(&& (== $4 $5) (== $6 $7))`},
		{"user and service", `user.name == service.name`, `(== $8 $9)`},
		{"host captures", `host.env == "prod"`, `(== host.env "prod")`},
		{"a capture named by a word of CEL", "path.`in` == ''", `(== path.in "")`},
		{"blanks and comments", "request . method // the verb\n == 'GET'", `(== $1 "GET")`},
		{
			"order of strings and ints", `'a' < 'b' && 1 <= 2 && 'a' > 'b' || 1 >= 2`,
			`(|| (&& (&& (< "a" "b") (<= 1 2)) (> "a" "b")) (>= 1 2))`,
		},
		{
			"string functions", `path.team.startsWith('a') || 'b'.endsWith('c') || 'd'.contains('e')`,
			`(|| (|| (startsWith path.team "a") (endsWith "b" "c")) (contains "d" "e"))`,
		},
		{"size, both forms", `size('a') == token.groups.size()`, `(== (size "a") (size $6))`},
		{"a long chain is balanced", `true && true && true && true`, `(&& (&& true true) (&& true true))`},
		{"two nots are none", `!!!true == !!true`, `(== (! true) true)`},
		{
			"lists", `1 in [1, -2,] && true in [1 == 2] && token.groups == []`,
			`(&& (&& (in 1 (list 1 -2)) (in true (list (== 1 2)))) (== $6 (list)))`,
		},
		{"empty lists of no type", `[] == [] && size([]) == 0`, `(&& (== (list) (list)) (== (size (list)) 0))`},
		{"the bounds of int", `0x7fffffffffffffff > -9223372036854775808`, `(> 9223372036854775807 -9223372036854775808)`},
		{"an escape is a code point, not a byte", `'\xff\u00e9\U0001F600\0000' == r'\n'`, `(== "ÿé😀\x000" "\\n")`},
		{"a string of several lines", "'''a\nb''' == \"\"", `(== "a\nb" "")`},
		{
			"headers and query", `request.headers.a == request.headers["x-b"] && "c" in request.headers && 'd' in request.query.e`,
			`(&& (&& (== $10."a" $10."x-b") (in "c" $10)) (in "d" $11."e"))`,
		},
		{"a header by a computed name", `request.headers[path.team] == ""`, `(== ([] $10 path.team) "")`},
		{"claims of any depth", `token.claims.a.b[path.team].c["d"][0] == null`, `(== ([] ([] $13."a"."b" path.team)."c"."d" 0) null)`},
		{"a claim as condition", `token.claims.email_verified`, `$13."email_verified"`},
		{"the rule of a realm", `"ws_access" in token.claims.resource_access[path.team].roles`, `(in "ws_access" ([] $13."resource_access" path.team)."roles")`},
		{"times", `request.time < timestamp("2026-11-01T00:00:00.5+01:00") && request.time.getHours() >= 8`, `(&& (< $12 @1793487600.500000000) (>= (part6 $12) 8))`},
		{"has", `has(token.claims.a) && has(token.claims.a.b) && !has(request.headers.c)`, `(&& (&& (has $13."a") (has $13."a"."b")) (! (has $10."c")))`},
		{
			"macros", `token.groups.exists(g, token.claims.all(c, c == g)) || token.roles.exists(r, r == "x")`,
			`(|| (exists $6 (all $13 (== local1 local0))) (exists $7 (== local0 "x")))`,
		},
		{"an inner variable hides an outer one", `token.claims.a.exists(x, x.b.exists(x, has(x.y)))`, `(exists $13."a" (exists local0."b" (has local1."y")))`},
		{"the conditional operator", `user.name == "" ? true : token.claims.x`, `(?: (== $8 "") true $13."x")`},
		{"strings joined", `"ws-" + path.team in token.groups && "" + token.claims.a + token.claims.b == ""`, `(&& (in (+ "ws-" path.team) $6) (== (+ (+ "" $13."a") $13."b") ""))`},
		{"numbers", `token.claims.n in [1, 2u, 2.5, -1e3]`, `(in $13."n" (list 1 2u 2.5e+00 -1e+03))`},
		{"lists of lists", `[["a"], []] == token.claims.l`, `(== (list (list "a") (list)) $13."l")`},
		{"an order of bools", `false < token.claims.b`, `(< false $13."b")`},
		{"a comparison is a bool", `'a' == 'b' != true`, `(!= (== "a" "b") true)`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := condition.Compile(tt.src, []string{"team", "in"}, []string{"env"})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, render(got)); diff != "" {
				t.Errorf("tree (-want +got):\n%s", diff)
			}
			if err := checkTree(got); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCompileRefuses(t *testing.T) {
	const overload = "found no matching overload for "
	tests := []struct{ name, src, want string }{
		{"an unknown capture", `request.path.startsWith(path.tem)`, `1:25: undeclared reference to 'path.tem'; this rule captures: team, item (in every path)`},
		{"a capture that no host has", `host.env == ''`, `1:1: undeclared reference to 'host.env'; not every host of this rule captures 'env'`},
		{"an unknown field", `request.verb == 'GET'`, `1:1: undeclared reference to 'request.verb'; request has: method, path, host`},
		{"an unknown name", `true && team == ''`, `1:9: undeclared reference to 'team'`},
		{"an unknown root", `jwt.sub == ''`, `1:1: undeclared reference to 'jwt'`},
		{"a name from the root scope", `.user.name == ''`, `undeclared reference to '.user'`},
		{"a root", `token == token`, `1:1: 'token' alone has no value; token has: iss, sub, groups, roles`},
		{"a map of captures", `path == host`, `1:1: 'path' alone has no value; use 'path.' and the name of a capture`},
		{"a type name", `int == int`, `1:1: undeclared reference to 'int'`},
		{"a field of a string", `user.name.first == ''`, `1:10: type 'string' does not support field selection`},
		{"a field of a result", `(size('a')).x == ''`, `1:12: type 'int' does not support field selection`},
		{"columns count code points", "'é😀' == '' &&\n\t'é' == user.nam", `2:9: undeclared reference to 'user.nam'; user has: name`},

		{"the query is no text", `request.query.x == "1"`, `1:17: ` + overload + `'==' applied to '(list(string), string)'`},
		{"a header in upper case", `request.headers["X-Team"] == ""`, `1:16: the names in request.headers are in lower case: 'x-team'`},
		{"a header in upper case that is looked for", `"X-Team" in request.headers || has(request.headers.A)`, `1:1: the names in request.headers are in lower case: 'x-team'`},
		{"the captures as a map", `path["team"] == ""`, `1:1: 'path' alone has no value; use 'path.' and the name of a capture`},
		{"has of a variable", `has(token.claims)`, `1:4: has() asks for keys of maps, such as has(token.claims.x); 'token.claims' is always there`},
		{"has of an index", `has(token.claims["x"])`, `1:17: invalid argument to has() macro`},
		{"exists with two variables", `token.groups.exists(i, g, g == 'a')`, `1:20: not supported: exists() with these operands`},
		{"a macro's variable that is no name", `token.groups.all(g.x, true)`, `1:19: argument must be a simple name`},
		{"a macro's variable that hides a root", `token.groups.all(token, true)`, `1:17: 'token' means something else here; name the variable differently`},
		{"a macro's variable outside of it", `token.groups.all(g, true) && g == ''`, `1:30: undeclared reference to 'g'`},
		{"a macro over a string", `user.name.all(g, true)`, `1:5: expression of type 'string' cannot be range of a comprehension`},
		{"other macros", `token.groups.filter(g, g == 'a') == []`, `1:20: not supported: filter(): it makes lists; use exists or all`},
		{"exists_one", `token.groups.exists_one(g, g == 'a')`, `1:24: not supported: exists_one(): use exists, or all`},
		{"matches", `user.name.matches('a')`, `1:18: not supported: matches(): a regular expression costs what its author makes it cost`},
		{"conversions", `string(1) == dyn(1)`, `1:7: not supported: string(): there are no conversions`},
		{"a time that is no constant", `timestamp(user.name) == request.time`, `1:10: not supported: timestamp() of what is no string constant`},
		{"a time that is none", `timestamp('2026') == request.time`, `1:11: timestamp(): want a time as in RFC 3339, such as 2026-11-01T00:00:00Z`},
		{"a time of seconds", `timestamp(1) == request.time`, `1:10: not supported: timestamp() of what is no string constant`},
		{"time zones", `request.time.getHours('Europe/Berlin') > 8`, `1:22: not supported: getHours() with a time zone: it is UTC`},
		{"durations", `request.time - duration('1h') > request.time`, `1:14: not supported: the operator '-': there is no arithmetic`},
		{"the old name of in", `_in_('a', ['a'])`, `1:5: not supported: _in_()`},
		{"arithmetic", `1 + 1 == 2`, `1:3: ` + overload + `'+' applied to '(int, int)'`},
		{"what may be arithmetic", `token.claims.a + token.claims.b == ""`, `1:16: not supported: the operator '+' of what may be no string; "" + a + b joins strings`},
		{"lists joined", `token.groups + token.roles == []`, `1:14: ` + overload + `'+' applied to '(list(string), list(string))'`},
		{"minus", `-size('a') == 1`, `1:1: not supported: the operator '-'`},
		{"maps", `{} == {}`, `1:1: not supported: a map`},
		{"messages", `Foo{a: 1} == 1`, `1:4: not supported: a message`},
		{"bytes", `b'a' == b'a'`, `1:1: not supported: bytes`},
		{"a string that is null", `user.name == null`, `1:11: ` + overload + `'==' applied to '(string, null)'`},
		{"constants of different types of number", `1 == 1e3`, `1:3: ` + overload + `'==' applied to '(int, double)'`},
		{"optional syntax", `[?'a'] == []`, `1:2: unsupported syntax '?'`},

		{"a string compared with an int", `'a' == 1`, `1:5: ` + overload + `'==' applied to '(string, int)'`},
		{"not of a string", `!user.name`, `1:1: ` + overload + `'!' applied to '(string)'`},
		{"in a string", `'a' in 'abc'`, `1:5: ` + overload + `'in' applied to '(string, string)'`},
		{"an int in strings", `1 in token.groups`, `1:3: ` + overload + `'in' applied to '(int, list(string))'`},
		{"startsWith of a list", `token.groups.startsWith('a')`, `1:24: ` + overload + `'startsWith' applied to 'list(string).(string)'`},
		{"startsWith as a function", `startsWith('a', 'b')`, `1:11: ` + overload + `'startsWith' applied to '(string, string)'`},
		{"size of an int", `size(1) == 1`, `1:5: ` + overload + `'size' applied to '(int)'`},
		{"too many operands", `size('a', 'b') == 1`, `1:5: wrong number of operands for size()`},
		{"the first of several errors", "1 == '' ||\n2 == ''", `1:3: ` + overload + `'==' applied to '(int, string)'`},
		{"a string as condition", `user.name`, `1:1: the condition must be a bool, not a string`},
		{"a hidden string", `!!'a'`, `1:1: the condition must be a bool, not a string`},
		{"a list as condition", `token.groups`, `1:1: the condition must be a bool, not a list(string)`},

		{"nothing", "", `1:1: syntax error: unexpected end of condition`},
		{"half an expression", `true &&`, `1:8: syntax error: unexpected end of condition`},
		{"an open string", `user.name == 'a`, `1:14: syntax error: unknown character or unclosed string at ''a'`},
		{"an unknown character", `#`, `1:1: syntax error: unknown character or unclosed string at '#'`},
		{"a reserved word", `as == 1`, `1:1: reserved identifier: as`},
		{"a surrogate", `'\ud800' == ''`, `1:1: invalid unicode code point`},
		{"an int that is too large", `9223372036854775808 == 1`, `1:1: invalid int literal`},
		{"invalid UTF-8", "'\xff' == ''", `1:1: the condition is not valid UTF-8`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := condition.Compile(tt.src, []string{"team", "item"}, nil)
			if err == nil {
				t.Fatalf("accepted as %s, want error %q", render(got), tt.want)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q, want %q", err, tt.want)
			}
			if got != nil {
				t.Error("an expression beside the error")
			}
			if err := checkMessage(err); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCompileBounds(t *testing.T) {
	nots := func(n int) string { return strings.Repeat("!(", n) + "true" + strings.Repeat(")", n) }
	nested := func(n int) string { return strings.Repeat("token.groups.all(g, ", n) + "true" + strings.Repeat(")", n) }
	long := "true //" + strings.Repeat("x", policydata.MaxConditionBytes-len("true //"))
	list := func(n int) string { return "1 in [" + strings.Repeat("1,", n) + "]" }
	tests := []struct{ name, src, want string }{
		{"the longest text", long, ""},
		{"a longer text", long + "x", "1:1: the condition has 4097 bytes, more than 4096"},
		{"the most nodes", list(policydata.MaxExprNodes - 3), ""},
		{"more nodes", list(policydata.MaxExprNodes - 2), "the condition has more than 256 operators and operands"},
		{"the deepest tree", nots(policydata.MaxExprDepth - 1), ""},
		{"a deeper tree", nots(policydata.MaxExprDepth), "the condition is nested deeper than 32"},
		{"a long chain is not deep", "true" + strings.Repeat("&&true", 127), ""},
		{"the deepest macros", nested(policydata.MaxMacroDepth), ""},
		{"deeper macros", nested(policydata.MaxMacroDepth + 1), "exists and all are nested deeper than 4"},
		{"parentheses are not deep", strings.Repeat("(", 200) + "true" + strings.Repeat(")", 200), ""},
		{"parentheses without end", strings.Repeat("(", 4000), "recursion limit exceeded"},
		{"lists without end", strings.Repeat("[", 4000), "recursion limit exceeded"},
		{"fields without end", "a" + strings.Repeat(".a", 2000), "recursion depth exceeded"},
		{"a long name", "a" + strings.Repeat("b", 4000), "undeclared reference to 'abbb"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := condition.Compile(tt.src, nil, nil)
			switch {
			case tt.want == "" && err != nil:
				t.Fatal(err)
			case tt.want != "" && err == nil:
				t.Fatalf("accepted, want error %q", tt.want)
			case tt.want == "":
				return
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q, want %q", err, tt.want)
			}
			if err := checkMessage(err); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCompileConcurrently(t *testing.T) {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				got, err := condition.Compile(`path.team in token.groups`, []string{"team"}, nil)
				if err != nil || render(got) != "(in path.team $6)" {
					t.Errorf("Compile: %v", err)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkCompile(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := condition.Compile(`path.team in token.groups`, []string{"team"}, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// Each part of a condition stands where its text or its operator does, in bytes.
func TestPositions(t *testing.T) {
	const src = `'é' in token.groups &&
  token.claims.x.exists(r, r == path.team)`
	expr, err := condition.Compile(src, []string{"team"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	at := func(e *policydata.Expr, want string) {
		t.Helper()
		if !strings.HasPrefix(src[e.Pos:], want) {
			t.Errorf("%s stands before %q, want %q", render(e), src[e.Pos:], want)
		}
	}
	in, exists := expr.Args[0], expr.Args[1]
	at(expr, "&&")
	at(in, "in ")
	at(in.Args[0], "'é'")
	at(in.Args[1], "token.groups")
	at(exists, "(r, r")
	at(exists.Args[0], ".x")
	at(exists.Args[0].Args[0], "token.claims")
	at(exists.Args[1].Args[1], "path.team")
}

// Where exists and all go through the empty string, cel-go 0.33 takes it for an
// empty list. The specification has lists and maps alone, an error is what other
// strings are in cel-go, too, and it is what does not open an allow rule.
func TestEmptyStringIsNoRange(t *testing.T) {
	const src = `token.claims.a.all(x, false)`
	expr, err := condition.Compile(src, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	o, err := sharedOracle()
	if err != nil {
		t.Fatal(err)
	}
	programs, err := o.programs(src)
	if err != nil {
		t.Fatal(err)
	}
	in := fixedInputs[2*int(user)+1]
	for claims, oracle := range map[string]outcome{`{"a":""}`: isTrue, `{"a":"b"}`: isError} {
		in.claims = claims
		if said, _ := programs.evaluate(&in); said != oracle {
			t.Errorf("%s: cel-go says %v", claims, said)
		}
		got := policydata.NewEvaluator().Decide(snapshotOf(t, src, expr), in.request(), in.identity())
		if got.Reason != policydata.ReasonConditionError {
			t.Errorf("%s: %v", claims, got.Reason)
		}
	}
}
