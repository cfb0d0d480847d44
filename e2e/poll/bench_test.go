package poll

import (
	"fmt"
	"os"
	"testing"
	"time"

	"sallyport/plugin/filtertest"
	"sallyport/policydata"
)

// large is a snapshot of 10,000 policies and 10,000 users.
func large(t testing.TB, f *filtertest.Fixture, n uint64) []byte {
	t.Helper()
	return f.Config(t, func(s *policydata.Source) {
		at(1, n)(s)
		for i := range 10_000 {
			policy, user := fmt.Sprintf("policy-%05d", i), fmt.Sprintf("user-%05d", i)
			s.Policies = append(s.Policies, policydata.Policy{Name: policy, Rules: []policydata.Rule{
				{Effect: policydata.EffectAllow, Methods: []string{"GET"}, Paths: []string{fmt.Sprintf("/teams/%d/{x}/%d/**", i, n%7)}},
			}})
			s.Users = append(s.Users, policydata.User{Name: user, Policies: []string{policy}})
		}
	}).Snapshot
}

func TestMemoryOfSwaps(t *testing.T) {
	swaps := 20
	if os.Getenv("SWAPS") != "" {
		_, _ = fmt.Sscan(os.Getenv("SWAPS"), &swaps)
	}
	fl := newFleet(t, 2, nil)
	sizes := func() (out []uint32) {
		for _, in := range fl.workers {
			out = append(out, in.MemorySize()>>10)
		}
		return out
	}
	files := [][]byte{large(t, fl.f, 7), large(t, fl.f, 8)}
	t.Logf("%d bytes, gzip %d", len(files[0]), len(zip(files[0])))
	for n := range swaps {
		fl.publish(large(t, fl.f, uint64(7+n)))
		begin := time.Now()
		fl.enforce(version(1, uint64(7+n)))
		if n < 5 || n%20 == 19 {
			t.Logf("swap %d after %v: %v kB", n, time.Since(begin), sizes())
		}
	}
}
