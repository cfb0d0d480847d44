package condition_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
)

// The captures of the rule that the conditions of these tests belong to.
var (
	pathCaptures = []string{"team", "item"}
	hostCaptures = []string{"env"}
)

// oracle evaluates a condition with cel-go alone: in the full language, with an
// environment that shares nothing with the one under test, over untyped maps.
type oracle struct{ env *cel.Env }

func newOracle() (oracle, error) {
	opts := []cel.EnvOption{}
	for _, root := range []string{"request", "token", "user", "service", "path", "host"} {
		opts = append(opts, cel.Variable(root, cel.MapType(cel.StringType, cel.DynType)))
	}
	env, err := cel.NewEnv(opts...)
	return oracle{env}, err
}

// program is a condition in cel-go.
func (o oracle) program(src string) (cel.Program, error) {
	checked, issues := o.env.Compile(src)
	if issues.Err() != nil {
		return nil, issues.Err()
	}
	return o.env.Program(checked)
}

// outcome is what a condition comes to; the zero outcome is false.
type outcome int

const (
	isFalse outcome = iota
	isTrue
	isError
)

func (o outcome) String() string { return [...]string{"false", "true", "error"}[o] }

func evaluate(p cel.Program, in input) outcome {
	out, _, err := p.Eval(in.activation())
	if err != nil {
		return isError
	}
	switch out.Value() {
	case true:
		return isTrue
	case false:
		return isFalse
	}
	return isError
}

// seedConditions are conditions that Compile accepts; between them they use each
// operator, function and variable.
var seedConditions = []string{
	`true`,
	`path.team in token.groups`,
	`!(path.team in token.groups) || "admin" in token.roles`,
	`request.method == "GET" && request.path.startsWith("/allow/") && request.host.endsWith("example.org")`,
	`request.path.contains(path.item) && host.env != "prod"`,
	`token.iss == "https://idp.example.com" && token.sub != ""`,
	`user.name == path.team || service.name == path.team`,
	`user.name < "m" && user.name <= path.team || user.name > "a" && user.name >= host.env`,
	`size(token.groups) > 1 && token.roles.size() <= 2 && size(path.team) < 3 && path.item.size() >= 1`,
	`token.groups == ["a", "b"] || token.groups != token.roles || token.groups == []`,
	`1 in [1, 2] && true in [user.name == "eric"] && -1 < 0`,
	`[] == [] && size([]) == 0 && !("a" in [])`,
	`path.team == "é" || path.team == "\u00e9" || path.team == "\U0001F600" || user.name == "\x00"`,
	`path.team in [user.name, host.env, "foo"] == false`,
	`'' in token.groups || ''.startsWith('') && user.name.contains('')`,
}

// sample texts: empty, nested in each other, beyond ASCII, beyond 16 bits, with
// orders that UTF-16 and bytes see differently.
var texts = []string{"a", "b", "ab", "aba", "foo", "foobar", "é", "e\u0301", "\uffee", "😀", "a😀b", "Z", "~", "10", "9"}

// generator writes random conditions of the supported language.
type generator struct{ rnd *rand.Rand }

func pick[T any](rnd *rand.Rand, from []T) T { return from[rnd.IntN(len(from))] }

func (g generator) boolean(depth int) string {
	if depth <= 0 {
		return pick(g.rnd, []string{"true", "false", "(path.team in token.groups)", "(user.name == '')"})
	}
	d := depth - 1
	switch g.rnd.IntN(12) {
	case 0, 1:
		return "(" + g.boolean(d) + " && " + g.boolean(d) + ")"
	case 2, 3:
		return "(" + g.boolean(d) + " || " + g.boolean(d) + ")"
	case 4:
		return "!(" + g.boolean(d) + ")"
	case 5:
		return "(" + g.boolean(d) + pick(g.rnd, []string{" == ", " != "}) + g.boolean(d) + ")"
	case 6:
		return "(" + g.integer(d) + g.comparison() + g.integer(d) + ")"
	case 7:
		return "(" + g.str() + g.comparison() + g.str() + ")"
	case 8:
		return g.str() + pick(g.rnd, []string{".startsWith(", ".endsWith(", ".contains("}) + g.str() + ")"
	case 9:
		return "(" + g.integer(d) + " in " + g.list(func() string { return g.integer(d) }) + ")"
	case 10:
		return "(" + g.strings() + pick(g.rnd, []string{" == ", " != "}) + g.strings() + ")"
	}
	return "(" + g.str() + " in " + g.strings() + ")"
}

func (g generator) comparison() string {
	return pick(g.rnd, []string{" == ", " != ", " < ", " <= ", " > ", " >= "})
}

func (g generator) integer(depth int) string {
	if depth <= 0 || g.rnd.IntN(2) == 0 {
		return pick(g.rnd, []string{"0", "1", "2", "3", "-1", "9223372036854775807", "-9223372036854775808"})
	}
	arg := g.str()
	if g.rnd.IntN(2) == 0 {
		arg = g.strings()
	}
	if g.rnd.IntN(2) == 0 {
		return arg + ".size()"
	}
	return "size(" + arg + ")"
}

func (g generator) str() string {
	if g.rnd.IntN(2) == 0 {
		return pick(g.rnd, []string{
			"request.method", "request.path", "request.host", "token.iss", "token.sub",
			"user.name", "service.name", "path.team", "path.item", "host.env",
		})
	}
	text := pick(g.rnd, append(texts, "", "\x00", "/", "GET", "example.org", "svc", "a\nb", `'"\`))
	if g.rnd.IntN(2) == 0 {
		return strconv.QuoteToASCII(text)
	}
	return strconv.Quote(text)
}

func (g generator) strings() string {
	if g.rnd.IntN(2) == 0 {
		return pick(g.rnd, []string{"token.groups", "token.roles"})
	}
	return g.list(g.str)
}

func (g generator) list(elem func() string) string {
	elems := make([]string, g.rnd.IntN(4))
	for i := range elems {
		elems[i] = elem()
	}
	return fmt.Sprintf("[%s]", strings.Join(elems, ", "))
}
