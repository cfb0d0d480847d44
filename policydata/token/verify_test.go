package token_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/policydata"
	"sallyport/policydata/token"
)

func newVerifier(t testing.TB, issuers ...policydata.Issuer) *token.Verifier {
	t.Helper()
	v, err := token.NewVerifier(issuers)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func wantReason(t *testing.T, v *token.Verifier, raw string, want policydata.Reason) {
	t.Helper()
	identity, claims, got := v.Verify(raw, now)
	if got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got == policydata.ReasonAllowed {
		return
	}
	if diff := cmp.Diff(policydata.Identity{}, identity); diff != "" || claims != (token.Claims{}) {
		t.Errorf("a refused token has an identity or claims:\n%s", diff)
	}
}

func TestVerifyGoodToken(t *testing.T) {
	v := newVerifier(t, testIssuer())
	want := policydata.Identity{
		Authenticated: true, Issuer: "idp", Iss: "https://idp.example.com", Subject: "eric", User: "eric",
		Groups: []string{"foo"}, IssuedAt: 1799999990,
	}
	for alg, header := range map[string]string{"RS256": headerRS256, "ES256": headerES256} {
		t.Run(alg, func(t *testing.T) {
			identity, claims, reason := v.Verify(sign(t, alg, header, goodPayload), now)
			if reason != policydata.ReasonAllowed {
				t.Fatal(reason)
			}
			if diff := cmp.Diff(want, identity); diff != "" {
				t.Error(diff)
			}
			if want := (token.Claims{Payload: goodPayload, Expires: 1800000330}); claims != want {
				t.Errorf("claims %+v, want %+v", claims, want)
			}
		})
	}
}

func TestVerifyEveryAlgorithm(t *testing.T) {
	for _, alg := range token.Algorithms() {
		t.Run(alg, func(t *testing.T) {
			issuer := testIssuer()
			issuer.Algorithms = []string{alg}
			issuer.Keys = []policydata.Key{publicKey("k", alg)}
			v := newVerifier(t, issuer)
			good := sign(t, alg, `{"alg":"`+alg+`"}`, goodPayload)
			wantReason(t, v, good, policydata.ReasonAllowed)
			cut := strings.LastIndexByte(good, '.') + 1
			signature := must(base64.RawURLEncoding.DecodeString(good[cut:]))
			signature[len(signature)/2] ^= 1
			wantReason(t, v, good[:cut]+encode(string(signature)), policydata.ReasonBadSignature)
		})
	}
}

func TestVerifyStructure(t *testing.T) {
	v := newVerifier(t, testIssuer())
	good := sign(t, "RS256", headerRS256, goodPayload)
	part := strings.Split(good, ".")
	deep := strings.Repeat("[", token.MaxJSONDepth) + strings.Repeat("]", token.MaxJSONDepth)
	tests := map[string]string{
		"empty":                     "",
		"one part":                  part[0],
		"two parts":                 part[0] + "." + part[1],
		"four parts":                good + ".",
		"only dots":                 "..",
		"JSON serialization":        `{"payload":"` + part[1] + `","protected":"` + part[0] + `","signature":"` + part[2] + `"}`,
		"five parts, as of a JWE":   good + "." + part[1] + "." + part[2],
		"header empty":              "." + part[1] + "." + part[2],
		"payload empty":             part[0] + ".." + part[2],
		"space in front":            " " + good,
		"line break at the end":     good + "\n",
		"line break inside":         part[0] + "\n." + part[1] + "." + part[2],
		"padding":                   good + "==",
		"standard base64 alphabet":  part[0] + "." + part[1] + ".+/" + part[2][2:],
		"too large":                 sign(t, "RS256", headerRS256, goodPayload[:len(goodPayload)-1]+`,"x":"`+strings.Repeat("x", token.MaxTokenBytes)+`"}`),
		"header no JSON":            sign(t, "RS256", "x", goodPayload),
		"header an array":           sign(t, "RS256", `["alg","RS256"]`, goodPayload),
		"header name twice":         sign(t, "RS256", `{"alg":"none","alg":"RS256"}`, goodPayload),
		"payload no JSON":           sign(t, "RS256", headerRS256, "x"),
		"payload a string":          sign(t, "RS256", headerRS256, `"x"`),
		"payload with text behind":  sign(t, "RS256", headerRS256, goodPayload+"x"),
		"payload name twice":        sign(t, "RS256", headerRS256, `{"sub":"mallory",`+goodPayload[1:]),
		"payload name twice, other": sign(t, "RS256", headerRS256, `{"\u0073ub":"mallory",`+goodPayload[1:]),
		"payload name twice, deep":  sign(t, "RS256", headerRS256, `{"x":[{"a":{"b":1,"b":2}}],`+goodPayload[1:]),
		"payload too deep":          sign(t, "RS256", headerRS256, `{"x":`+deep+`,`+goodPayload[1:]),
		"payload invalid UTF-8":     sign(t, "RS256", headerRS256, "{\"x\":\"\xff\","+goodPayload[1:]),
		"payload lone surrogate":    sign(t, "RS256", headerRS256, `{"x":"\ud800",`+goodPayload[1:]),
		"payload byte order mark":   sign(t, "RS256", headerRS256, "\ufeff"+goodPayload),
		"header stray bits":         signEncoded(t, "RS256", stray(t, `{"alg":"RS256"}  `), encode(goodPayload)),
		"payload stray bits":        signEncoded(t, "RS256", encode(headerRS256), stray(t, goodPayload)),
	}
	for name, raw := range tests {
		t.Run(name, func(t *testing.T) { wantReason(t, v, raw, policydata.ReasonBadToken) })
	}
}

// stray encodes s with a bit set that decodes to nothing.
func stray(t *testing.T, s string) string {
	t.Helper()
	for len(s)%3 != 2 {
		s += " "
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	encoded := encode(s)
	last := strings.IndexByte(alphabet, encoded[len(encoded)-1])
	return encoded[:len(encoded)-1] + alphabet[last|1:last|1+1]
}

func TestVerifyHeader(t *testing.T) {
	v := newVerifier(t, testIssuer())
	tests := []struct {
		name, header string
		want         policydata.Reason
	}{
		{"no kid, one key fits", `{"alg":"RS256"}`, policydata.ReasonAllowed},
		{"typ at+jwt", `{"alg":"RS256","typ":"at+jwt"}`, policydata.ReasonAllowed},
		{"typ with application", `{"alg":"RS256","typ":"Application/AT+JWT"}`, policydata.ReasonAllowed},
		{"typ in lower case", `{"alg":"RS256","typ":"jwt"}`, policydata.ReasonAllowed},
		{"unknown parameters", `{"alg":"RS256","x":1,"cty":"y"}`, policydata.ReasonAllowed},
		{"jku and x5u are not followed", `{"alg":"RS256","kid":"r","jku":"https://evil/","x5u":"https://evil/"}`, policydata.ReasonAllowed},
		{"jwk is not used", `{"alg":"RS256","jwk":{"kty":"oct","k":"AA"},"x5c":["AA"]}`, policydata.ReasonAllowed},
		{"no alg", `{"kid":"r"}`, policydata.ReasonBadToken},
		{"alg no string", `{"alg":["RS256"]}`, policydata.ReasonBadToken},
		{"alg none", `{"alg":"none"}`, policydata.ReasonBadToken},
		{"alg in lower case", `{"alg":"rs256","kid":"r"}`, policydata.ReasonBadToken},
		{"alg HS256", `{"alg":"HS256","kid":"r"}`, policydata.ReasonBadToken},
		{"alg not of the issuer", `{"alg":"RS512","kid":"r"}`, policydata.ReasonBadToken},
		{"alg not of the key", `{"alg":"ES256","kid":"r"}`, policydata.ReasonBadToken},
		{"kid of another key", `{"alg":"RS256","kid":"e"}`, policydata.ReasonBadToken},
		{"kid unknown", `{"alg":"RS256","kid":"x"}`, policydata.ReasonBadToken},
		{"kid in another case", `{"alg":"RS256","kid":"R"}`, policydata.ReasonBadToken},
		{"kid empty", `{"alg":"RS256","kid":""}`, policydata.ReasonBadToken},
		{"kid null", `{"alg":"RS256","kid":null}`, policydata.ReasonBadToken},
		{"kid a number", `{"alg":"RS256","kid":1}`, policydata.ReasonBadToken},
		{"crit", `{"alg":"RS256","kid":"r","crit":["exp"],"exp":1}`, policydata.ReasonBadToken},
		{"crit empty", `{"alg":"RS256","kid":"r","crit":[]}`, policydata.ReasonBadToken},
		{"crit null", `{"alg":"RS256","kid":"r","crit":null}`, policydata.ReasonBadToken},
		{"b64", `{"alg":"RS256","kid":"r","b64":true}`, policydata.ReasonBadToken},
		{"zip", `{"alg":"RS256","kid":"r","zip":"DEF"}`, policydata.ReasonBadToken},
		{"crit escaped", `{"alg":"RS256","kid":"r","\u0063rit":[]}`, policydata.ReasonBadToken},
		{"typ of a logout token", `{"alg":"RS256","kid":"r","typ":"logout+jwt"}`, policydata.ReasonBadToken},
		{"typ of a DPoP proof", `{"alg":"RS256","kid":"r","typ":"dpop+jwt"}`, policydata.ReasonBadToken},
		{"typ empty", `{"alg":"RS256","kid":"r","typ":""}`, policydata.ReasonBadToken},
		{"typ no string", `{"alg":"RS256","kid":"r","typ":null}`, policydata.ReasonBadToken},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			wantReason(t, v, sign(t, "RS256", test.header, goodPayload), test.want)
		})
	}
}

func TestVerifyKeyChoice(t *testing.T) {
	issuer := testIssuer()
	issuer.Keys = []policydata.Key{publicKey("a", "RS256"), publicKey("b", "RS256")}
	v := newVerifier(t, issuer)
	t.Run("no kid and two keys that fit", func(t *testing.T) {
		wantReason(t, v, sign(t, "RS256", `{"alg":"RS256"}`, goodPayload), policydata.ReasonBadToken)
	})
	t.Run("kid chooses", func(t *testing.T) {
		wantReason(t, v, sign(t, "RS256", `{"alg":"RS256","kid":"b"}`, goodPayload), policydata.ReasonAllowed)
	})
	issuer.Keys = []policydata.Key{publicKey("", "RS256")}
	v = newVerifier(t, issuer)
	t.Run("a key without id has no empty id", func(t *testing.T) {
		wantReason(t, v, sign(t, "RS256", `{"alg":"RS256","kid":""}`, goodPayload), policydata.ReasonBadToken)
	})
	issuer.Keys = nil
	v = newVerifier(t, issuer, otherIssuer())
	t.Run("issuer without keys", func(t *testing.T) {
		wantReason(t, v, sign(t, "RS256", headerRS256, goodPayload), policydata.ReasonBadToken)
	})
	t.Run("it stops no other issuer", func(t *testing.T) {
		wantReason(t, v, sign(t, "ES256", headerES256, strings.Replace(goodPayload, "idp.", "other.", 1)), policydata.ReasonAllowed)
	})
	t.Run("the key of another issuer", func(t *testing.T) {
		v := newVerifier(t, testIssuer(), otherIssuer())
		payload := strings.Replace(goodPayload, "idp.", "other.", 1)
		wantReason(t, v, sign(t, "RS256", headerRS256, payload), policydata.ReasonBadToken)
	})
	t.Run("an ES key of another curve", func(t *testing.T) {
		issuer := testIssuer()
		key := publicKey("k", "ES384")
		key.Algorithm = ""
		issuer.Keys = []policydata.Key{key}
		wantReason(t, newVerifier(t, issuer), sign(t, "ES256", `{"alg":"ES256","kid":"k"}`, goodPayload), policydata.ReasonBadToken)
	})
}

func otherIssuer() policydata.Issuer {
	other := testIssuer()
	other.Name, other.Issuer = "other", "https://other.example.com"
	other.Keys = []policydata.Key{publicKey("e", "ES256")}
	return other
}

func TestVerifyClaims(t *testing.T) {
	const iss = `"iss":"https://idp.example.com",`
	const sub, aud, exp, iat = `"sub":"eric",`, `"aud":"api",`, `"exp":1800000300,`, `"iat":1800000000,`
	tests := []struct {
		name, payload string // without braces and last comma
		want          policydata.Reason
	}{
		{"least that is needed", iss + sub + aud + exp, policydata.ReasonAllowed},

		{"iss absent", sub + aud + exp, policydata.ReasonUnknownIssuer},
		{"iss null", `"iss":null,` + sub + aud + exp, policydata.ReasonUnknownIssuer},
		{"iss in an array", `"iss":["https://idp.example.com"],` + sub + aud + exp, policydata.ReasonUnknownIssuer},
		{"iss with a slash", `"iss":"https://idp.example.com/",` + sub + aud + exp, policydata.ReasonUnknownIssuer},
		{"iss in another case", `"iss":"https://IDP.example.com",` + sub + aud + exp, policydata.ReasonUnknownIssuer},
		{"iss empty", `"iss":"",` + sub + aud + exp, policydata.ReasonUnknownIssuer},
		{"iss under another case of the name", `"ISS":"https://idp.example.com",` + sub + aud + exp, policydata.ReasonUnknownIssuer},
		{"iss escaped is the same", `"iss":"https:\/\/idp.example.com",` + sub + aud + exp, policydata.ReasonAllowed},

		{"exp absent", iss + sub + aud + iat, policydata.ReasonExpired},
		{"exp null", iss + sub + aud + `"exp":null,`, policydata.ReasonBadToken},
		{"exp a string", iss + sub + aud + `"exp":"1800000300",`, policydata.ReasonBadToken},
		{"exp negative", iss + sub + aud + `"exp":-1,`, policydata.ReasonBadToken},
		{"exp zero", iss + sub + aud + `"exp":0,`, policydata.ReasonExpired},
		{"exp minus zero", iss + sub + aud + `"exp":-0,`, policydata.ReasonExpired},
		{"exp infinite", iss + sub + aud + `"exp":1e400,`, policydata.ReasonBadToken},
		{"exp huge", iss + sub + aud + `"exp":9223372036854775807,`, policydata.ReasonBadToken},
		{"exp above 64 bits", iss + sub + aud + `"exp":18446744073709551616,`, policydata.ReasonBadToken},
		{"exp in milliseconds", iss + sub + aud + `"exp":1800000300000,`, policydata.ReasonBadToken},
		{"exp in exponent form", iss + sub + aud + `"exp":1.8000003e9,`, policydata.ReasonAllowed},
		{"exp last second", iss + sub + aud + `"exp":1799999971,`, policydata.ReasonAllowed},
		{"exp reached, with skew", iss + sub + aud + `"exp":1799999970,`, policydata.ReasonExpired},
		{"exp fraction is cut", iss + sub + aud + `"exp":1799999970.9,`, policydata.ReasonExpired},
		{"exp under another case of the name", iss + sub + aud + `"EXP":1800000300,`, policydata.ReasonExpired},

		{"nbf within skew", iss + sub + aud + exp + `"nbf":1800000030,`, policydata.ReasonAllowed},
		{"nbf later", iss + sub + aud + exp + `"nbf":1800000031,`, policydata.ReasonNotYetValid},
		{"nbf a fraction later", iss + sub + aud + exp + `"nbf":1800000030.5,`, policydata.ReasonNotYetValid},
		{"nbf a string", iss + sub + aud + exp + `"nbf":"0",`, policydata.ReasonBadToken},
		{"nbf infinite", iss + sub + aud + exp + `"nbf":1e999,`, policydata.ReasonBadToken},
		{"nbf null", iss + sub + aud + exp + `"nbf":null,`, policydata.ReasonBadToken},
		{"iat within skew", iss + sub + aud + exp + `"iat":1800000030,`, policydata.ReasonAllowed},
		{"iat later", iss + sub + aud + exp + `"iat":1800000031,`, policydata.ReasonNotYetValid},
		{"iat a bool", iss + sub + aud + exp + `"iat":true,`, policydata.ReasonBadToken},

		{"aud absent", iss + sub + exp, policydata.ReasonBadAudience},
		{"aud other", iss + sub + `"aud":"x",` + exp, policydata.ReasonBadAudience},
		{"aud in another case", iss + sub + `"aud":"API",` + exp, policydata.ReasonBadAudience},
		{"aud a part of it", iss + sub + `"aud":"api other-api",` + exp, policydata.ReasonBadAudience},
		{"aud empty array", iss + sub + `"aud":[],` + exp, policydata.ReasonBadAudience},
		{"aud array without a match", iss + sub + `"aud":["x","y"],` + exp, policydata.ReasonBadAudience},
		{"aud array with a match", iss + sub + `"aud":["x","other-api"],` + exp, policydata.ReasonAllowed},
		{"aud array with a number behind the match", iss + sub + `"aud":["api",1],` + exp, policydata.ReasonBadToken},
		{"aud nested array", iss + sub + `"aud":[["api"]],` + exp, policydata.ReasonBadToken},
		{"aud a number", iss + sub + `"aud":1,` + exp, policydata.ReasonBadToken},
		{"aud an object", iss + sub + `"aud":{"api":"api"},` + exp, policydata.ReasonBadToken},
		{"aud null", iss + sub + `"aud":null,` + exp, policydata.ReasonBadToken},

		{"lifetime as long as allowed", iss + sub + aud + iat + `"exp":1800003600,`, policydata.ReasonAllowed},
		{"lifetime too long", iss + sub + aud + iat + `"exp":1800003601,`, policydata.ReasonBadToken},
		{"lifetime too long by a fraction", iss + sub + aud + iat + `"exp":1800003600.5,`, policydata.ReasonBadToken},
		{"lifetime too long, near its end", iss + sub + aud + `"iat":1799000000,` + exp, policydata.ReasonBadToken},
		{"lifetime without iat is what is left", iss + sub + aud + `"exp":1800003601,`, policydata.ReasonBadToken},

		{"user name absent", iss + aud + exp, policydata.ReasonBadToken},
		{"user name empty", iss + `"sub":"",` + aud + exp, policydata.ReasonBadToken},
		{"user name of the system", iss + `"sub":"system:admin",` + aud + exp, policydata.ReasonBadToken},
	}
	v := newVerifier(t, testIssuer())
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			payload := "{" + strings.TrimSuffix(test.payload, ",") + "}"
			wantReason(t, v, sign(t, "ES256", headerES256, payload), test.want)
		})
	}
}

// TestVerifyOrder breaks a good token in one place after the other, the last
// check first: always the first check that fails must be the one reported.
func TestVerifyOrder(t *testing.T) {
	v := newVerifier(t, testIssuer())
	claims := map[string]string{
		"iss": `"https://idp.example.com"`, "sub": `"eric"`, "aud": `"api"`, "iat": "1799999990", "exp": "1800000300",
	}
	header, signature, trailer := headerRS256, "", ""
	steps := []struct {
		want     policydata.Reason
		breakOne func()
	}{
		{policydata.ReasonAllowed, func() {}},
		{policydata.ReasonBadToken, func() { claims["sub"] = "1" }},
		{policydata.ReasonBadAudience, func() { claims["aud"] = `"x"` }},
		{policydata.ReasonNotYetValid, func() { claims["nbf"] = "1900000000" }},
		{policydata.ReasonExpired, func() { claims["exp"] = "1700000000" }},
		{policydata.ReasonBadSignature, func() { signature = encode(strings.Repeat("x", 256)) }},
		{policydata.ReasonBadToken, func() { header = `{"alg":"RS256","kid":"x"}` }},
		{policydata.ReasonUnknownIssuer, func() { claims["iss"] = `"x"` }},
		{policydata.ReasonBadToken, func() { trailer = "=" }},
	}
	for i, step := range steps {
		step.breakOne()
		t.Run(fmt.Sprint(i, " ", step.want), func(t *testing.T) {
			var members []string
			for name, value := range claims {
				members = append(members, `"`+name+`":`+value)
			}
			raw := sign(t, "RS256", header, "{"+strings.Join(members, ",")+"}")
			if signature != "" {
				raw = raw[:strings.LastIndexByte(raw, '.')+1] + signature
			}
			wantReason(t, v, raw+trailer, step.want)
		})
	}
}

// TestVerifyMangled changes a good token everywhere. Every change must be
// refused, also those that a lax base64 decoder would not see.
func TestVerifyMangled(t *testing.T) {
	v := newVerifier(t, testIssuer())
	for alg, header := range map[string]string{"RS256": headerRS256, "ES256": headerES256} {
		good := sign(t, alg, header, goodPayload)
		wantReason(t, v, good, policydata.ReasonAllowed)
		refused := func(change string, at int, raw string) {
			if _, _, reason := v.Verify(raw, now); reason == policydata.ReasonAllowed {
				t.Errorf("%s: %s at %d of %d is accepted", alg, change, at, len(good))
			}
		}
		for i := range good {
			refused("truncated", i, good[:i])
			refused("byte left out", i, good[:i]+good[i+1:])
			for bit := range 8 {
				refused("bit flipped", i, good[:i]+string([]byte{good[i] ^ 1<<bit})+good[i+1:])
			}
			for _, inserted := range []string{"A", "=", "\n", " ", ".", "\x00"} {
				refused("byte put in", i, good[:i]+inserted+good[i:])
			}
		}
	}
}

func TestVerifyMalformedECDSA(t *testing.T) {
	v := newVerifier(t, testIssuer())
	good := sign(t, "ES256", headerES256, goodPayload)
	cut := strings.LastIndexByte(good, '.') + 1
	rs := must(base64.RawURLEncoding.DecodeString(good[cut:]))
	zero := make([]byte, 32)
	ones := []byte(strings.Repeat("\xff", 32))
	join := func(parts ...[]byte) string {
		var all []byte
		for _, p := range parts {
			all = append(all, p...)
		}
		return good[:cut] + base64.RawURLEncoding.EncodeToString(all)
	}
	tests := map[string]string{
		"empty":             join(),
		"both zero":         join(zero, zero), // CVE-2022-21449
		"r zero":            join(zero, rs[32:]),
		"s zero":            join(rs[:32], zero),
		"r above the order": join(ones, rs[32:]),
		"s above the order": join(rs[:32], ones),
		"one byte more":     join(rs, zero[:1]),
		"zero in front":     join(zero[:1], rs),
		"r and s swapped":   join(rs[32:], rs[:32]),
	}
	for name, raw := range tests {
		t.Run(name, func(t *testing.T) { wantReason(t, v, raw, policydata.ReasonBadSignature) })
	}
}

func TestSignatureFunc(t *testing.T) {
	good := sign(t, "ES256", headerES256, goodPayload)
	cut := strings.LastIndexByte(good, '.')
	tests := []struct {
		name        string
		handled, ok bool
		want        policydata.Reason
	}{
		{"handled and good", true, true, policydata.ReasonAllowed},
		{"handled and bad", true, false, policydata.ReasonBadSignature},
		{"not handled: Go verifies", false, false, policydata.ReasonAllowed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			calls := 0
			v, err := token.NewVerifier([]policydata.Issuer{testIssuer()}, token.WithSignatureFunc(
				func(alg string, der []byte, input string, signature []byte) (bool, bool) {
					calls++
					if alg != "ES256" || string(der) != string(publicKey("e", "ES256").SPKI) || input != good[:cut] || len(signature) != 64 {
						t.Errorf("called with %s, %x, %s, %x", alg, der, input, signature)
					}
					return test.handled, test.ok
				}))
			if err != nil {
				t.Fatal(err)
			}
			wantReason(t, v, good, test.want)
			wantReason(t, v, good[:cut+1]+encode(strings.Repeat("\xff", 64)), policydata.ReasonBadSignature)
			if calls != 1 {
				t.Errorf("%d calls: a malformed signature must not get through", calls)
			}
		})
	}
}

func TestVerifySignature(t *testing.T) {
	keys := []policydata.Key{publicKey("r", "RS256"), publicKey("e", "ES256")}
	good := sign(t, "RS256", `{"alg":"RS256","kid":"r","typ":"x"}`, "\xff not JSON")
	bad := sign(t, "RS256", headerRS256, "x")
	bad = bad[:strings.IndexByte(bad, '.')] + "." + encode("y") + bad[strings.LastIndexByte(bad, '.'):]
	tests := []struct {
		name, jws  string
		keys       []policydata.Key
		algorithms []string
		want       policydata.Reason
	}{
		{"any payload", good, keys, token.Algorithms(), policydata.ReasonAllowed},
		{"empty payload", sign(t, "ES256", headerES256, ""), keys, token.Algorithms(), policydata.ReasonAllowed},
		{"other payload", bad, keys, token.Algorithms(), policydata.ReasonBadSignature},
		{"algorithm not allowed", good, keys, []string{"ES256"}, policydata.ReasonBadToken},
		{"no algorithm allowed", good, keys, nil, policydata.ReasonBadToken},
		{"no keys", good, nil, token.Algorithms(), policydata.ReasonBadToken},
		{"a bad key", good, append(keys, policydata.Key{}), token.Algorithms(), policydata.ReasonBadToken},
		{"stray bits", good[:len(good)-1] + "_", keys, token.Algorithms(), policydata.ReasonBadToken},
		{"crit", sign(t, "RS256", `{"alg":"RS256","kid":"r","crit":["b64"],"b64":false}`, "x"), keys, token.Algorithms(), policydata.ReasonBadToken},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := token.VerifySignature(test.jws, test.keys, test.algorithms); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
