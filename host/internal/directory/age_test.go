package directory_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/store/mem"
)

const maxAge = 10 * time.Minute

func third(age time.Duration) time.Duration { return age / 3 }

// clocked is a directory whose clock is set by hand.
func clocked(t *testing.T, s *mem.Store) (*directory.Directory, *time.Time) {
	t.Helper()
	now := testTime
	d := directory.New(s, testChecks, func() time.Time { return now })
	if err := d.SetMaxAge(t.Context(), maxAge); err != nil {
		t.Fatal(err)
	}
	return d, &now
}

func TestRenewing(t *testing.T) {
	for name, tt := range map[string]struct {
		clock time.Duration // what it shows then, from the last commit on
		want  bool
	}{
		"at once":                       {0, false},
		"before it is due":              {maxAge/3 - time.Second, false},
		"when it is due":                {maxAge / 3, true},
		"after an outage":               {24 * time.Hour, true},
		"the clock goes back a little":  {-time.Minute, false},
		"the clock goes back much":      {-time.Hour, true},
		"the clock goes back years":     {-20 * 365 * 24 * time.Hour, true},
		"the clock goes forward, years": {20 * 365 * 24 * time.Hour, true},
	} {
		t.Run(name, func(t *testing.T) {
			d, now := clocked(t, mem.New())
			before := load(t, d)
			*now = testTime.Add(tt.clock)
			for i, want := range []bool{tt.want, false} {
				got, err := d.Renew(t.Context(), third)
				if got != want || err != nil {
					t.Errorf("time %d: got %v, %v; want %v", i, got, err, want)
				}
			}
			after := load(t, d)
			want := before
			if tt.want {
				want.Generation, want.Created = before.Generation+1, *now
			}
			if diff := cmp.Diff(want, after); diff != "" {
				t.Errorf("after it (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAClockThatJumpsAndComesBack: neither leaves an expiry in force that is of
// the wrong time.
func TestAClockThatJumpsAndComesBack(t *testing.T) {
	for name, jump := range map[string]time.Duration{"forward": 365 * 24 * time.Hour, "back": -365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			d, now := clocked(t, mem.New())
			*now = testTime.Add(jump)
			apply(t, d, "kind: User\nmetadata: {name: u}") // any write, at the wrong time
			*now = testTime.Add(time.Minute)
			if renewed, err := d.Renew(t.Context(), third); !renewed || err != nil {
				t.Fatalf("got %v, %v", renewed, err)
			}
			if got := load(t, d); !got.Created.Equal(*now) || got.MaxAge != maxAge {
				t.Errorf("created %s, maximum age %s", got.Created, got.MaxAge)
			}
		})
	}
}

func TestTheMaximumAgeIsCommitted(t *testing.T) {
	s := mem.New()
	d, _ := clocked(t, s)
	if err := d.SetMaxAge(t.Context(), maxAge); err != nil || load(t, d).Generation != 1 {
		t.Errorf("setting it again: %v, generation %d", err, load(t, d).Generation)
	}
	other := reopen(s) // a host that was started with nothing, or a restoration
	apply(t, other, library)
	if got := load(t, other); got.MaxAge != maxAge {
		t.Errorf("after a write: %s", got.MaxAge)
	}
	if _, err := other.BeginEpoch(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if got := load(t, other); got.MaxAge != maxAge {
		t.Errorf("after a restoration: %s", got.MaxAge)
	}
	if err := other.SetMaxAge(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if renewed, err := other.Renew(t.Context(), func(time.Duration) time.Duration { return 0 }); renewed || err != nil {
		t.Errorf("without a maximum age: renewed %v, %v", renewed, err)
	}
	if got := load(t, reopen(s)); got.MaxAge != 0 || got.Generation != 4 {
		t.Errorf("after taking it off: %s, generation %d", got.MaxAge, got.Generation)
	}
}

func TestRenewalsHaveNoRecordsAndTheAgeHas(t *testing.T) {
	d, now := clocked(t, mem.New())
	for range 5 {
		*now = now.Add(maxAge)
		if renewed, err := d.Renew(t.Context(), third); !renewed || err != nil {
			t.Fatalf("got %v, %v", renewed, err)
		}
	}
	apply(t, d, "kind: User\nmetadata: {name: u}")
	if err := d.SetMaxAge(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`1.1 serve maxAgeSet    -> {"maxAge":"10m0s"}`,
		`7.2 host created User u  -> {"spec":{}}`,
		`8.3 serve maxAgeSet   {"maxAge":"10m0s"} -> `,
	}
	if diff := cmp.Diff(want, lines(audit(t, d, directory.AuditQuery{Oldest: true}))); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	rollback(t, d, directory.Rollback{To: 6}) // a renewal
	if got := load(t, d); len(got.State.Users) != 0 || got.MaxAge != 0 {
		t.Errorf("after a rollback to a renewal: %+v", got)
	}
}

// TestHostsRenewOnce: several hosts on one store see that one of them was first.
func TestHostsRenewOnce(t *testing.T) {
	s := mem.New()
	clocked(t, s)
	later := directory.New(s, testChecks, func() time.Time { return testTime.Add(maxAge / 2) })
	var renewals atomic.Int32
	var hosts sync.WaitGroup
	for range 8 {
		hosts.Go(func() {
			d := directory.New(s, testChecks, func() time.Time { return testTime.Add(maxAge / 2) })
			renewed, err := d.Renew(t.Context(), third)
			if err != nil {
				t.Error(err)
			}
			if renewed {
				renewals.Add(1)
			}
		})
	}
	hosts.Wait()
	if n := renewals.Load(); n != 1 || load(t, later).Generation != 2 {
		t.Errorf("%d renewals, generation %d", n, load(t, later).Generation)
	}
}

// Between looking and committing another host may have been faster.
func TestAHostThatIsSecondDoesNotRenew(t *testing.T) {
	s := mem.New()
	clocked(t, s)
	clock := func() time.Time { return testTime.Add(maxAge / 2) }
	first, second := directory.New(s, testChecks, clock), directory.New(s, testChecks, clock)
	looks := 0
	renewed, err := second.Renew(t.Context(), func(age time.Duration) time.Duration {
		if looks++; looks == 1 {
			if was, err := first.Renew(t.Context(), third); !was || err != nil {
				t.Errorf("the first: %t, %v", was, err)
			}
		}
		return third(age)
	})
	if renewed || err != nil || load(t, first).Generation != 2 {
		t.Errorf("renewed: %t, %v, generation %d", renewed, err, load(t, first).Generation)
	}
}
