package load

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"sallyport/e2e/edge"
	"sallyport/e2e/envoytest"
	"sallyport/e2e/hosttest"
)

// startFleet starts a host with a population, and proxies, each by its way.
func startFleet(t testing.TB, p plan, ways ...string) (*pusher, []*envoytest.Envoy) {
	t.Helper()
	h := &pusher{t: t, host: hosttest.Start(t, "", "--insecure-dev-issuer")}
	h.key, h.secret = h.host.Credentials()
	h.apply(population(p))
	upstream := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(upstream.Close)
	var fleet []*envoytest.Envoy
	for i, way := range ways {
		fleet = append(fleet, envoytest.Start(t, edge.Bootstrap(t, h.host, "--push", way,
			"--node-id", fmt.Sprintf("edge-%d", i), "--upstream", upstream.Listener.Addr().String())))
	}
	return h, fleet
}

// enforced writes once and returns how long "apply --wait" took, with its own
// start.
func (h *pusher) enforced(n int) time.Duration {
	h.t.Helper()
	begun := time.Now()
	h.host.Run(0, flipDocument(n), "apply", "-f", "-", "--wait", "60s")
	return time.Since(begun)
}

// TestApplyWaitsForProxiesOfBothWays: when the command ends, no worker decides by
// what was before.
func TestApplyWaitsForProxiesOfBothWays(t *testing.T) {
	h, fleet := startFleet(t, plan{policies: 10, users: 10, groups: 2}, ways...)
	h.enforced(0)
	token := h.token()
	for n := 1; n <= 5; n++ {
		h.enforced(n)
		for i, e := range fleet {
			for range 12 { // connections go to both workers
				for number, want := range map[int]int{n: 200, n - 1: 403} {
					if got, err := askOnce(e.Address("ingress"), number, token); err != nil || got != want {
						t.Fatalf("proxy %d: /flip/%d/x: %d %v, want %d", i, number, got, err, want)
					}
				}
			}
		}
	}
	var list struct {
		Results []struct {
			Instance, Enforced string
			Workers            []struct{ Enforced string }
		}
	}
	if err := json.Unmarshal([]byte(h.host.Run(0, "", "proxies", "-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	for _, p := range list.Results {
		if len(p.Workers) < 2 || slices.ContainsFunc(p.Workers, func(w struct{ Enforced string }) bool { return w.Enforced != p.Enforced }) {
			t.Errorf("%+v", p)
		}
	}
	if len(list.Results) != len(fleet) {
		t.Errorf("%d proxies are listed, and %d run", len(list.Results), len(fleet))
	}
}

// BenchmarkFiveEnvoys measures how long it takes until each worker of five
// proxies enforces a write.
func BenchmarkFiveEnvoys(b *testing.B) {
	for b.Loop() {
		h, fleet := startFleet(b, plan{policies: 10_000, users: 10_000, groups: 1000}, "ecds", "ecds", "poll", "poll", "poll")
		h.enforced(0)
		var took []time.Duration
		for n := 1; n <= 20; n++ {
			took = append(took, h.enforced(n))
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "ms-until-all-enforce-p50")
		b.ReportMetric(float64(took[len(took)-1].Milliseconds()), "ms-until-all-enforce-max")
		for i, e := range fleet {
			b.ReportMetric(float64(e.RSS()>>20), fmt.Sprintf("MB-proxy-%d", i))
		}
		b.ReportMetric(0, "ns/op")
	}
}
