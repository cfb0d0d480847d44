package poll

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"sallyport/host/wasmhost"
	"sallyport/policydata/pluginconfig"
	"sallyport/policydata/pushapi"
)

// Workers whose snapshots come with the configuration report, too; what they
// refuse, and why, is in their reports, and is not when it does not matter any
// more.
func TestReportsOfConfigurations(t *testing.T) {
	fl := prepare(t)
	pushed := func(epoch, n uint64) func(*pluginconfig.Config) {
		return func(c *pluginconfig.Config) { c.Poll, c.Snapshot = false, generation(t, fl.f, epoch, n) }
	}
	in := fl.start(pushed(1, 7))
	first := fl.reported("the first", 1, func(r *report) bool { return r.Enforced == "1.7" && r.Push == "configuration" })[0]
	fl.decide(in)
	if err := in.Reconfigure(fl.config(pushed(1, 9))); err != nil {
		t.Fatal(err)
	}
	fl.decide(in)
	fl.decide(in)
	if err := in.Reconfigure(fl.config(pushed(1, 6))); err != nil {
		t.Fatal(err)
	}
	r := fl.reported("an older one", 1, func(r *report) bool { return r.Refused == "1.6" && strings.Contains(r.Reason, "older") })[0]
	if r.Enforced != "1.9" || r.Worker != first.Worker || r.Process != first.Process || r.Decisions["allowed"] != 3 || len(r.Decisions) != 1 {
		t.Errorf("%+v", r)
	}
	err := in.Reconfigure(fl.config(func(c *pluginconfig.Config) { *c = fl.f.ForeignConfig(t, false, at(1, 11)) }))
	if !errors.Is(err, wasmhost.ErrConfigRejected) {
		t.Fatal(err)
	}
	fl.reported("one that is refused whole", 1, func(r *report) bool {
		return r.Enforced == "1.9" && r.Refused == "1.11" && strings.Contains(r.Reason, "signature")
	})
	if err := in.Reconfigure(fl.config(pushed(1, 11))); err != nil {
		t.Fatal(err)
	}
	fl.reported("a newer one", 1, func(r *report) bool { return r.Enforced == "1.11" && r.Refused == "" && r.Reason == "" })
	if n := len(fl.asked()); n != 0 {
		t.Errorf("polled %d times", n)
	}
}

// Reports come again and again, one at a time, and with pauses where the host
// does not take them. It is logged once that it doesn't.
func TestReportsThatAreNotTaken(t *testing.T) {
	t.Parallel()
	fl := newFleet(t, 1, nil)
	fl.publish(generation(t, fl.f, 1, 7))
	fl.enforce("1.7")
	fl.reported("taken", 1, func(r *report) bool { return r.Enforced == "1.7" })
	count := func() int {
		fl.mu.Lock()
		defer fl.mu.Unlock()
		return len(fl.all)
	}
	more := func(n int) {
		t.Helper()
		before := count()
		fl.await("reports", func() error {
			if got := count() - before; got < n {
				fl.ahead.Add(int64(100 * time.Millisecond))
				return fmt.Errorf("%d", got)
			}
			return nil
		})
	}
	fl.ahead.Add(int64(6 * time.Second))
	more(1)
	for _, status := range []int{http.StatusUnauthorized, http.StatusTooManyRequests, http.StatusInternalServerError} {
		fl.set(func() { fl.accepting = status })
		fl.ahead.Add(int64(6 * time.Second))
		more(3)
	}
	fl.set(func() { fl.accepting = 0 })
	fl.ahead.Add(int64(6 * time.Second))
	fl.await("the log", func() error {
		if strings.Count(fl.log.String(), "takes reports again") != 1 {
			return errors.New("not yet")
		}
		return nil
	})
	if n := strings.Count(fl.log.String(), "does not take reports"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}

// Every hostcall fails in turn. What is in force stays, the VMs live, and all is
// well again when the call works again.
func TestHostcallsThatFail(t *testing.T) {
	t.Parallel()
	fl := newFleet(t, 2, nil)
	n := uint64(7)
	fl.publish(generation(t, fl.f, 1, n))
	fl.enforce(version(1, n))
	for _, name := range []string{
		"proxy_get_shared_data", "proxy_set_shared_data", "proxy_http_call", "proxy_get_header_map_pairs",
		"proxy_get_buffer_bytes", "proxy_set_tick_period_milliseconds", "proxy_set_effective_context",
		"proxy_increment_metric", "proxy_record_metric", "proxy_define_metric", "proxy_get_property",
		"proxy_log", "proxy_call_foreign_function",
	} {
		t.Run(name, func(t *testing.T) {
			fl.broken.Store(&name)
			n++
			fl.publish(generation(t, fl.f, 1, n))
			time.Sleep(300 * time.Millisecond)
			for _, in := range fl.workers {
				if in.Dead() != nil {
					t.Fatal(in.Dead())
				}
			}
			fl.broken.Store(nil)
			fl.ahead.Add(int64(2 * time.Minute)) // what did not verify is remembered for a minute
			t.Logf("in force after %v", fl.enforce(version(1, n)))
		})
	}
}

// So it does while a worker begins.
func TestHostcallsThatFailAtTheStart(t *testing.T) {
	t.Parallel()
	for name, starts := range map[string]bool{
		"proxy_get_shared_data": true, "proxy_set_shared_data": true, "proxy_http_call": true, "proxy_get_property": true,
		"proxy_set_effective_context": true, "proxy_set_tick_period_milliseconds": false, "proxy_define_metric": false,
		"proxy_get_buffer_bytes": false,
	} {
		t.Run(name, func(t *testing.T) {
			fl := prepare(t)
			fl.publish(generation(t, fl.f, 1, 7))
			fl.broken.Store(&name)
			in, err := fl.module.NewInstance(t.Context(), fl.config(nil))
			if (err == nil) != starts {
				t.Fatal(err)
			}
			if err != nil {
				return
			}
			fl.workers = append(fl.workers, in)
			time.Sleep(50 * time.Millisecond)
			fl.broken.Store(nil)
			fl.enforce("1.7")
		})
	}
}

// A request that waits for a key goes on when a poll brings it, also where its
// plugin has got another configuration meanwhile.
func TestRequestThatWaitsForAKey(t *testing.T) {
	for _, configured := range []bool{false, true} {
		t.Run(fmt.Sprintf("configured anew: %t", configured), func(t *testing.T) {
			fl := prepare(t)
			r := fl.f.NewRotation(t)
			fl.server.Config.Handler.(*http.ServeMux).HandleFunc("POST "+pushapi.KeysPath, func(w http.ResponseWriter, _ *http.Request) {
				if configured {
					if err := fl.workers[0].Reconfigure(fl.config(nil)); err != nil {
						t.Error(err)
					}
				}
				fl.publish(r.Config(t, 8, true).Snapshot)
				_, _ = w.Write([]byte(`{"version":"1.8"}`))
			})
			for range 2 {
				fl.start(nil)
			}
			fl.publish(r.Config(t, 7, false).Snapshot)
			fl.enforce("1.7")
			bearer := [2]string{"authorization", "Bearer " + r.Token(t, "next", nil)}
			got, err := fl.workers[0].Request(t.Context(), fl.f.Request("GET", "/workspaces/foo/x", bearer), true)
			if err != nil || got.Verdict != wasmhost.VerdictContinue {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}
