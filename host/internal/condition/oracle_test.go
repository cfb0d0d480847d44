package condition_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
)

// The captures of the rule that the conditions of these tests belong to.
var (
	pathCaptures = []string{"team", "item"}
	hostCaptures = []string{"env"}
)

// oracle evaluates a condition with cel-go alone: in the full language, with
// environments that share nothing with the one under test. In one of them
// everything is of type dyn, so that all that could be found by types is found by
// evaluating.
type oracle struct{ typed, untyped *cel.Env }

func newOracle() (o oracle, err error) {
	texts, tree := cel.ListType(cel.StringType), cel.MapType(cel.StringType, cel.DynType)
	captures := cel.MapType(cel.StringType, cel.StringType)
	opts := []cel.EnvOption{
		cel.Variable("request.headers", captures), cel.Variable("request.query", cel.MapType(cel.StringType, texts)),
		cel.Variable("request.time", cel.TimestampType), cel.Variable("token.claims", tree),
		cel.Variable("token.groups", texts), cel.Variable("token.roles", texts),
		cel.Variable("path", captures), cel.Variable("host", captures),
	}
	for _, name := range []string{"request.method", "request.path", "request.host", "token.iss", "token.sub", "user.name", "service.name"} {
		opts = append(opts, cel.Variable(name, cel.StringType))
	}
	if o.typed, err = cel.NewEnv(opts...); err != nil {
		return o, err
	}
	opts = opts[:0]
	for _, root := range []string{"request", "token", "user", "service", "path", "host"} {
		opts = append(opts, cel.Variable(root, tree))
	}
	o.untyped, err = cel.NewEnv(opts...)
	return o, err
}

// programs are a condition in cel-go. Of dyn alone its checker infers types that
// are none at times, and refuses; there untyped is nil.
type programs struct{ typed, untyped cel.Program }

func (o oracle) programs(src string) (p programs, err error) {
	if p.typed, err = program(o.typed, src); err != nil {
		return p, err
	}
	if p.untyped, err = program(o.untyped, src); err != nil {
		p.untyped = nil
	}
	return p, nil
}

func program(env *cel.Env, src string) (cel.Program, error) {
	checked, issues := env.Compile(src)
	if issues.Err() != nil {
		return nil, issues.Err()
	}
	return env.Program(checked)
}

// evaluate returns what the condition comes to, and whether both programs agree.
func (p *programs) evaluate(in *input) (outcome, bool) {
	tree := in.activation()
	flat := map[string]any{"path": tree["path"], "host": tree["host"]}
	for _, root := range []string{"request", "token", "user", "service"} {
		for field, v := range tree[root].(map[string]any) {
			flat[root+"."+field] = v
		}
	}
	said := evaluate(p.typed, flat)
	return said, p.untyped == nil || evaluate(p.untyped, tree) == said
}

// outcome is what a condition comes to; the zero outcome is false.
type outcome int

const (
	isFalse outcome = iota
	isTrue
	isError
)

func (o outcome) String() string { return [...]string{"false", "true", "error"}[o] }

func evaluate(p cel.Program, activation map[string]any) outcome {
	out, _, err := p.Eval(activation)
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

// activation is the input for cel-go. What a token does not say is empty, see
// the language's documentation. Claims are JSON as encoding/json reads it.
func (in *input) activation() map[string]any {
	token := map[string]any{"iss": "", "sub": "", "groups": []string{}, "roles": []string{}, "claims": map[string]any{}}
	var userName, svcName string
	if in.who != anonymous {
		token["iss"], token["sub"] = issuer, in.identity().Subject
		claims := map[string]any{}
		if err := json.Unmarshal([]byte(in.claims), &claims); err != nil {
			panic("claims " + in.claims + ": " + err.Error())
		}
		token["claims"] = claims
	}
	if in.who == user || in.who == delegation {
		token["groups"], token["roles"], userName = in.groups, in.roles, in.name
	}
	if in.who == service || in.who == delegation {
		svcName = serviceName
	}
	request := map[string]any{
		"method": in.method, "path": in.path(), "host": in.host(),
		"headers": headersOf(in.headers), "time": time.Unix(in.now, 0).UTC(),
	}
	// Without the key, what asks for it is an error.
	if query, ok := queryOf(in.query); ok {
		request["query"] = query
	}
	return map[string]any{
		"request": request,
		"token":   token,
		"user":    map[string]any{"name": userName},
		"service": map[string]any{"name": svcName},
		"path":    map[string]any{"team": in.team, "item": in.item},
		"host":    map[string]any{"env": in.env},
	}
}

func headersOf(headers [][2]string) map[string]string {
	values := map[string][]string{}
	for _, h := range headers {
		hidden := h[0] == "host" || h[0] == "authorization" || strings.HasPrefix(h[0], ":") || strings.HasPrefix(h[0], "x-sallyport-")
		if !hidden {
			values[h[0]] = append(values[h[0]], h[1])
		}
	}
	joined := map[string]string{}
	for name, v := range values {
		separator := ","
		if name == "cookie" {
			separator = "; "
		}
		joined[name] = strings.Join(v, separator)
	}
	return joined
}

func queryOf(raw string) (map[string][]string, bool) {
	values, err := url.ParseQuery(raw)
	for name, all := range values {
		if !utf8.ValidString(name + " " + strings.Join(all, " ")) {
			return nil, false
		}
	}
	return values, err == nil
}
