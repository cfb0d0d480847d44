package token_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"sallyport/policydata/token"
)

func TestValidateJSON(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	wide := func(n int) string { return "[" + strings.Repeat("1,", n-2) + "1]" }
	object := func(names int, last string) string {
		var b strings.Builder
		for i := range names {
			fmt.Fprintf(&b, `"n%d":0,`, i)
		}
		return "{" + b.String() + `"` + last + `":0}`
	}
	tests := []struct {
		name, text string
		want       string // in the error; "": valid
	}{
		{"object", ` {"a" : [1, -0.5e+3, "x", true, false, null, {}, []] } ` + "\t\r\n", ""},
		{"scalar", "0", ""},
		{"surrogate pair", `"\ud83d\uDE00"`, ""},
		{"text outside ASCII", `"é😀"`, ""},
		{"same name in different objects", `{"a":{"a":[{"a":1},{"a":1}]}}`, ""},
		{"deepest", nested(token.MaxJSONDepth), ""},
		{"most values", wide(token.MaxJSONValues), ""},
		{"many names", object(1000, "x"), ""},

		{"too deep", nested(token.MaxJSONDepth + 1), "byte 32: too deep"},
		{"very deep", strings.Repeat(`{"a":[`, 1_000_000), "too deep"},
		{"too many values", wide(token.MaxJSONValues + 1), "too many values"},
		{"name twice", `{"a":1,"b":2,"a":1}`, "stands twice"},
		{"name twice after unescaping", `{"a":1,"\u0061":1}`, "stands twice"},
		{"name twice by a solidus", `{"/":1,"\/":1}`, "stands twice"},
		{"name twice by a surrogate pair", `{"😀":1,"\ud83d\ude00":1}`, "stands twice"},
		{"empty name twice", `{"":1,"":1}`, "stands twice"},
		{"name twice in a nested object", `[{"x":{"a":1,"a":1}}]`, "stands twice"},
		{"name twice around an object", `{"a":{"b":1},"a":1}`, "stands twice"},
		{"name twice of many", object(1000, "n0"), "stands twice"},
		{"empty", "", "byte 0: not a value"},
		{"white space", "  ", "not a value"},
		{"text behind", "{} {}", "byte 3: text after"},
		{"NUL behind", "{}\x00", "text after"},
		{"byte order mark", "\ufeff{}", "not a value"},
		{"no-break space", "\u00a0{}", "not a value"},
		{"trailing comma in an object", `{"a":1,}`, "expected a name"},
		{"trailing comma in an array", `[1,]`, "not a value"},
		{"no comma", `[1 2]`, "expected , or ]"},
		{"no comma in an object", `{"a":1 "b":2}`, "expected , or }"},
		{"no colon", `{"a" 1}`, "expected :"},
		{"name without quotes", `{a:1}`, "expected a name"},
		{"single quotes", `['a']`, "not a value"},
		{"comment", `{/**/}`, "expected a name"},
		{"open object", `{"a":1`, "expected , or }"},
		{"open array", `[`, "not a value"},
		{"open string", `"a`, "without an end"},
		{"open escape", `"\`, "unknown escape"},
		{"unknown escape", `"\x41"`, "unknown escape"},
		{"short unicode escape", `"\u12"`, "hexadecimal"},
		{"lone high surrogate", `"\ud800"`, "lone surrogate"},
		{"lone low surrogate", `"\udc00"`, "lone surrogate"},
		{"high surrogate twice", `"\ud800\ud800"`, "lone surrogate"},
		{"high surrogate before another escape", `"\ud800\n"`, "lone surrogate"},
		{"lone surrogate in a name", `{"\ud800":1}`, "lone surrogate"},
		{"control character", "\"a\nb\"", "control character"},
		{"invalid UTF-8", "\"\xff\"", "invalid UTF-8"},
		{"overlong UTF-8", "\"\xc0\xaf\"", "invalid UTF-8"},
		{"surrogate in UTF-8", "\"\xed\xa0\x80\"", "invalid UTF-8"},
		{"cut UTF-8", "\"\xe2\x82\"", "invalid UTF-8"},
		{"leading zero", "01", "text after"},
		{"plus", "+1", "not a value"},
		{"no digit before the point", ".5", "not a value"},
		{"no digit after the point", "5.", "expected a digit"},
		{"no exponent", "5e+", "expected a digit"},
		{"only minus", "-", "not a value"},
		{"not a number", "NaN", "not a value"},
		{"infinity", "-Infinity", "not a value"},
		{"hexadecimal", "0x10", "text after"},
		{"literal in capitals", "True", "not a value"},
		{"cut literal", "nul", "not a value"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := token.ValidateJSON(test.text)
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var jsonError *token.JSONError
			if !errors.As(err, &jsonError) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestValidateJSONDoesNotAllocate(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() {
		if token.ValidateJSON(goodPayload) != nil {
			t.Error("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
