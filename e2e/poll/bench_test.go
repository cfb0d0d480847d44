package poll

import (
	"fmt"
	"testing"

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

// BenchmarkSwaps puts large snapshots in force, one after the other, and says
// what the memory of the VMs comes to.
func BenchmarkSwaps(b *testing.B) {
	fl := newFleet(b, 2, nil)
	n := uint64(7)
	for b.Loop() {
		b.StopTimer()
		next := large(b, fl.f, n)
		b.StartTimer()
		fl.publish(next)
		fl.enforce(version(1, n))
		n++
	}
	for i, in := range fl.workers {
		b.ReportMetric(float64(in.MemorySize())/(1<<20), fmt.Sprintf("MB-of-worker-%d", i))
	}
}
