package decidetest

import (
	"encoding/json"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"sallyport/policydata"
)

// Authorize decides a message at a time in seconds since the Unix epoch: path,
// token, principal and gates. The token is looked for in "Authorization:
// Bearer".
func Authorize(src *policydata.Source, m *Message, now int64) Verdict {
	if src.Expires != 0 && now >= src.Expires {
		return Verdict{Reason: policydata.ReasonStaleSnapshot}
	}
	path, query, pathOK := target(m.Target)
	host, hostOK := authority(m.Authority)
	if !pathOK || !hostOK || !methodToken.MatchString(m.Method) {
		return Verdict{Reason: policydata.ReasonBadPath}
	}
	has := func(name string) bool {
		return slices.ContainsFunc(m.Headers, func(h [2]string) bool { return h[0] == name })
	}
	r := &policydata.Request{
		Method: m.Method, Path: path, Host: host, Query: query, Headers: m.Headers, TokenHeader: "authorization", Time: now,
		Preflight: m.Method == "OPTIONS" && has("origin") && has("access-control-request-method"),
	}
	credentials := 0
	for _, h := range m.Headers {
		if h[0] == "authorization" {
			credentials++
		}
	}
	if m.Claims != "" {
		credentials++
	}
	if credentials > 1 {
		return Verdict{Reason: policydata.ReasonBadToken}
	}
	id := &policydata.Identity{}
	if m.Claims != "" {
		var reason policydata.Reason
		if id, reason = bearer(src, m.Claims, now); reason != policydata.ReasonAllowed {
			return Verdict{Reason: reason}
		}
	}
	return Decide(src, r, id)
}

var (
	methodToken = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
	hostAndPort = regexp.MustCompile(`^(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z_-]+(?:\.[0-9A-Za-z_-]+)*\.?)(?::[0-9]{0,5})?$`)
	escapeLeft  = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)
	name        = regexp.MustCompile(`^[^/*\x00-\x1F\x7F]{1,256}$`)
)

// target returns path and query of a request target, or not ok where it is not
// canonical.
func target(raw string) (path, query string, ok bool) {
	path, query, _ = strings.Cut(raw, "?")
	for i := range len(path) {
		if path[i] < 0x21 || path[i] > 0x7E {
			return "", "", false
		}
	}
	segments := strings.Split(path, "/")
	if len(segments) < 2 || segments[0] != "" || strings.Contains(path, "//") || strings.ContainsAny(path, `\;#`) {
		return "", "", false
	}
	for i, s := range segments {
		decoded, err := url.PathUnescape(s)
		if err != nil || decoded == "." || decoded == ".." || strings.ContainsAny(decoded, `/\;`) ||
			strings.ContainsFunc(decoded, func(c rune) bool { return c < 0x20 || c == 0x7F }) ||
			escapeLeft.MatchString(decoded) || !utf8.ValidString(decoded) {
			return "", "", false
		}
		segments[i] = decoded
	}
	return strings.Join(segments, "/"), query, !strings.ContainsAny(query, "# \x00\x7F")
}

// authority returns the host that rules are compared with.
func authority(raw string) (string, bool) {
	if raw == "" {
		return "", true
	}
	match := hostAndPort.FindStringSubmatch(raw)
	if match == nil {
		return "", false
	}
	return strings.ToLower(strings.TrimSuffix(match[1], ".")), true
}

// bearer returns whom the claims of a token with a good signature name.
func bearer(src *policydata.Source, payload string, now int64) (*policydata.Identity, policydata.Reason) {
	var claims map[string]any
	if json.Unmarshal([]byte(payload), &claims) != nil {
		return nil, policydata.ReasonBadToken
	}
	i := slices.IndexFunc(src.Issuers, func(i policydata.Issuer) bool { return claims["iss"] == any(i.Issuer) })
	if i < 0 {
		return nil, policydata.ReasonUnknownIssuer
	}
	from := &src.Issuers[i]
	if reason := current(from, claims, float64(now)); reason != policydata.ReasonAllowed {
		return nil, reason
	}
	id, ok := mapped(from, claims)
	if !ok {
		return nil, policydata.ReasonBadToken
	}
	id.Claims = payload
	for _, u := range src.Users {
		if u.Name == id.User && u.TokensNotBefore != 0 && id.IssuedAt < u.TokensNotBefore {
			return nil, policydata.ReasonRevoked
		}
	}
	for _, t := range src.Revoked {
		if t.Issuer == from.Name && t.ID == id.TokenID {
			return nil, policydata.ReasonRevoked
		}
	}
	return id, policydata.ReasonAllowed
}

// current checks times, audience and lifetime, in this order.
func current(from *policydata.Issuer, claims map[string]any, now float64) policydata.Reason {
	date := func(name string) (seconds float64, there, ok bool) {
		value, there := claims[name]
		seconds, ok = value.(float64)
		return seconds, there, ok && seconds >= 0
	}
	skew := float64(from.ClockSkew)
	exp, there, ok := date("exp")
	switch {
	case !there:
		return policydata.ReasonExpired
	case !ok:
		return policydata.ReasonBadToken
	case now >= exp+skew:
		return policydata.ReasonExpired
	}
	for _, name := range []string{"nbf", "iat"} {
		from, there, ok := date(name)
		switch {
		case there && !ok:
			return policydata.ReasonBadToken
		case there && from > now+skew:
			return policydata.ReasonNotYetValid
		}
	}
	if reason := audience(from, claims); reason != policydata.ReasonAllowed {
		return reason
	}
	issued := now
	if iat, there, _ := date("iat"); there {
		issued = iat
	}
	if exp-issued > float64(from.MaxTokenLifetime) {
		return policydata.ReasonBadToken
	}
	return policydata.ReasonAllowed
}

func audience(from *policydata.Issuer, claims map[string]any) policydata.Reason {
	value, there := claims["aud"]
	if !there {
		return policydata.ReasonBadAudience
	}
	list, isList := value.([]any)
	if !isList {
		list = []any{value}
	}
	reason := policydata.ReasonBadAudience
	for _, v := range list {
		text, ok := v.(string)
		if !ok {
			return policydata.ReasonBadToken
		}
		if slices.Contains(from.Audiences, text) {
			reason = policydata.ReasonAllowed
		}
	}
	return reason
}

// mapped returns the identity that claims are, by the claim paths of an issuer.
func mapped(from *policydata.Issuer, claims map[string]any) (*policydata.Identity, bool) {
	id := &policydata.Identity{
		Authenticated: true, Issuer: from.Name, Own: from.Own, Iss: from.Issuer, RequireKnownUser: from.RequireKnownUser,
	}
	user, _ := first(claims, from.UsernameClaims).(string)
	if user == "" || strings.HasPrefix(user, "system:") {
		return nil, false
	}
	id.User = from.UsernamePrefix + user
	if !name.MatchString(id.User) || id.User == "." || id.User == ".." || strings.HasPrefix(id.User, "system:") {
		return nil, false
	}
	for _, c := range []struct {
		value any
		to    *string
	}{{claims["sub"], &id.Subject}, {first(claims, from.ClientClaims), &id.Client}, {claims["jti"], &id.TokenID}} {
		text, ok := c.value.(string)
		if !ok && c.value != nil {
			return nil, false
		}
		*c.to = text
	}
	var act any
	if act, id.HasActor = claims["act"]; id.HasActor {
		object, _ := act.(map[string]any)
		id.Actor, _ = object["sub"].(string)
	}
	if iat, ok := claims["iat"].(float64); ok {
		id.IssuedAt = int64(math.Floor(iat))
	}
	id.Groups = texts(claims, from.GroupsClaims, from.TrimGroup, from.GroupsPrefix)
	id.Roles = texts(claims, from.RolesClaims, "", "")
	return id, true
}

// first returns the value of the first path that is there; null is not.
func first(claims map[string]any, paths [][]string) any {
	for _, path := range paths {
		if v := lookUp(claims, path); v != nil {
			return v
		}
	}
	return nil
}

func lookUp(claims map[string]any, path []string) any {
	var v any = claims
	for _, name := range path {
		object, _ := v.(map[string]any)
		v = object[name]
	}
	return v
}

// texts returns the names at paths, each once, without those that no token may
// have.
func texts(claims map[string]any, paths [][]string, trim, prefix string) []string {
	var out []string
	for _, path := range paths {
		var raw []string
		switch v := lookUp(claims, path).(type) {
		case string:
			raw = strings.Split(v, " ")
		case []any:
			for _, e := range v {
				text, _ := e.(string)
				raw = append(raw, text)
			}
		}
		for _, text := range raw {
			cut := strings.TrimPrefix(text, trim)
			no := func(s string) bool { return s == "" || s == "*" || strings.HasPrefix(s, "system:") }
			if !no(text) && !no(cut) && !no(prefix+cut) && !slices.Contains(out, prefix+cut) {
				out = append(out, prefix+cut)
			}
		}
	}
	return out
}
