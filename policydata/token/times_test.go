package token_test

import (
	"fmt"
	"testing"

	"sallyport/policydata"
)

// The times of a token at their edges: a second before, at, and a second after
// the one that decides, with a clock skew and without. RFC 7519 section 4.1.4:
// at "exp" the token is over; 4.1.5: at "nbf" it has begun.
func TestTimesAtTheirEdges(t *testing.T) {
	const allowed, expired, early = policydata.ReasonAllowed, policydata.ReasonExpired, policydata.ReasonNotYetValid
	for _, skew := range []int64{0, 30, policydata.MaxClockSkew} {
		issuer := testIssuer()
		issuer.ClockSkew = skew
		issuer.MaxTokenLifetime = 2 * policydata.MaxClockSkew
		v := newVerifier(t, issuer)
		for _, tt := range []struct {
			claim  string
			edge   int64 // of the claim, at which a good token turns
			before policydata.Reason
			at     policydata.Reason
			after  policydata.Reason
		}{
			{"exp", now - skew, expired, expired, allowed},
			{"nbf", now + skew, allowed, allowed, early},
			{"iat", now + skew, allowed, allowed, early},
		} {
			for i, want := range []policydata.Reason{tt.before, tt.at, tt.after} {
				value := tt.edge + int64(i) - 1
				t.Run(fmt.Sprintf("skew %d, %s %+d", skew, tt.claim, value-now), func(t *testing.T) {
					times := map[string]int64{"exp": now + 300 + skew, tt.claim: value}
					payload := `{"iss":"https://idp.example.com","sub":"eric","aud":"api"`
					for name, seconds := range times {
						payload += fmt.Sprintf(`,%q:%d`, name, seconds)
					}
					wantReason(t, v, sign(t, "ES256", headerES256, payload+"}"), want)
				})
			}
		}
		// What the cache is told is the same edge.
		_, claims, reason := v.Verify(sign(t, "ES256", headerES256, goodPayload), now)
		if reason != allowed || claims.Expires != 1_800_000_300+skew {
			t.Errorf("skew %d: %v until %d", skew, reason, claims.Expires)
		}
		for at, want := range map[int64]policydata.Reason{claims.Expires - 1: allowed, claims.Expires: expired, claims.Expires + 1: expired} {
			if _, _, got := v.Verify(sign(t, "ES256", headerES256, goodPayload), at); got != want {
				t.Errorf("skew %d, %d seconds to the end: %v, want %v", skew, claims.Expires-at, got, want)
			}
		}
	}
}
