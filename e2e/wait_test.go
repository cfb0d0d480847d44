package e2e_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"sallyport/host/wasmhost"
	"sallyport/plugin/filtertest"
	"sallyport/policydata"
)

// waiting is the filter in wazero, under generation 7, and a host that pushes
// generation 8 before it answers the question for a key.
type waiting struct {
	host
	*filtertest.Rotation
	in     *wasmhost.Instance
	broken string // the hostcall that fails
}

func startWaiting(t *testing.T, withKey bool) *waiting {
	t.Helper()
	w := &waiting{Rotation: fixture().NewRotation(t)}
	before, after := w.Config(t, 7, false), w.Config(t, 8, withKey)
	keys := httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/keys" { // there is nothing to poll for
			http.NotFound(answer, r)
			return
		}
		var q struct{ Issuer, Kid, Version string }
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil || q.Issuer != w.Issuer() || q.Version != "1.7" {
			t.Errorf("question %+v: %v", q, err)
		}
		if q.Kid != "next" {
			http.Error(answer, "no such key", http.StatusNotFound)
			return
		}
		if err := w.in.Reconfigure(after.AppendBinary(nil)); err != nil {
			t.Error(err)
		}
		_, _ = answer.Write([]byte(`{"version":"1.8"}`))
	}))
	t.Cleanup(keys.Close)
	address, err := url.Parse(keys.URL)
	if err != nil {
		t.Fatal(err)
	}
	w.host = newHost(t.Context(), t, wasmhost.Options{
		Clusters: map[string]wasmhost.Cluster{filtertest.HostCluster: {URL: address}},
		Inject:   func(name string) (wasmhost.Status, bool) { return wasmhost.StatusInternalFailure, name == w.broken },
	})
	w.in = w.start(t, before.AppendBinary(nil))
	return w
}

func (w *waiting) request(kid string, t *testing.T) filtertest.Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := w.in.Request(ctx, fixture().Request("GET", "/workspaces/foo/x", [2]string{"authorization", "Bearer " + w.Token(t, kid, nil)}), true)
	if err != nil {
		t.Error(err)
		return filtertest.Outcome{}
	}
	out := filtertest.Outcome{Allowed: r.Verdict == wasmhost.VerdictContinue, Headers: r.Headers, FilterState: r.FilterState["wasm.sallyport"]}
	if r.Local != nil {
		out.Status = r.Local.Status
	}
	return out
}

func wantState(t *testing.T, got filtertest.Outcome, reason policydata.Reason, generation string) {
	t.Helper()
	step := filtertest.Step{Reason: reason, Generation: generation}
	step.Check(t, got)
	if got.Allowed == (got.Status != 0) || !got.Allowed && got.Status != reason.Status() {
		t.Errorf("status %d for %s", got.Status, reason)
	}
}

func TestFilterWaitsForAKey(t *testing.T) {
	t.Run("that comes", func(t *testing.T) {
		w := startWaiting(t, true)
		var clients sync.WaitGroup
		for range 8 {
			clients.Go(func() { wantState(t, w.request("next", t), policydata.ReasonAllowed, "8") })
		}
		clients.Wait()
		wantState(t, w.request("RS256", t), policydata.ReasonAllowed, "8")
	})
	t.Run("that there is none of", func(t *testing.T) {
		w := startWaiting(t, true)
		wantState(t, w.request("garbage", t), policydata.ReasonBadToken, "7")
		wantState(t, w.request("garbage", t), policydata.ReasonBadToken, "7")
	})
	t.Run("that was promised", func(t *testing.T) {
		w := startWaiting(t, false)
		wantState(t, w.request("next", t), policydata.ReasonBadToken, "8")
	})
}

// waitingPath are the hostcalls of a request that waits, with the status where
// each fails.
var waitingPath = map[string]int{
	"proxy_set_effective_context":        401,
	"proxy_set_tick_period_milliseconds": 401,
	"proxy_http_call":                    401,
	"proxy_get_header_map_pairs":         503,
	"proxy_set_property":                 503,
	"proxy_increment_metric":             503,
	"proxy_continue_stream":              503,
}

// Whatever call fails, a request that waits is not let go on, and does not take
// the VM down.
func TestFilterDeniesWhenAHostcallOfWaitingFails(t *testing.T) {
	for broken, status := range waitingPath {
		t.Run(broken, func(t *testing.T) {
			w := startWaiting(t, true)
			w.broken = broken
			if out := w.request("next", t); out.Allowed || out.Status != status {
				t.Errorf("%+v", out)
			}
			w.broken = ""
			if out := w.request("RS256", t); !out.Allowed {
				t.Errorf("the next request: %+v", out)
			}
		})
	}
}

// A client that goes away while its request waits leaves nothing behind.
func TestFilterForgetsWhoHasGone(t *testing.T) {
	w := startWaiting(t, true)
	w.broken = "proxy_http_call" // so that nothing comes; and then it works
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	headers := fixture().Request("GET", "/workspaces/foo/x", [2]string{"authorization", "Bearer " + w.Token(t, "next", nil)})
	if r, err := w.in.Request(ctx, headers, true); err == nil && r.Verdict == wasmhost.VerdictContinue {
		t.Error("it was let go on")
	}
	w.broken = ""
	wantState(t, w.request("RS256", t), policydata.ReasonAllowed, "7")
}
