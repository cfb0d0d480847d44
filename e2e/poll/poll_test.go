package poll

import (
	"testing"
	"time"

	"sallyport/policydata/pushapi"
)

func TestUpdates(t *testing.T) {
	fl := newFleet(t, 3, nil)
	fl.keep("0.0", 100*time.Millisecond)
	fl.publish(generation(t, fl.f, 1, 7))
	t.Logf("the first snapshot after %v", fl.enforce("1.7"))
	for n := uint64(8); n < 12; n++ {
		fl.publish(generation(t, fl.f, 1, n))
		t.Logf("the next after %v", fl.enforce(pushapi.Version{Epoch: 1, Generation: n}.String()))
	}
	if polled, shared := fl.metric("snapshots_polled"), fl.metric("snapshots_shared"); polled != 5 || shared != 10 {
		t.Errorf("%d snapshots from the host and %d from shared data, want 5 and 10", polled, shared)
	}
	for _, r := range fl.asked() {
		if r.Header.Get("Authorization") != "Bearer "+token {
			t.Errorf("a poll without the token: %v", r.Header)
		}
	}
	workers := fl.reported("all", 3, func(r *report) bool { return r.Enforced == "1.11" })
	for _, r := range workers {
		if r.Instance != "edge-1" || r.Plugin != "sallyport" || r.Push != "poll" || r.Process != workers[0].Process || len(r.Process) != 32 || r.Mark == "" {
			t.Errorf("%+v", r)
		}
	}
}
