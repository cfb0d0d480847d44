package token_test

import (
	"strings"
	"testing"

	"sallyport/policydata"
	"sallyport/policydata/token"
)

// A key is missed only by a token to which nothing else is lacking, as far as
// that can be seen without the key.
func TestMissingKey(t *testing.T) {
	fetched, inline := testIssuer(), otherIssuer()
	fetched.FetchedKeys = true
	v := newVerifier(t, fetched, inline)
	payload := func(member string) string { return `{` + member + `,` + goodPayload[1:] }
	without := func(member string) string { return strings.Replace(goodPayload, member, "", 1) }
	const unknown = `{"alg":"RS256","kid":"new"}`
	tests := []struct {
		name, header, payload string
		want                  bool
	}{
		{"a kid that no key has", unknown, goodPayload, true},
		{"of the longest", `{"alg":"ES256","kid":"` + strings.Repeat("k", token.MaxKeyIDBytes) + `"}`, goodPayload, true},
		{"too long", `{"alg":"ES256","kid":"` + strings.Repeat("k", token.MaxKeyIDBytes+1) + `"}`, goodPayload, false},
		{"a kid that a key has", headerRS256, goodPayload, false},
		{"of a key that does not fit", `{"alg":"ES256","kid":"r"}`, goodPayload, false},
		{"no kid", `{"alg":"PS256"}`, goodPayload, false},
		{"an empty kid", `{"alg":"RS256","kid":""}`, goodPayload, false},
		{"a kid that is no string", `{"alg":"RS256","kid":1}`, goodPayload, false},
		{"an algorithm that is not the issuer's", `{"alg":"RS512","kid":"new"}`, goodPayload, false},
		{"none", `{"alg":"none","kid":"new"}`, goodPayload, false},
		{"crit", `{"alg":"RS256","kid":"new","crit":["exp"]}`, goodPayload, false},
		{"typ", `{"alg":"RS256","kid":"new","typ":"dpop+jwt"}`, goodPayload, false},
		{"no JSON", unknown, "x", false},
		{"an issuer that is not known", unknown, strings.Replace(goodPayload, "idp.", "evil.", 1), false},
		{"an issuer whose keys are not fetched", unknown, strings.Replace(goodPayload, "idp.", "other.", 1), false},
		{"expired", unknown, strings.Replace(goodPayload, "1800000300", "1700000300", 1), false},
		{"no exp", unknown, without(`,"exp":1800000300`), false},
		{"not yet valid", unknown, payload(`"nbf":1900000000`), false},
		{"another audience", unknown, strings.Replace(goodPayload, `"api"`, `"x"`, 1), false},
		{"too long a lifetime", unknown, strings.Replace(goodPayload, "1800000300", "1800009999", 1), false},
		{"no user name", unknown, without(`"sub":"eric",`), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			raw := sign(t, "RS256", tt.header, tt.payload)
			iss, kid, ok := v.MissingKey(raw, now)
			if ok != tt.want || ok != (kid != "") || ok && (iss != fetched.Issuer || !strings.Contains(tt.header, `"`+kid+`"`)) {
				t.Errorf("got %q of %q, %t", kid, iss, ok)
			}
			if _, _, reason := v.Verify(raw, now); ok && reason != policydata.ReasonBadToken {
				t.Errorf("the token is %v", reason)
			}
		})
	}
	for _, raw := range []string{"", ".", "..", "a.b.c", strings.Repeat("a", token.MaxTokenBytes+1)} {
		if _, _, ok := v.MissingKey(raw, now); ok {
			t.Errorf("%.20q misses a key", raw)
		}
	}
}
