package authorize_test

import (
	"flag"
	"testing"

	"sallyport/policydata"
	"sallyport/policydata/authorize"
	"sallyport/policydata/decidetest"
)

var decisions = flag.Int("decisions", 10_000, "how many random decisions are compared with the reference")

// From the bytes of a request and the claims of its token to the decision: the
// engine does as the reference does.
func TestAuthorizeAsReference(t *testing.T) {
	const requestsPerSet = 50
	signer, err := decidetest.NewSigner()
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[policydata.Reason]int{}
	var before *authorize.Engine
	for set := range uint64(max(1, *decisions/requestsPerSet)) {
		r := decidetest.NewRandom(2, set)
		src, now := r.Source(), 1_900_000_000+r.Int64N(200_000_000)
		signer.Trust(&src)
		e := engine(t, src, authorize.TokenSource{})
		e.CacheTokens(before)
		before = e
		for range requestsPerSet {
			m := r.Message(now)
			want, got := decidetest.Authorize(&src, &m, now), decidetest.VerdictOf(e.Authorize(requestOf(t, signer, &m), now))
			reasons[got.Reason]++
			if got.String() != want.String() {
				t.Fatalf("set %d, %+v:\ngot  %v\nwant %v\nsource %+v", set, m, got, want, src)
			}
		}
	}
	t.Log(reasons)
	for _, reason := range []policydata.Reason{
		policydata.ReasonAllowed, policydata.ReasonNoToken, policydata.ReasonUserDisabled, policydata.ReasonServiceDisabled,
		policydata.ReasonUnknownUser, policydata.ReasonDeniedByRule, policydata.ReasonConditionError, policydata.ReasonNoMatchingRule,
		policydata.ReasonServiceGate, policydata.ReasonBadPath, policydata.ReasonBadToken, policydata.ReasonUnknownIssuer,
		policydata.ReasonExpired, policydata.ReasonNotYetValid, policydata.ReasonBadAudience, policydata.ReasonRevoked,
	} {
		if reasons[reason] == 0 && *decisions >= 10_000 {
			t.Errorf("no random decision was %v: the test shows too little", reason)
		}
	}
}

func requestOf(t *testing.T, signer *decidetest.Signer, m *decidetest.Message) *authorize.Request {
	t.Helper()
	r := &authorize.Request{Method: m.Method, Target: m.Target, Authority: m.Authority, Headers: m.Headers}
	if m.Claims == "" {
		return r
	}
	signed, err := signer.Token(m.Claims)
	if err != nil {
		t.Fatal(err)
	}
	r.Headers = append(r.Headers[:len(r.Headers):len(r.Headers)], [2]string{"authorization", "Bearer " + signed})
	return r
}
