package decidetest

import (
	"encoding/json"
	"slices"
	"strings"

	"sallyport/policydata"
)

// Message is a request as a proxy sees it, and what its token says.
type Message struct {
	Method    string
	Target    string // raw, with the query
	Authority string
	Headers   [][2]string // names in lower case; without that of the token
	Claims    string      // the payload of a well-signed token; "": no token
}

// Message returns a request that comes at a time in seconds since the Unix
// epoch. One of several has a fault: of the path, the host, the method, the
// credentials or the claims.
func (r Random) Message(now int64) Message {
	req := r.Request()
	m := Message{
		Method: req.Method, Target: r.escape(req.Path), Claims: r.payload(now),
		Authority: Pick(r, "", "a", "b.a", "C.b.A.", "g0.a:8443", "c", "[::1]", "[::1]:443"),
	}
	// Proxies join two Authorization headers before a filter sees them, so that
	// only one of them beside a token is one and the same to all.
	credentials := r.IntN(8) == 0
	for _, h := range req.Headers {
		if h[0] == ":path" || h[0] == "authorization" && (!credentials || h[1] == "") {
			continue
		}
		credentials = credentials && h[0] != "authorization"
		m.Headers = append(m.Headers, h)
	}
	if req.Preflight {
		m.Headers = append(m.Headers, [2]string{"origin", "https://a"}, [2]string{"access-control-request-method", "PUT"})
	} else if r.IntN(4) == 0 {
		m.Headers = append(m.Headers, [2]string{"origin", "https://a"}, [2]string{"x-http-method-override", "GET"})
	}
	if req.Query != "" || r.IntN(8) == 0 {
		m.Target += "?" + req.Query
	}
	switch r.IntN(30) {
	case 0:
		m.Target += Pick(r, "/..", "//", "/%2e", "/%2Fa", "/%zz", "/a;b", "/%25%34%31", "/%ff", "#a", "\\", "/%00")
	case 1:
		m.Target = Pick(r, "/../a", "/.", "//a", "a", "*", "/%5c", "/a/%2E%2e/b")
	case 2:
		m.Authority = Pick(r, "a..b", ".a", "a,b", "a:b", "a:123456", "[::1", "[]", "a/b", "\u212A")
	case 3:
		m.Method = Pick(r, "G(T", "GE/T", "@read", "*")
	}
	return m
}

// escape writes some characters of a path as percent-escapes.
func (r Random) escape(path string) string {
	var out strings.Builder
	for i := range len(path) {
		if path[i] != '/' && r.IntN(12) == 0 {
			out.WriteString("%" + strings.ToUpper(string("0123456789abcdef"[path[i]>>4])) + string("0123456789abcdef"[path[i]&15]))
			continue
		}
		out.WriteByte(path[i])
	}
	return out.String()
}

// payload returns the claims of a token, which are mostly good.
func (r Random) payload(now int64) string {
	if r.IntN(6) == 0 {
		return ""
	}
	claims := map[string]any{}
	if err := json.Unmarshal([]byte(strings.TrimSpace(r.claims())), &claims); err != nil {
		claims = map[string]any{} // r.claims has no claims at all
	}
	claims["iss"] = "https://" + Pick(r, "kc", "kc", "kc", "other", "own")
	claims["aud"] = Pick[any](r, "a", []string{"b", "a"})
	claims["sub"] = Pick(r, "u0", "u1", "u2", "ghost", "sub-c", "sub-2", "s0", "s1")
	claims["exp"], claims["iat"] = now+r.Int64N(3000), now-r.Int64N(500)
	r.maybe(claims, "groups", Pick[any](r, "g0 g1  a", some(r, 3, "g0", "/g1", "g2", "/a", "*", "/", "", policydata.GroupAuthenticated), 7))
	r.maybe(claims, "teams", Pick[any](r, []any{"g3", 1, nil, "a"}, map[string]any{"g3": 1}))
	r.maybe(claims, "roles", some(r, 3, "r0", "c0", "c1", "system:x", "none"))
	r.maybe(claims, "azp", Pick(r, "c", "d", "e", "s0", "s1", "who", ""))
	if r.IntN(4) == 0 {
		claims["act"] = Pick[any](r, map[string]any{"sub": Pick(r, "c", "d", "s0", "who", "")}, "c", nil, map[string]any{})
	}
	r.maybe(claims, "jti", Pick(r, "t0", "t1", "t8", "t9"))
	r.fault(claims, now)
	text, err := json.Marshal(claims)
	if err != nil {
		panic(err) // what json.Unmarshal returned and what stands above
	}
	return string(text)
}

func (r Random) maybe(claims map[string]any, name string, value any) {
	if r.IntN(2) == 0 {
		claims[name] = value
	}
}

// fault makes one of several payloads bad in something.
func (r Random) fault(claims map[string]any, now int64) {
	switch r.IntN(40) {
	case 0:
		claims["iss"] = Pick[any](r, "https://kc/", "kc", 7, nil)
	case 1:
		claims["exp"] = now - r.Int64N(60)
	case 2:
		delete(claims, Pick(r, "exp", "aud", "iss", "sub", "iat"))
	case 3:
		claims[Pick(r, "nbf", "iat")] = now + r.Int64N(60)
	case 4:
		claims["aud"] = Pick[any](r, "b", []any{}, []any{"a", 1}, 7)
	case 5:
		claims["exp"] = now + 4000
	case 6:
		claims[Pick(r, "sub", "azp", "jti", "exp", "iat", "nbf")] = Pick[any](r, "", "a/b", "system:x", "*", ".", -1, []any{"u0"})
	}
}

// issuers have claim paths, and prefixes where there are several.
func (r Random) issuers() []policydata.Issuer {
	kc, other, own := issuer("kc"), issuer("other"), issuer("own")
	kc.UsernameClaims = [][]string{{"name", "short"}, {"sub"}}
	kc.GroupsClaims, kc.TrimGroup = [][]string{{"groups"}, {"teams"}}, "/"
	kc.ClockSkew = 30
	kc.RequireKnownUser = r.IntN(8) == 0
	other.UsernamePrefix, other.GroupsPrefix = Pick(r, "", "o:"), Pick(r, "", "o:")
	own.Own = true
	all := []policydata.Issuer{kc, other, own}
	for i := range all {
		all[i].RolesClaims = [][]string{{"roles"}}
		all[i].ClientClaims = [][]string{{"azp"}}
		if len(all[i].GroupsClaims) == 0 {
			all[i].GroupsClaims = [][]string{{"groups"}}
		}
	}
	return slices.Clip(all)
}

func issuer(name string) policydata.Issuer {
	return policydata.Issuer{
		Name: name, Issuer: "https://" + name, Audiences: []string{"a"}, Algorithms: []string{"ES256"},
		UsernameClaims: [][]string{{"sub"}}, MaxTokenLifetime: 3600,
	}
}
