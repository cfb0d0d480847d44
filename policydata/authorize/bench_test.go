package authorize_test

import (
	"testing"

	"sallyport/policydata/authorize"
)

func TestAuthorizeDoesNotAllocateForATokenSeenBefore(t *testing.T) {
	e := engine(t, source(), authorize.TokenSource{})
	e.CacheTokens(nil)
	r := get("/private", bearer(sign(t, "kc", nil)))
	if n := testing.AllocsPerRun(100, func() { e.Authorize(r, now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAuthorize(b *testing.B) {
	r := get("/private", bearer(sign(b, "kc", nil)))
	for name, cached := range map[string]bool{"token_seen_before": true, "token_never_seen": false} {
		b.Run(name, func(b *testing.B) {
			e := engine(b, source(), authorize.TokenSource{})
			if cached {
				e.CacheTokens(nil)
			}
			b.ReportAllocs()
			for b.Loop() {
				e.Authorize(r, now)
			}
		})
	}
}
