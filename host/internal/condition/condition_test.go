package condition_test

import (
	"fmt"
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
		{"a field of a string", `user.name.first == ''`, `1:10: not supported: the field 'first' of a value`},
		{"a field of a result", `(size('a')).x == ''`, `not supported: the field 'x' of a value`},
		{"columns count code points", "'é😀' == '' &&\n\t'é' == user.nam", `2:9: undeclared reference to 'user.nam'; user has: name`},

		{"headers", `"a" == request.headers`, `1:8: not supported: request.headers`},
		{"query", `request.query.x == ""`, `1:1: not supported: request.query`},
		{"time", `request.time == request.time`, `1:1: not supported: request.time`},
		{"claims", `token.claims.a.b == ""`, `1:1: not supported: token.claims`},
		{"indexing", `path["team"] == ""`, `1:5: not supported: indexing`},
		{"has", `has(token.claims)`, `1:4: not supported: has()`},
		{"exists", `token.groups.exists(g, g == 'a')`, `1:20: not supported: exists()`},
		{"all", `token.groups.all(g, g == 'a')`, `1:17: not supported: all()`},
		{"matches", `user.name.matches('a')`, `1:18: not supported: matches()`},
		{"conversions", `string(1) == dyn(1)`, `1:7: not supported: string()`},
		{"time constants", `timestamp('') == duration('')`, `1:10: not supported: timestamp()`},
		{"the old name of in", `_in_('a', ['a'])`, `1:5: not supported: _in_()`},
		{"the conditional operator", `true ? true : false`, `1:6: not supported: the conditional operator`},
		{"arithmetic", `1 + 1 == 2`, `1:3: not supported: the operator '+'`},
		{"minus", `-size('a') == 1`, `1:1: not supported: the operator '-'`},
		{"maps", `{} == {}`, `1:1: not supported: a map`},
		{"messages", `Foo{a: 1} == 1`, `1:4: not supported: a message`},
		{"unsigned ints", `1u == 1u`, `1:1: not supported: an unsigned number`},
		{"doubles", `1 == 1e3`, `1:6: not supported: a number with a fraction or exponent`},
		{"bytes", `b'a' == b'a'`, `1:1: not supported: bytes`},
		{"null", `user.name == null`, `1:14: not supported: null`},
		{"lists of lists", `[] == [[]]`, `1:1: not supported: a list of lists`},
		{"a list in a list", `token.groups in []`, `1:17: not supported: a list of lists`},
		{"optional syntax", `[?'a'] == []`, `1:2: unsupported syntax '?'`},

		{"a string compared with an int", `'a' == 1`, `1:5: ` + overload + `'==' applied to '(string, int)'`},
		{"order of bools", `false < true`, `1:7: ` + overload + `'<' applied to '(bool, bool)'`},
		{"not of a string", `!user.name`, `1:1: ` + overload + `'!' applied to '(string)'`},
		{"in a string", `'a' in 'abc'`, `1:5: ` + overload + `'in' applied to '(string, string)'`},
		{"an int in strings", `1 in token.groups`, `1:3: ` + overload + `'in' applied to '(int, list(string))'`},
		{"startsWith of a list", `token.groups.startsWith('a')`, `1:24: ` + overload + `'startsWith' applied to 'list(string).(string)'`},
		{"startsWith as a function", `startsWith('a', 'b')`, `1:11: ` + overload + `'startsWith' applied to '(string, string)'`},
		{"size of an int", `size(1) == 1`, `1:5: ` + overload + `'size' applied to '(int)'`},
		{"too many operands", `size('a', 'b') == 1`, `1:5: wrong number of operands for size()`},
		{"a mixed list", `1 in [1, 'a']`, `1:10: expected type 'int' but found 'string'`},
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
