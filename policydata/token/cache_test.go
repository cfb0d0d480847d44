package token_test

import (
	"fmt"
	"strings"
	"testing"

	"sallyport/policydata"
	"sallyport/policydata/token"
)

// counting returns a verifier that counts how often a signature is verified.
func counting(t testing.TB, issuers ...policydata.Issuer) (*token.Verifier, *int) {
	t.Helper()
	n := new(int)
	v, err := token.NewVerifier(issuers, token.WithSignatureFunc(func(string, []byte, string, []byte) (handled, ok bool) {
		*n++
		return false, false // the library verifies
	}))
	if err != nil {
		t.Fatal(err)
	}
	return v, n
}

func TestCacheVerifiesATokenOnce(t *testing.T) {
	v, verified := counting(t, testIssuer())
	cache, raw := token.NewCache(), sign(t, "ES256", headerES256, goodPayload)
	first, _, _ := v.VerifyCached(cache, raw, now)
	for range 3 {
		again, claims, reason := v.VerifyCached(cache, raw, now+1)
		if reason != policydata.ReasonAllowed || again.User != first.User || again.Groups[0] != "foo" || claims.Payload != goodPayload {
			t.Fatalf("got %v, %+v", reason, again)
		}
	}
	if *verified != 1 || cache.Len() != 1 {
		t.Errorf("%d verifications, %d entries", *verified, cache.Len())
	}
}

func TestCachedTokenExpires(t *testing.T) {
	v, _ := counting(t, testIssuer())
	cache, raw := token.NewCache(), sign(t, "ES256", headerES256, goodPayload)
	const end = 1800000300 + 30 // with the skew
	for _, step := range []struct {
		at   int64
		want policydata.Reason
	}{{now, policydata.ReasonAllowed}, {end - 1, policydata.ReasonAllowed}, {end, policydata.ReasonExpired}, {end + 1, policydata.ReasonExpired}} {
		if _, _, reason := v.VerifyCached(cache, raw, step.at); reason != step.want {
			t.Errorf("at %d: %v, want %v", step.at, reason, step.want)
		}
	}
	if cache.Len() != 0 {
		t.Error("the expired token is still there")
	}
}

func TestCachedTokenIsCheckedAnewWhenTheClockGoesBack(t *testing.T) {
	v, _ := counting(t, testIssuer())
	cache, raw := token.NewCache(), sign(t, "ES256", headerES256, goodPayload)
	v.VerifyCached(cache, raw, now)
	if _, _, reason := v.VerifyCached(cache, raw, now-1000); reason != policydata.ReasonNotYetValid {
		t.Errorf("got %v", reason)
	}
}

// A cache by signature, or by a part of the token, would let these pass.
func TestCacheRefusesWhatOnlyLooksLikeAGoodToken(t *testing.T) {
	v, _ := counting(t, testIssuer())
	cache, raw := token.NewCache(), sign(t, "RS256", headerRS256, goodPayload)
	v.VerifyCached(cache, raw, now)
	parts := strings.Split(raw, ".")
	for name, bad := range map[string]string{
		"another payload under the good signature": parts[0] + "." + encode(strings.Replace(goodPayload, "foo", "bar", 1)) + "." + parts[2],
		"another header under the good signature":  encode(strings.Replace(headerRS256, "JWT", "jwt", 1)) + "." + parts[1] + "." + parts[2],
		"another signature":                        parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])),
		"no signature":                             parts[0] + "." + parts[1] + ".",
		"a byte more":                              raw + "A",
	} {
		if _, _, reason := v.VerifyCached(cache, bad, now); reason == policydata.ReasonAllowed {
			t.Errorf("%s: allowed", name)
		}
	}
	if cache.Len() != 1 {
		t.Errorf("%d entries", cache.Len())
	}
}

func TestGarbageDoesNotPushOutGoodTokens(t *testing.T) {
	v, verified := counting(t, testIssuer())
	cache, raw := token.NewCache(), sign(t, "ES256", headerES256, goodPayload)
	v.VerifyCached(cache, raw, now)
	parts := strings.Split(raw, ".")
	for i := range 10000 {
		v.VerifyCached(cache, fmt.Sprintf("%s.%s%d.%s", parts[0], encode(`{"iss":"https://idp.example.com"}`), i, parts[2]), now)
	}
	*verified = 0
	v.VerifyCached(cache, raw, now)
	if *verified != 0 || cache.Len() != 1 {
		t.Errorf("%d verifications, %d entries", *verified, cache.Len())
	}
}

func TestCacheIsBoundedAndForgetsTheLeastUsed(t *testing.T) {
	v, err := token.NewVerifier([]policydata.Issuer{testIssuer()}, token.WithSignatureFunc(
		func(string, []byte, string, []byte) (handled, ok bool) { return true, true }))
	if err != nil {
		t.Fatal(err)
	}
	cache, raw := token.NewCache(), sign(t, "RS256", headerRS256, goodPayload)
	parts := strings.Split(raw, ".")
	nth := func(i int) string {
		return parts[0] + "." + encode(strings.Replace(goodPayload, `"eric"`, fmt.Sprintf(`"eric-%d"`, i), 1)) + "." + parts[2]
	}
	for i := range 10000 {
		if _, _, reason := v.VerifyCached(cache, nth(i), now); reason != policydata.ReasonAllowed {
			t.Fatal(reason)
		}
		if _, _, reason := v.VerifyCached(cache, raw, now); reason != policydata.ReasonAllowed { // always in use
			t.Fatal(reason)
		}
	}
	if cache.Len() < 1000 || cache.Len() > 4096 {
		t.Errorf("%d entries", cache.Len())
	}
	cached := cache.Len()
	v.VerifyCached(cache, raw, now)
	v.VerifyCached(cache, nth(9999), now)
	if cache.Len() != cached {
		t.Error("what was used last is gone")
	}
}

// A group takes more room in the cache than in a token.
func TestCacheCountsGroups(t *testing.T) {
	v, err := token.NewVerifier([]policydata.Issuer{testIssuer()}, token.WithSignatureFunc(
		func(string, []byte, string, []byte) (handled, ok bool) { return true, true }))
	if err != nil {
		t.Fatal(err)
	}
	var groups strings.Builder
	for i := range token.MaxMapped {
		fmt.Fprintf(&groups, " %x", i)
	}
	cache, parts := token.NewCache(), strings.Split(sign(t, "RS256", headerRS256, goodPayload), ".")
	for i := range 500 {
		payload := strings.NewReplacer(`"eric"`, fmt.Sprintf(`"eric-%d"`, i), `["foo"]`, `"`+groups.String()+`"`).Replace(goodPayload)
		id, _, reason := v.VerifyCached(cache, parts[0]+"."+encode(payload)+"."+parts[2], now)
		if reason != policydata.ReasonAllowed || len(id.Groups) != token.MaxMapped {
			t.Fatalf("%v, %d groups", reason, len(id.Groups))
		}
	}
	if n := cache.Len(); n < 50 || n > (4<<20)/(token.MaxMapped*32) {
		t.Errorf("%d entries with %d groups each", n, token.MaxMapped)
	}
}

func TestKeepDropsTokensOfChangedIssuers(t *testing.T) {
	v, _ := counting(t, testIssuer(), otherIssuer())
	cache := token.NewCache()
	v.VerifyCached(cache, sign(t, "ES256", headerES256, goodPayload), now)
	cache.Keep(func(issuer string) bool { return issuer == "idp" })
	if cache.Len() != 1 {
		t.Errorf("%d entries", cache.Len())
	}
	cache.Keep(func(string) bool { return false })
	if cache.Len() != 0 {
		t.Errorf("%d entries", cache.Len())
	}
}

func BenchmarkVerifyCached(b *testing.B) {
	v, err := token.NewVerifier([]policydata.Issuer{testIssuer()})
	if err != nil {
		b.Fatal(err)
	}
	cache, raw := token.NewCache(), sign(b, "RS256", headerRS256, goodPayload)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, reason := v.VerifyCached(cache, raw, now); reason != policydata.ReasonAllowed {
			b.Fatal(reason)
		}
	}
}
