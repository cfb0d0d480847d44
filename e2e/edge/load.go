package edge

import (
	"net/http"
	"sync"
	"testing"
	"time"
)

// Load is clients that ask one request after the other.
type Load struct {
	stop   chan struct{}
	wait   sync.WaitGroup
	mu     sync.Mutex // guards result
	result Result
}

// Result is what the clients of a Load got.
type Result struct {
	Statuses map[int]int // how often
	Errors   []error     // requests without an answer
	Slowest  time.Duration
}

// Requests returns how many there were.
func (r *Result) Requests() int {
	n := len(r.Errors)
	for _, count := range r.Statuses {
		n += count
	}
	return n
}

// Load starts clients, each with connections of its own that it keeps. They ask
// for what next says, which several call at once. They end with the test.
func (e *Edge) Load(t testing.TB, clients int, next func() Request) *Load {
	l := &Load{stop: make(chan struct{}), result: Result{Statuses: make(map[int]int)}}
	for range clients {
		l.wait.Go(func() { l.run(e, next) })
	}
	t.Cleanup(func() { l.Stop() })
	return l
}

func (l *Load) run(e *Edge, next func() Request) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: requestTimeout}
	for {
		select {
		case <-l.stop:
			return
		default:
		}
		r, begun := next(), time.Now()
		status, err := e.do(client, r)
		l.add(status, err, time.Since(begun))
	}
}

func (l *Load) add(status int, err error, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.result.Errors = append(l.result.Errors, err)
		return
	}
	l.result.Statuses[status]++
	l.result.Slowest = max(l.result.Slowest, took)
}

// Requests returns how many requests were answered so far.
func (l *Load) Requests() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.result.Requests()
}

// Stop ends the clients and returns what they got. It may be called again.
func (l *Load) Stop() Result {
	l.mu.Lock()
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.mu.Unlock()
	l.wait.Wait()
	return l.result
}
