package authorize_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"weak"

	"sallyport/policydata"
	"sallyport/policydata/authorize"
	"sallyport/policydata/token"
)

// now is the time at which all tests decide.
const now = 1_800_000_000

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// keys are the key of issuer kc, and that of issuer other, which is RSA.
var keys = sync.OnceValue(func() map[string]crypto.Signer {
	return map[string]crypto.Signer{
		"kc":    must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		"other": must(rsa.GenerateKey(rand.Reader, 2048)),
	}
})

type claims map[string]any

// sign makes a token of an issuer. The claims that it must have are added
// unless they are given; one that is nil is left out.
func sign(t testing.TB, issuer string, given claims) string {
	t.Helper()
	return signWith(t, issuer, "", given)
}

// signWith is sign with a "kid", unless it is empty.
func signWith(t testing.TB, issuer, kid string, given claims) string {
	t.Helper()
	all := claims{"iss": "https://" + issuer, "sub": "eric", "aud": "api", "iat": now - 10, "exp": now + 300}
	for name, value := range given {
		all[name] = value
		if value == nil {
			delete(all, name)
		}
	}
	alg := map[string]string{"kc": "ES256", "other": "RS256"}[issuer]
	encode := base64.RawURLEncoding.EncodeToString
	header := map[string]string{"alg": alg}
	if kid != "" {
		header["kid"] = kid
	}
	input := encode(must(json.Marshal(header))) + "." + encode(must(json.Marshal(all)))
	digest := sha256.Sum256([]byte(input))
	var signature []byte
	switch key := keys()[issuer].(type) {
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		signature = make([]byte, 64)
		r.FillBytes(signature[:32])
		s.FillBytes(signature[32:])
	case *rsa.PrivateKey:
		signature = must(rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:]))
	}
	return input + "." + encode(signature)
}

func issuer(name, alg string) policydata.Issuer {
	return policydata.Issuer{
		Name: name, Issuer: "https://" + name, Audiences: []string{"api"}, Algorithms: []string{alg},
		Keys:           []policydata.Key{{SPKI: must(x509.MarshalPKIXPublicKey(keys()[name].Public()))}},
		UsernameClaims: [][]string{{"sub"}}, GroupsClaims: [][]string{{"groups"}}, ClientClaims: [][]string{{"azp"}},
		ClockSkew: 30, MaxTokenLifetime: 3600,
	}
}

// source has a public path, /public, one for every user, /private, one for
// each team, and one that only a preflight reaches.
func source() policydata.Source {
	allow := func(name, method, path string, when *policydata.Expr) policydata.Policy {
		return policydata.Policy{Name: name, Rules: []policydata.Rule{{
			Effect: policydata.EffectAllow, Methods: []string{method}, Paths: []string{path}, When: when,
		}}}
	}
	member := &policydata.Expr{Op: policydata.OpIn, Args: []*policydata.Expr{
		{Op: policydata.OpPathVar, Str: "team"}, {Op: policydata.OpVar, Int: int64(policydata.VarTokenGroups)},
	}}
	return policydata.Source{
		Epoch: 2, Generation: 9,
		Policies: []policydata.Policy{
			allow("public", "*", "/public/**", nil), allow("private", "*", "/private/**", nil),
			allow("teams", "*", "/teams/{team}/**", member), allow("preflight", "@preflight", "/cors/**", nil),
			{Name: "api", Rules: []policydata.Rule{{
				Effect: policydata.EffectAllow, Methods: []string{"*"}, Hosts: []string{policydata.HostAPI}, Paths: []string{"/**"},
			}}},
		},
		Users: []policydata.User{{Name: "revoked", TokensNotBefore: now - 5}, {Name: "gone", Disabled: true}},
		Groups: []policydata.Group{
			{Name: policydata.GroupAuthenticated, Policies: []string{"public", "private", "teams", "api"}},
			{Name: policydata.GroupUnauthenticated, Policies: []string{"public", "preflight"}},
		},
		Issuers: []policydata.Issuer{issuer("kc", "ES256"), issuer("other", "RS256")},
	}
}

func snapshot(t testing.TB, src policydata.Source) *policydata.Snapshot {
	t.Helper()
	body, err := policydata.Build(src)
	if err != nil {
		t.Fatal(err)
	}
	s, err := policydata.Load(policydata.AppendSignature(body, "", nil), func(_, _ []byte) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func engine(t testing.TB, src policydata.Source, where authorize.TokenSource, options ...token.Option) *authorize.Engine {
	t.Helper()
	e, err := authorize.New(snapshot(t, src), where, options...)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func get(target string, headers ...[2]string) *authorize.Request {
	return &authorize.Request{Method: "GET", Target: target, Authority: "api.example.com", Headers: headers}
}

func bearer(token string) [2]string { return [2]string{"authorization", "Bearer " + token} }

// Where the token is looked for: a request for /private is allowed with a good
// token, no_token without credentials, and bad_token where they are ambiguous
// or broken, and then on a public path, too.
func TestTokenSource(t *testing.T) {
	raw := sign(t, "kc", nil)
	auth := func(values ...string) (out [][2]string) {
		for _, v := range values {
			out = append(out, [2]string{"authorization", v})
		}
		return out
	}
	named := func(name string, values ...string) (out [][2]string) {
		for _, v := range values {
			out = append(out, [2]string{name, v})
		}
		return out
	}
	bearerSource, header, cookie := authorize.TokenSource{}, authorize.TokenSource{Header: "x-token"}, authorize.TokenSource{Cookie: "sid"}
	const allowed, none, bad = policydata.ReasonAllowed, policydata.ReasonNoToken, policydata.ReasonBadToken
	tests := []struct {
		name    string
		where   authorize.TokenSource
		headers [][2]string
		want    policydata.Reason
	}{
		{"no_header", bearerSource, nil, none},
		{"bearer", bearerSource, auth("Bearer " + raw), allowed},
		{"scheme_in_any_case", bearerSource, auth("bEARER " + raw), allowed},
		{"several_spaces", bearerSource, auth("Bearer   " + raw), allowed},
		{"space_around", bearerSource, auth(" Bearer " + raw + "\t"), allowed},
		{"other_headers_beside", bearerSource, append(auth("Bearer "+raw), [2]string{"x-token", "junk"}, [2]string{"cookie", "sid=junk"}), allowed},
		{"token_in_another_place", bearerSource, named("x-token", raw), none},
		{"query_is_no_place", bearerSource, named("x-forwarded-uri", "/?access_token="+raw), none},
		{"empty", bearerSource, auth(""), none},
		{"only_space", bearerSource, auth(" \t "), none},
		{"basic_is_no_token", bearerSource, auth("Basic dXNlcjpwYXNz"), none},
		{"unknown_scheme_is_no_token", bearerSource, auth("DPoP " + raw), none},
		{"scheme_that_begins_like_bearer", bearerSource, auth("Bearer2 " + raw), none},
		{"bare_token_is_a_scheme", bearerSource, auth(raw), none},
		{"bearer_alone", bearerSource, auth("Bearer"), bad},
		{"bearer_and_space", bearerSource, auth("Bearer "), bad},
		{"junk", bearerSource, auth("Bearer junk"), bad},
		{"two_words", bearerSource, auth("Bearer " + raw + " " + raw), bad},
		{"bearer_twice_in_one", bearerSource, auth("Bearer Bearer " + raw), bad},
		{"parameters", bearerSource, auth(`Bearer token="` + raw + `"`), bad},
		{"repeated", bearerSource, auth("Bearer "+raw, "Bearer "+raw), bad},
		{"repeated_with_another_scheme", bearerSource, auth("Basic dXNlcjpwYXNz", "Bearer "+raw), bad},
		{"repeated_without_any_token", bearerSource, auth("Basic a", "Basic b"), bad},
		{"repeated_and_empty", bearerSource, auth("Bearer "+raw, ""), bad},
		{"comma_joined", bearerSource, auth("Bearer " + raw + ",Bearer " + raw), bad},
		{"comma_joined_tokens", bearerSource, auth("Bearer " + raw + "," + raw), bad},
		{"comma_joined_behind_another_scheme", bearerSource, auth("Basic dXNlcjpwYXNz, Bearer " + raw), bad},
		{"comma_joined_before_another_scheme", bearerSource, auth("Bearer " + raw + ", Basic dXNlcjpwYXNz"), bad},
		{"comma_joined_with_a_tab", bearerSource, auth("Basic a,\tbearer\t" + raw), bad},
		{"comma_joined_bearer_alone", bearerSource, auth("Basic a,Bearer"), bad},
		{"parameters_of_another_scheme", bearerSource, auth(`Digest username="bearer x", realm="y"`), none},

		{"header_bare", header, named("x-token", raw), allowed},
		{"header_with_scheme", header, named("x-token", "Bearer "+raw), allowed},
		{"header_absent", header, auth("Bearer " + raw), none},
		{"header_empty", header, named("x-token", ""), none},
		{"header_with_another_scheme", header, named("x-token", "Basic "+raw), bad},
		{"header_bearer_alone", header, named("x-token", "Bearer"), bad},
		{"header_repeated", header, named("x-token", raw, raw), bad},
		{"header_comma_joined", header, named("x-token", raw+","+raw), bad},
		{"header_junk", header, named("x-token", "junk"), bad},

		{"cookie", cookie, named("cookie", "a=b; sid="+raw+"; c=d"), allowed},
		{"cookie_in_a_second_header", cookie, named("cookie", "a=b", "sid="+raw), allowed},
		{"cookie_absent", cookie, named("cookie", "a=b; xsid="+raw+"; SID="+raw), none},
		{"cookie_without_any", cookie, auth("Bearer " + raw), none},
		{"cookie_empty", cookie, named("cookie", "sid="), bad},
		{"cookie_without_value", cookie, named("cookie", "sid"), bad},
		{"cookie_repeated", cookie, named("cookie", "sid="+raw+"; sid="+raw), bad},
		{"cookie_repeated_in_two_headers", cookie, named("cookie", "sid="+raw, "sid="+raw), bad},
		{"cookie_joined", cookie, named("cookie", "sid="+raw+","+raw), bad},
		{"cookie_quoted", cookie, named("cookie", `sid="`+raw+`"`), bad},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := engine(t, source(), tt.where)
			if d := e.Authorize(get("/private", tt.headers...), now); d.Reason != tt.want {
				t.Errorf("private path: %v, want %v", d.Reason, tt.want)
			}
			public := tt.want
			if public == none {
				public = allowed
			}
			if d := e.Authorize(get("/public", tt.headers...), now); d.Reason != public {
				t.Errorf("public path: %v, want %v", d.Reason, public)
			}
		})
	}
}

// Each request has several faults; the first in the fixed order is the answer.
func TestOrderOfRefusals(t *testing.T) {
	stale := source()
	stale.Expires = now
	good, junk := bearer(sign(t, "kc", nil)), bearer("junk")
	foreign := [2]string{"authorization", "Bearer " + sign(t, "kc", claims{"iss": "https://nobody", "exp": 1})}
	expired := bearer(sign(t, "kc", claims{"sub": "gone", "exp": now - 100, "aud": "other"}))
	revokedAndGone := bearer(sign(t, "kc", claims{"sub": "revoked"}))
	tests := []struct {
		name string
		src  *policydata.Source
		req  *authorize.Request
		want policydata.Reason
	}{
		{"no_snapshot_first", nil, get("//", junk), policydata.ReasonNoSnapshot},
		{"stale_snapshot_before_the_path", &stale, get("//", junk), policydata.ReasonStaleSnapshot},
		{"bad_path_before_the_token", new(source()), get("/private/../x", junk), policydata.ReasonBadPath},
		{"bad_host_before_the_token", new(source()), &authorize.Request{Method: "GET", Target: "/private", Authority: "a/b", Headers: [][2]string{junk}}, policydata.ReasonBadPath},
		{"no_method_before_the_token", new(source()), &authorize.Request{Target: "/private", Headers: [][2]string{junk}}, policydata.ReasonBadPath},
		{"bad_method_before_the_token", new(source()), &authorize.Request{Method: "GET /x", Target: "/private", Headers: [][2]string{junk}}, policydata.ReasonBadPath},
		{"bad_path_with_a_good_token", new(source()), get("/private%2f", good), policydata.ReasonBadPath},
		{"bad_token_before_the_rules", new(source()), get("/nowhere", junk), policydata.ReasonBadToken},
		{"unknown_issuer_before_expired", new(source()), get("/nowhere", foreign), policydata.ReasonUnknownIssuer},
		{"expired_before_audience_and_user", new(source()), get("/nowhere", expired), policydata.ReasonExpired},
		{"revoked_before_the_rules", new(source()), get("/nowhere", revokedAndGone), policydata.ReasonRevoked},
		{"disabled_user_before_the_rules", new(source()), get("/nowhere", bearer(sign(t, "kc", claims{"sub": "gone"}))), policydata.ReasonUserDisabled},
		{"rules_last", new(source()), get("/nowhere", good), policydata.ReasonNoMatchingRule},
		{"no_token_last", new(source()), get("/nowhere"), policydata.ReasonNoToken},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := must(authorize.New(nil, authorize.TokenSource{}))
			if tt.src != nil {
				e = engine(t, *tt.src, authorize.TokenSource{})
			}
			d := e.Authorize(tt.req, now)
			if d.Reason != tt.want || d.Allowed() {
				t.Errorf("got %v, want %v", d.Reason, tt.want)
			}
			if tt.src != nil && (d.Epoch != 2 || d.Generation != 9) {
				t.Errorf("epoch %d, generation %d: the snapshot that decided is not told", d.Epoch, d.Generation)
			}
		})
	}
}

func TestStaleSnapshot(t *testing.T) {
	src := source()
	src.Expires = now
	e := engine(t, src, authorize.TokenSource{})
	for at, want := range map[int64]policydata.Reason{now - 1: policydata.ReasonAllowed, now: policydata.ReasonStaleSnapshot, now + 1: policydata.ReasonStaleSnapshot} {
		if d := e.Authorize(get("/public"), at); d.Reason != want {
			t.Errorf("at %d: %v, want %v", at, d.Reason, want)
		}
		if d := e.AuthorizeClaims(get("/public"), `{"iss":"https://kc","sub":"eric"}`, at); d.Reason != want {
			t.Errorf("claims at %d: %v, want %v", at, d.Reason, want)
		}
	}
}

func TestAuthorizeMapsTheToken(t *testing.T) {
	e := engine(t, source(), authorize.TokenSource{})
	for _, name := range []string{"kc", "other"} {
		token := bearer(sign(t, name, claims{"groups": []string{"foo", "system:authenticated"}}))
		d := e.Authorize(get("/teams/foo/x", token), now)
		if !d.Allowed() || d.User != "eric" || d.Policy != "teams" || len(d.Captures) != 1 || d.Captures[0].Value != "foo" {
			t.Errorf("%s: %+v", name, d)
		}
		if groups := e.Groups(); len(groups) != 1 || groups[0] != "foo" {
			t.Errorf("groups %q", groups)
		}
		if d := e.Authorize(get("/teams/bar/x", token), now); d.Reason != policydata.ReasonNoMatchingRule {
			t.Errorf("another team's path: %v", d.Reason)
		}
	}
}

func TestTokensNotBefore(t *testing.T) {
	e := engine(t, source(), authorize.TokenSource{}) // of revoked: now-5
	for name, tt := range map[string]struct {
		iat  any
		want policydata.Reason
	}{
		"issued_before":  {now - 6, policydata.ReasonRevoked},
		"issued_then":    {now - 5, policydata.ReasonAllowed},
		"issued_after":   {now - 4, policydata.ReasonAllowed},
		"fraction_after": {now - 4.5, policydata.ReasonAllowed},
		"without_iat":    {nil, policydata.ReasonRevoked},
	} {
		t.Run(name, func(t *testing.T) {
			token := bearer(sign(t, "kc", claims{"sub": "revoked", "iat": tt.iat}))
			for _, path := range []string{"/private", "/public"} {
				if d := e.Authorize(get(path, token), now); d.Reason != tt.want {
					t.Errorf("%s: got %v, want %v", path, d.Reason, tt.want)
				}
			}
			other := bearer(sign(t, "kc", claims{"iat": tt.iat}))
			if d := e.Authorize(get("/private", other), now); !d.Allowed() {
				t.Errorf("another user's token: %v", d.Reason)
			}
		})
	}
}

func TestAuthorizeClaims(t *testing.T) {
	one := source()
	one.Issuers = one.Issuers[:1]
	none := source()
	none.Issuers = nil
	tests := []struct {
		name   string
		src    policydata.Source
		claims string
		want   policydata.Reason
	}{
		{"iss_picks_the_issuer", source(), `{"iss":"https://other","sub":"eric","groups":["foo"]}`, policydata.ReasonAllowed},
		{"without_iss_the_only_issuer", one, `{"sub":"eric","groups":["foo"]}`, policydata.ReasonAllowed},
		{"without_iss_of_two_issuers", source(), `{"sub":"eric","groups":["foo"]}`, policydata.ReasonUnknownIssuer},
		{"without_any_issuer", none, `{"sub":"eric","groups":["foo"]}`, policydata.ReasonUnknownIssuer},
		{"other_iss_with_one_issuer", one, `{"iss":"https://nobody","sub":"eric","groups":["foo"]}`, policydata.ReasonUnknownIssuer},
		{"iss_is_compared_exactly", one, `{"iss":"https://KC","sub":"eric","groups":["foo"]}`, policydata.ReasonUnknownIssuer},
		{"iss_that_is_no_string", one, `{"iss":["https://kc"],"sub":"eric","groups":["foo"]}`, policydata.ReasonUnknownIssuer},
		{"iss_null_with_one_issuer", one, `{"iss":null,"sub":"eric","groups":["foo"]}`, policydata.ReasonUnknownIssuer},
		{"token_checks_are_left_out", one, `{"sub":"eric","groups":["foo"],"exp":1,"aud":"other","nbf":99999999999}`, policydata.ReasonAllowed},
		{"revocation_is_left_out", one, `{"sub":"revoked","groups":["foo"]}`, policydata.ReasonAllowed},
		{"principal_is_not_left_out", one, `{"sub":"gone","groups":["foo"]}`, policydata.ReasonUserDisabled},
		{"actor_that_is_no_service", one, `{"sub":"eric","groups":["foo"],"act":{"sub":"x"}}`, policydata.ReasonServiceGate},
		{"gates_are_not_left_out", one, `{"sub":"eric","groups":["bar"]}`, policydata.ReasonNoMatchingRule},
		{"no_user_name", one, `{"groups":["foo"]}`, policydata.ReasonBadToken},
		{"duplicate_names", one, `{"sub":"eric","sub":"bob","groups":["foo"]}`, policydata.ReasonBadToken},
		{"no_json", one, `{"sub":`, policydata.ReasonBadToken},
		{"empty", one, ``, policydata.ReasonBadToken},
		{"no_object", one, `["sub"]`, policydata.ReasonBadToken},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := engine(t, tt.src, authorize.TokenSource{}).AuthorizeClaims(get("/teams/foo", bearer("not looked at")), tt.claims, now)
			if d.Reason != tt.want {
				t.Errorf("got %v, want %v", d.Reason, tt.want)
			}
		})
	}
}

func TestAuthorizePreflight(t *testing.T) {
	e := engine(t, source(), authorize.TokenSource{})
	origin, method := [2]string{"origin", "https://app.example"}, [2]string{"access-control-request-method", "PUT"}
	for name, tt := range map[string]struct {
		method  string
		headers [][2]string
		want    policydata.Reason
	}{
		"preflight":            {"OPTIONS", [][2]string{origin, method}, policydata.ReasonAllowed},
		"without_origin":       {"OPTIONS", [][2]string{method}, policydata.ReasonNoToken},
		"without_method":       {"OPTIONS", [][2]string{origin}, policydata.ReasonNoToken},
		"plain_options":        {"OPTIONS", nil, policydata.ReasonNoToken},
		"another_method":       {"GET", [][2]string{origin, method}, policydata.ReasonNoToken},
		"method_in_lower_case": {"options", [][2]string{origin, method}, policydata.ReasonNoToken},
	} {
		t.Run(name, func(t *testing.T) {
			req := &authorize.Request{Method: tt.method, Target: "/cors/x", Authority: "a", Headers: tt.headers}
			if d := e.Authorize(req, now); d.Reason != tt.want {
				t.Errorf("got %v, want %v", d.Reason, tt.want)
			}
		})
	}
}

// No header replaces method or path.
func TestOverrideHeadersAreIgnored(t *testing.T) {
	e := engine(t, source(), authorize.TokenSource{})
	for _, name := range []string{"x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url", "x-forwarded-uri", "x-forwarded-prefix"} {
		if d := e.Authorize(get("/private", [2]string{name, "/public"}), now); d.Reason != policydata.ReasonNoToken {
			t.Errorf("%s: %v", name, d.Reason)
		}
	}
}

func TestAPIRequests(t *testing.T) {
	e := engine(t, source(), authorize.TokenSource{})
	req := get("/api/v1/users", bearer(sign(t, "kc", nil)))
	if d := e.Authorize(req, now); d.Reason != policydata.ReasonNoMatchingRule {
		t.Errorf("at a proxy: %v", d.Reason)
	}
	req.API = true
	if d := e.Authorize(req, now); !d.Allowed() || d.Policy != "api" {
		t.Errorf("at the API: %v by %s", d.Reason, d.Policy)
	}
}

func TestNewRefusesUnusableKeys(t *testing.T) {
	src := source()
	src.Issuers[1].Keys[0].SPKI = []byte("no key")
	_, err := authorize.New(snapshot(t, src), authorize.TokenSource{})
	if err == nil || !strings.Contains(err.Error(), `issuer "other"`) {
		t.Errorf("got %v", err)
	}
}

func TestWithoutSnapshot(t *testing.T) {
	e := must(authorize.New(nil, authorize.TokenSource{}))
	for i, d := range []policydata.Decision{e.Authorize(get("/"), now), e.AuthorizeClaims(get("/"), "{}", now)} {
		if d.Reason != policydata.ReasonNoSnapshot || d.Reason.Status() != 503 {
			t.Errorf("%d: %v", i, d.Reason)
		}
	}
	if groups := e.Groups(); len(groups) != 0 {
		t.Errorf("groups %q", groups)
	}
}

func Example() {
	body := must(policydata.Build(source()))
	s := must(policydata.Load(policydata.AppendSignature(body, "", nil), func(_, _ []byte) error { return nil }))
	e := must(authorize.New(s, authorize.TokenSource{}))
	d := e.AuthorizeClaims(&authorize.Request{Method: "GET", Target: "/teams/foo/x"}, `{"iss":"https://kc","sub":"eric","groups":["foo"]}`, now)
	fmt.Println(d.Reason, d.Policy)
	// Output: allowed teams
}

// Tokens that were verified stay so over a new snapshot, as long as their issuer
// is the same in everything.
func TestCachedTokensEndWithAnyChangeOfTheirIssuer(t *testing.T) {
	r := get("/private", bearer(sign(t, "kc", nil)))
	for name, change := range map[string]func(*policydata.Issuer){
		"nothing":     func(*policydata.Issuer) {},
		"key":         func(i *policydata.Issuer) { i.Keys = nil },
		"audience":    func(i *policydata.Issuer) { i.Audiences = []string{"another"} },
		"algorithm":   func(i *policydata.Issuer) { i.Algorithms = []string{"PS512"} },
		"lifetime":    func(i *policydata.Issuer) { i.MaxTokenLifetime = 1 },
		"issuer":      func(i *policydata.Issuer) { i.Issuer += "/" },
		"claim paths": func(i *policydata.Issuer) { i.UsernameClaims = [][]string{{"nothing"}} },
	} {
		t.Run(name, func(t *testing.T) {
			before := engine(t, source(), authorize.TokenSource{})
			before.CacheTokens(nil)
			first := before.Authorize(r, now).Reason
			changed := source()
			for i := range changed.Issuers {
				if changed.Issuers[i].Name == "kc" {
					change(&changed.Issuers[i])
				}
			}
			after := engine(t, changed, authorize.TokenSource{})
			after.CacheTokens(before)
			if second := after.Authorize(r, now).Reason; (second == first) != (name == "nothing") {
				t.Errorf("%v, then %v", first, second)
			}
			// What the old engine still verifies must not count for the new one.
			before.Authorize(r, now)
			if third := after.Authorize(r, now).Reason; (third == first) != (name == "nothing") {
				t.Errorf("%v, then %v", first, third)
			}
		})
	}
}

// An engine whose tokens another took over is still in use, perhaps for good: it
// verifies no token twice.
func TestAnEngineThatIsReplacedCachesOn(t *testing.T) {
	r := get("/private", bearer(sign(t, "kc", nil)))
	verified := 0
	count := token.WithSignatureFunc(func(string, []byte, string, []byte) (handled, ok bool) {
		verified++
		return false, false
	})
	before, after := engine(t, source(), authorize.TokenSource{}, count), engine(t, source(), authorize.TokenSource{}, count)
	before.CacheTokens(nil)
	before.Authorize(r, now)
	after.CacheTokens(before)
	after.Authorize(r, now)
	for range 3 {
		before.Authorize(r, now)
	}
	if verified != 2 {
		t.Errorf("one token was verified %d times by two engines", verified)
	}
}

// A token stays in the cache for hours. It must not keep the snapshot under which
// it was verified: a proxy gets many in that time, of megabytes each.
func TestCachedTokensDoNotKeepTheirSnapshot(t *testing.T) {
	body := must(policydata.Build(source()))
	load := func() (*authorize.Engine, weak.Pointer[byte]) {
		b := policydata.AppendSignature(bytes.Clone(body), "", nil)
		s := must(policydata.Load(b, func(_, _ []byte) error { return nil }))
		return must(authorize.New(s, authorize.TokenSource{})), weak.Make(&b[0])
	}
	r := get("/private", bearer(sign(t, "kc", nil)))
	before, kept := load()
	before.CacheTokens(nil)
	first := before.Authorize(r, now).Reason
	after, _ := load()
	after.CacheTokens(before)
	before = nil
	runtime.GC()
	if kept.Value() != nil {
		t.Error("the snapshot before is still in memory")
	}
	if second := after.Authorize(r, now).Reason; second != first {
		t.Errorf("%v, then %v", first, second)
	}
}
