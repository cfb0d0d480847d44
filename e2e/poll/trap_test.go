package poll

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"

	"sallyport/e2e/hosttest"
	"sallyport/plugin/filtertest"
	"sallyport/policydata/pluginconfig"
)

// A worker whose VM traps enforces what the others do as soon as it has a new one,
// though the host does not answer and the snapshot of its configuration is older.
// It is another worker then, and the one before is not heard of again. Requests to
// the other worker don't notice.
func TestWorkerThatTraps(t *testing.T) {
	e := newEdgeOf(t, hosttest.TrapModule(t), false, func(f *filtertest.Fixture, c *pluginconfig.Config) {
		c.Snapshot = generation(t, f, 1, 6) // 401 for what 1.9 lets pass
	})
	e.publish(generation(t, e.f, 1, 9))
	e.answers(http.StatusOK)
	before := workersOf(e.enforced("1.9"))
	back := make(chan struct{})
	e.host.answers(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-back:
		case <-r.Context().Done():
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	e.watchTrap()

	after := map[string]bool{}
	e.await("the new worker's reports", func() error {
		e.set(func() { clear(e.reports) }) // a report may have been on its way
		after = workersOf(e.enforced("1.9"))
		if fresh := countFresh(after, before); len(after) != workers || fresh != 1 {
			return fmt.Errorf("%d workers report, %d of them new", len(after), fresh)
		}
		return nil
	})
	close(back)
	e.host.answers(nil)
	e.publish(generation(t, e.f, 1, 11))
	if again := workersOf(e.enforced("1.11")); countFresh(again, after) != 0 {
		t.Errorf("workers %v, and before %v", again, after)
	}
}

func workersOf(reports []report) map[string]bool {
	all := map[string]bool{}
	for _, r := range reports {
		all[r.Worker] = true
	}
	return all
}

func countFresh(all, before map[string]bool) (n int) {
	for id := range all {
		if !before[id] {
			n++
		}
	}
	return n
}

// watchTrap ends a worker's VM, and asks on connections of which each stays with
// a worker: those with this one get 503 until it enforces 1.9, and nothing by what
// it began with; the others get 200 at all times.
func (e *edge) watchTrap() {
	e.t.Helper()
	const connections = 16 // so many that hardly all are with one of two workers
	var clients [connections]*http.Client
	for i := range clients {
		transport := &http.Transport{MaxConnsPerHost: 1}
		e.t.Cleanup(transport.CloseIdleConnections)
		clients[i] = &http.Client{Transport: transport, Timeout: e.client.Timeout}
		if got := e.ask(clients[i], ""); got != http.StatusOK {
			e.t.Fatalf("before the trap: status %d", got)
		}
	}
	if got := e.ask(&e.client, "panic"); got != http.StatusServiceUnavailable {
		e.t.Errorf("the request that traps: status %d", got)
	}
	var trapped [connections]bool
	closed, rounds := 0, 0
	e.await("the worker is back", func() error {
		rounds++
		open := true
		for i, c := range clients {
			switch got := e.ask(c, ""); {
			case got == http.StatusServiceUnavailable && (rounds == 1 || trapped[i]):
				if !trapped[i] {
					trapped[i] = true
					closed++
				}
				open = false
			case got != http.StatusOK:
				e.t.Fatalf("round %d: status %d, with the worker that trapped: %t", rounds, got, trapped[i])
			}
		}
		if !open {
			return errors.New("still closed")
		}
		return nil
	})
	e.t.Logf("%d of %d connections are with the worker that trapped; it was closed for %d rounds", closed, connections, rounds-1)
	if closed == 0 || closed == connections {
		e.t.Errorf("%d of %d connections are with the worker that trapped", closed, connections)
	}
}

// ask asks about /healthz, with a header that makes the worker trap.
func (e *edge) ask(c *http.Client, trap string) int {
	e.t.Helper()
	r, err := http.NewRequest(http.MethodGet, "http://"+e.Address("ingress")+"/healthz", nil)
	if err != nil {
		e.t.Fatal(err)
	}
	if trap != "" {
		r.Header.Set("x-trap", trap)
	}
	answer, err := c.Do(r)
	if err != nil {
		e.t.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		e.t.Fatal(err)
	}
	return answer.StatusCode
}
