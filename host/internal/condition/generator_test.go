package condition_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// sample texts: empty, nested in each other, beyond ASCII, beyond 16 bits, with
// orders that UTF-16 and bytes see differently.
var texts = []string{"a", "b", "ab", "aba", "foo", "foobar", "é", "e\u0301", "\uffee", "😀", "a😀b", "Z", "~", "10", "9"}

// keys are names of claims, headers and parameters.
var keys = []string{"a", "b", "c", "x-a", "é", "foo"}

// generator writes random conditions of the supported language: of the types
// that the checker knows, and of claims, of which it knows nothing.
type generator struct {
	rnd    *rand.Rand
	locals []local
}

// local is a variable of a macro.
type local struct {
	name string
	text bool // a string; else anything
}

func pick[T any](rnd *rand.Rand, from []T) T { return from[rnd.IntN(len(from))] }

// one returns what one of the functions writes.
func (g *generator) one(of ...func(depth int) string) func(depth int) string { return pick(g.rnd, of) }

func (g *generator) boolean(depth int) string {
	if depth <= 0 {
		return pick(g.rnd, []string{
			"true", "false", "(path.team in token.groups)", "(user.name == '')", "has(token.claims.a)", "token.claims.b", "('x-a' in request.headers)",
			"token.claims.bool", "(token.claims.text == path.team)", "(token.claims.number > 1)", "(path.item in token.claims.list)",
		})
	}
	d := depth - 1
	switch g.rnd.IntN(20) {
	case 0, 1:
		return "(" + g.boolean(d) + " && " + g.boolean(d) + ")"
	case 2, 3:
		return "(" + g.boolean(d) + " || " + g.boolean(d) + ")"
	case 4:
		return "!(" + g.one(g.boolean, g.boolean, g.dynamic)(d) + ")"
	case 5:
		return "(" + g.boolean(d) + g.comparison() + g.one(g.boolean, g.dynamic)(d) + ")"
	case 6:
		return "(" + g.number(d) + pick(g.rnd, []string{" < ", " <= ", " > ", " >= "}) + g.one(g.number, g.dynamic)(d) + ")"
	case 7:
		return "(" + g.text(d) + g.comparison() + g.one(g.text, g.dynamic)(d) + ")"
	case 8:
		return g.one(g.text, g.dynamic)(d) + pick(g.rnd, []string{".startsWith(", ".endsWith(", ".contains("}) + g.one(g.text, g.dynamic)(d) + ")"
	case 9:
		return "(" + g.one(g.number, g.dynamic)(d) + " in " + g.list(func() string { return g.number(d) }) + ")"
	case 10:
		return "(" + g.texts(d) + pick(g.rnd, []string{" == ", " != "}) + g.one(g.texts, g.dynamic)(d) + ")"
	case 11:
		return "(" + g.one(g.text, g.dynamic)(d) + " in " + g.one(g.texts, g.mapping, g.dynamic)(d) + ")"
	case 12:
		return "has(" + g.mapping(d) + "." + g.key() + ")"
	case 13, 14:
		return g.macro(d)
	case 15:
		return "(" + g.one(g.boolean, g.dynamic)(d) + " ? " + g.boolean(d) + " : " + g.boolean(d) + ")"
	case 16:
		return "(" + g.dynamic(d) + g.comparison() + g.one(g.dynamic, g.number, g.text, g.null)(d) + ")"
	case 17:
		return "(" + g.moment() + g.comparison() + g.moment() + ")"
	case 18:
		return "(" + g.mapping(d) + pick(g.rnd, []string{" == ", " != "}) + g.dynamic(d) + ")"
	}
	return g.dynamic(d)
}

func (g *generator) comparison() string {
	return pick(g.rnd, []string{" == ", " != ", " == ", " != ", " < ", " <= ", " > ", " >= "})
}

func (g *generator) null(int) string { return "null" }

func (g *generator) number(depth int) string {
	if depth <= 0 || g.rnd.IntN(2) == 0 {
		return pick(g.rnd, []string{
			"0", "1", "2", "3", "-1", "9223372036854775807", "-9223372036854775808", "9007199254740993",
			"0u", "1u", "2u", "18446744073709551615u", "9223372036854775808u",
			"0.0", "-0.0", "1.0", "1.5", "2.0", "9223372036854775807.0", "18446744073709551615.0", "1e300",
			"token.claims.number", "token.claims.number", "token.claims.number",
		})
	}
	if g.rnd.IntN(4) == 0 {
		return pick(g.rnd, []string{"request.time", g.moment()}) + "." + pick(g.rnd, []string{
			"getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getHours", "getMinutes", "getSeconds", "getMilliseconds",
		}) + "()"
	}
	arg := g.one(g.text, g.texts, g.mapping, g.dynamic)(depth - 1)
	if g.rnd.IntN(2) == 0 {
		return arg + ".size()"
	}
	return "size(" + arg + ")"
}

func (g *generator) moment() string {
	if g.rnd.IntN(2) == 0 {
		return "request.time"
	}
	return "timestamp('" + pick(g.rnd, []string{
		"2026-11-01T12:00:00Z", "2026-11-01T12:00:00.5Z", "2024-02-29T23:59:59+02:00", "1969-12-31T23:59:59.999999999Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z",
	}) + "')"
}

func (g *generator) quoted(of []string) string {
	text := pick(g.rnd, of)
	if g.rnd.IntN(2) == 0 {
		return strconv.QuoteToASCII(text)
	}
	return strconv.Quote(text)
}

func (g *generator) key() string {
	return pick(g.rnd, []string{"a", "b", "c", "foo"})
}

// local returns a variable of the macros around that has a type, or "".
func (g *generator) local(text bool) string {
	if len(g.locals) == 0 {
		return ""
	}
	l := pick(g.rnd, g.locals)
	for _, inner := range g.locals { // an inner one of this name hides it
		if inner.name == l.name {
			l = inner
		}
	}
	if l.text != text {
		return ""
	}
	return l.name
}

func (g *generator) text(depth int) string {
	if l := g.local(true); l != "" && g.rnd.IntN(3) > 0 {
		return l
	}
	if depth > 0 {
		d := depth - 1
		switch g.rnd.IntN(10) {
		case 0:
			return "(" + g.text(d) + " + " + g.one(g.text, g.dynamic)(d) + ")"
		case 1:
			return "(" + g.dynamic(d) + " + " + g.text(d) + ")"
		case 2:
			return "(" + g.boolean(d) + " ? " + g.text(d) + " : " + g.text(d) + ")"
		case 3:
			return "request.headers[" + g.one(g.text, g.dynamic)(d) + "]"
		case 4:
			return g.texts(d) + "[" + g.one(g.small, g.small, g.dynamic)(d) + "]"
		}
	}
	switch g.rnd.IntN(5) {
	case 0, 1:
		return pick(g.rnd, []string{
			"request.method", "request.path", "request.host", "token.iss", "token.sub",
			"user.name", "service.name", "path.team", "path.item", "host.env", "request.headers.a", "request.headers['x-a']",
			"token.claims.text", "token.claims.list[0]",
		})
	}
	return g.quoted(append(texts, "", "\x00", "/", "GET", "example.org", "svc", "a\nb", `'"\`, "x-a", "a,b"))
}

func (g *generator) small(int) string { return pick(g.rnd, []string{"0", "1", "2", "-1"}) }

// texts writes a list of strings.
func (g *generator) texts(depth int) string {
	switch g.rnd.IntN(4) {
	case 0:
		return pick(g.rnd, []string{"token.groups", "token.roles", "token.claims.list"})
	case 1:
		return "request.query" + g.selector(depth-1)
	case 2:
		if depth > 0 {
			return "(" + g.boolean(depth-1) + " ? " + g.texts(depth-1) + " : " + g.texts(depth-1) + ")"
		}
	}
	return g.list(func() string { return g.text(depth - 1) })
}

// selector writes a key of a map.
func (g *generator) selector(depth int) string {
	switch g.rnd.IntN(4) {
	case 0:
		return "[" + g.quoted(keys) + "]"
	case 1:
		return "[" + g.text(depth) + "]"
	}
	return "." + g.key()
}

func (g *generator) mapping(depth int) string {
	return g.one(
		func(int) string { return "request.headers" },
		func(int) string { return "request.query" },
		func(int) string { return "token.claims" }, g.dynamic,
	)(depth)
}

// dynamic writes what may come to anything.
func (g *generator) dynamic(depth int) string {
	if l := g.local(false); l != "" && g.rnd.IntN(3) > 0 {
		return l
	}
	if depth > 0 {
		d := depth - 1
		switch g.rnd.IntN(8) {
		case 0, 1:
			return g.dynamic(d) + g.selector(d)
		case 2:
			return g.dynamic(d) + "[" + g.one(g.small, g.number, g.dynamic)(d) + "]"
		case 3:
			return "(" + g.boolean(d) + " ? " + g.dynamic(d) + " : " + g.dynamic(d) + ")"
		}
	}
	if g.rnd.IntN(2) == 0 {
		return pick(g.rnd, []string{"token.claims.text", "token.claims.number", "token.claims.bool", "token.claims.list", "token.claims.object"})
	}
	return "token.claims" + g.selector(depth-1)
}

// macro writes exists() or all() over anything.
func (g *generator) macro(depth int) string {
	if len(g.locals) == 3 {
		return "false"
	}
	text := g.rnd.IntN(2) == 0
	over := ""
	if text {
		over = g.one(g.texts, g.texts, func(int) string { return pick(g.rnd, []string{"request.headers", "request.query", "token.claims"}) })(depth)
	} else {
		over = g.one(g.dynamic, g.dynamic, func(d int) string { return g.list(func() string { return g.dynamic(d) }) })(depth)
	}
	name := pick(g.rnd, []string{"x", "y", "z"})
	g.locals = append(g.locals, local{name, text})
	predicate := g.boolean(depth)
	g.locals = g.locals[:len(g.locals)-1]
	return over + pick(g.rnd, []string{".exists(", ".all("}) + name + ", " + predicate + ")"
}

func (g *generator) list(elem func() string) string {
	elems := make([]string, g.rnd.IntN(4))
	for i := range elems {
		elems[i] = elem()
	}
	return fmt.Sprintf("[%s]", strings.Join(elems, ", "))
}

// claims writes a random payload: claims of any type, and such as have the type
// that their name says.
func (g *generator) claims() string {
	typed := map[string]string{
		"text": g.json(pick(g.rnd, texts)), "number": pick(g.rnd, numbers), "bool": pick(g.rnd, []string{"true", "false"}),
		"list": "[" + g.json(pick(g.rnd, texts)) + "," + g.json(pick(g.rnd, texts)) + "]", "object": g.object(2),
	}
	out := `{"z":0`
	for _, name := range []string{"text", "number", "bool", "list", "object"} {
		if g.rnd.IntN(10) > 0 {
			out += `,"` + name + `":` + typed[name]
		}
	}
	if others := g.object(3); strings.Contains(others, ":") {
		return out + "," + strings.TrimPrefix(others, "{")
	}
	return out + "}"
}

// numbers are numbers of JSON.
var numbers = []string{
	"0", "1", "2", "-1", "1.5", "-0", "1e2", "0.1E1", "9007199254740993", "9223372036854775807", "-9223372036854775808", "18446744073709551615", "1e300",
}

func (g *generator) object(depth int) string {
	var members []string
	for _, k := range keys {
		if g.rnd.IntN(3) > 0 {
			members = append(members, g.space()+g.json(k)+g.space()+":"+g.space()+g.value(depth-1)+g.space())
		}
	}
	g.rnd.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	return "{" + strings.Join(members, ",") + g.space() + "}"
}

func (g *generator) space() string { return pick(g.rnd, []string{"", "", "", " ", "\n\t", "\r "}) }

func (g *generator) value(depth int) string {
	n := 8
	if depth <= 0 {
		n = 5
	}
	switch g.rnd.IntN(n) {
	case 0:
		return pick(g.rnd, []string{"true", "false"})
	case 1:
		return pick(g.rnd, []string{"null", "0", "1"})
	case 2:
		return pick(g.rnd, numbers)
	case 3, 4:
		// Not "": exists and all over it are cel-go's mistake, see
		// TestEmptyStringIsNoRange.
		return g.json(pick(g.rnd, append(texts, "a,b", `\"`, "\n", "x-a", "GET")))
	case 5:
		return g.object(depth)
	}
	var elems []string
	for range g.rnd.IntN(4) {
		elems = append(elems, g.space()+g.value(depth-1)+g.space())
	}
	return "[" + strings.Join(elems, ",") + g.space() + "]"
}

// json writes a JSON string, with more escapes than it needs at times.
func (g *generator) json(s string) string {
	var out strings.Builder
	escapeAll := g.rnd.IntN(4) == 0
	for _, r := range s {
		switch {
		case r >= 0x10000 && escapeAll:
			fmt.Fprintf(&out, `\u%04x\u%04X`, 0xD800+(r-0x10000)>>10, 0xDC00+(r-0x10000)&0x3FF)
		case r == '"' || r == '\\':
			out.WriteString(`\` + string(r))
		case r < 0x20 || escapeAll && r < 0x10000:
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			out.WriteRune(r)
		}
	}
	return `"` + out.String() + `"`
}

// query writes a random query, some of them malformed.
func (g *generator) query() string {
	var params []string
	for range g.rnd.IntN(5) {
		params = append(params, pick(g.rnd, []string{
			"a=1", "a=2", "a", "b=", "=x", "", "foo=a%20b", "foo=a+b", "%61=%C3%A9", "x-a=foo&x-a=bar", "c=a=b", "foo=%2B", "b=é",
		}))
	}
	if g.rnd.IntN(8) == 0 {
		params = append(params, pick(g.rnd, []string{"a=%", "%zz", "a=1;b=2", "a=%ff", "%c3=1", "a=%4"}))
	}
	return strings.Join(params, "&")
}

func (g *generator) headers() (out [][2]string) {
	for range g.rnd.IntN(6) {
		name := pick(g.rnd, append(keys, "cookie", "authorization", ":path", "host", "x-sallyport-user"))
		out = append(out, [2]string{name, pick(g.rnd, append(texts, "", "a,b"))})
	}
	return out
}
