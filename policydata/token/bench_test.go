package token_test

import (
	"strings"
	"testing"

	"sallyport/policydata"
	"sallyport/policydata/token"
)

func BenchmarkVerify(b *testing.B) {
	v := newVerifier(b, testIssuer())
	rs256 := sign(b, "RS256", headerRS256, goodPayload)
	cut := strings.LastIndexByte(rs256, '.') + 1
	cases := []struct {
		name, raw string
		want      policydata.Reason
	}{
		{"RS256", rs256, policydata.ReasonAllowed},
		{"ES256", sign(b, "ES256", headerES256, goodPayload), policydata.ReasonAllowed},
		{"no token at all", "garbage", policydata.ReasonBadToken},
		{"unknown issuer", sign(b, "RS256", headerRS256, `{"iss":"x"}`), policydata.ReasonUnknownIssuer},
		{"unknown kid", sign(b, "RS256", `{"alg":"RS256","kid":"x"}`, goodPayload), policydata.ReasonBadToken},
		{"signature of a wrong length", rs256[:cut] + "AAAA", policydata.ReasonBadSignature},
		{"16 KiB of names", encode("{}") + "." + encode(manyNames(12000)) + ".", policydata.ReasonUnknownIssuer},
	}
	for _, c := range cases {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, reason := v.Verify(c.raw, now); reason != c.want {
					b.Fatal(reason)
				}
			}
		})
	}
	b.Run("all but the signature", func(b *testing.B) { benchmarkWithoutSignature(b, rs256) })
}

// manyNames returns an object of about size bytes with as many names as fit.
func manyNames(size int) string {
	var text strings.Builder
	text.WriteByte('{')
	for c1 := '!'; text.Len() < size; c1++ {
		for c2 := '0'; c2 < '0'+40 && text.Len() < size; c2++ {
			if c1 == '"' || c1 == '\\' || c2 == '\\' {
				continue
			}
			text.WriteString(`"` + string(c1) + string(c2) + `":0,`)
		}
	}
	return strings.TrimSuffix(text.String(), ",") + "}"
}

func benchmarkWithoutSignature(b *testing.B, raw string) {
	v, err := token.NewVerifier([]policydata.Issuer{testIssuer()}, token.WithSignatureFunc(
		func(string, []byte, string, []byte) (bool, bool) { return true, true }))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, reason := v.Verify(raw, now); reason != policydata.ReasonAllowed {
			b.Fatal(reason)
		}
	}
}
