package recovery

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/e2e/edge"
)

var killRounds = flag.Int("kill.rounds", 5, "how often the host is killed while it writes and pushes")

const (
	clients = 4
	pace    = 10 * time.Millisecond // of a client, from request to request
)

// writer makes /flip/<n>/** the only path that is allowed, for one n after the
// other. Of each generation it knows which n that was.
type writer struct {
	t            *testing.T
	key, secret  string
	tried        int
	acknowledged atomic.Int64   // the last n that the host has confirmed
	flips        map[uint64]int // by generation
}

// call sends a request to the host of e, and decodes the answer.
func (w *writer) call(e *edge.Edge, method, path, body string, out any) error {
	r, err := http.NewRequest(method, "http://"+e.Host.HTTP+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.SetBasicAuth(w.key, w.secret)
	r.Close = true // the next host is another one
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		w.t.Errorf("%s %s: %d %s", method, path, answer.StatusCode, text)
	}
	return json.Unmarshal(text, out)
}

// write writes until the host does not answer any more.
func (w *writer) write(e *edge.Edge) {
	for {
		w.tried++
		var applied struct {
			Generation uint64 `json:",string"`
		}
		if w.call(e, http.MethodPost, "/api/v1/apply", allow(fmt.Sprint("/flip/", w.tried)), &applied) != nil {
			return
		}
		w.flips[applied.Generation] = w.tried
		w.acknowledged.Store(int64(w.tried))
	}
}

// review looks at what a kill has left: the last write that was confirmed, or the
// one whose confirmation was lost.
func (w *writer) review(e *edge.Edge) {
	w.t.Helper()
	var export struct {
		Generation uint64 `json:",string"`
		Documents  []struct {
			Kind string
			Spec struct{ Rules []struct{ Paths []string } }
		}
	}
	if err := w.call(e, http.MethodGet, "/api/v1/export", "", &export); err != nil {
		w.t.Fatal(err)
	}
	for _, doc := range export.Documents {
		for _, rule := range doc.Spec.Rules {
			for _, path := range rule.Paths {
				number, ok := strings.CutPrefix(path, "/flip/")
				if !ok {
					continue
				}
				n, err := strconv.Atoi(strings.TrimSuffix(number, "/**"))
				if err != nil || n != w.tried && n != int(w.acknowledged.Load()) {
					w.t.Fatalf("%s is allowed; %d was confirmed, and %d tried", path, w.acknowledged.Load(), w.tried)
				}
				w.flips[export.Generation] = n
				w.acknowledged.Store(int64(n))
			}
		}
	}
}

// load is clients of the proxy, each with one connection, and so with one worker.
type load struct {
	ended chan struct{}
	wait  sync.WaitGroup
	sent  atomic.Int64
}

func startLoad(t *testing.T, e *edge.Edge, allowed *atomic.Int64) *load {
	l := &load{ended: make(chan struct{})}
	for i := range clients {
		l.wait.Go(func() { l.run(t, e.Address, i, allowed) })
	}
	t.Cleanup(l.stop)
	return l
}

func (l *load) run(t *testing.T, address string, client int, allowed *atomic.Int64) {
	transport := &http.Transport{MaxConnsPerHost: 1}
	defer transport.CloseIdleConnections()
	http := http.Client{Transport: transport, Timeout: 10 * time.Second}
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for i := 0; ; i++ {
		select {
		case <-l.ended:
			return
		case <-ticker.C:
		}
		// What was allowed, is now, or may be next.
		n := max(0, allowed.Load()+rand.Int64N(4)-2)
		answer, err := http.Get(fmt.Sprintf("http://%s/flip/%d/%d/%d", address, n, client, i))
		if err != nil {
			t.Errorf("request %d of client %d: %v", i, client, err)
			continue
		}
		_, err = io.Copy(io.Discard, answer.Body)
		if err := errors.Join(err, answer.Body.Close()); err != nil {
			t.Errorf("request %d of client %d: %v", i, client, err)
		}
		l.sent.Add(1)
	}
}

func (l *load) stop() {
	select {
	case <-l.ended:
	default:
		close(l.ended)
	}
	l.wait.Wait()
}

// TestKilledAgainAndAgain kills the host at moments that nothing is in step with,
// while it writes and pushes and the proxy serves clients.
func TestKilledAgainAndAgain(t *testing.T) {
	e := edge.Start(t)
	w := &writer{t: t, flips: map[uint64]int{}}
	w.key, w.secret = e.Host.Credentials()
	e.Host.Apply(allow("/flip/0"))
	e.Await(t, get("/flip/0/x"), http.StatusOK)
	w.flips[e.Ask(t, get("/flip/0/x")).Generation] = 0

	l := startLoad(t, e, &w.acknowledged)
	rng := rand.New(rand.NewPCG(3, 4))
	for round := range *killRounds {
		enforced := e.Ask(t, get("/x")).Generation
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.write(e)
		}()
		// A proxy waits for longer from one attempt to the next.
		e.Envoy.Await(fmt.Sprintf("a push in round %d", round), patience, func() error {
			if got := e.Ask(t, get("/x")).Generation; got <= enforced {
				return fmt.Errorf("generation %d still", got)
			}
			return nil
		})
		time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond) // the moment
		e.Host.Kill()
		<-done
		back(t, e, e.Host.DataDir)
		w.review(e)
		if t.Failed() {
			return
		}
	}
	last := fmt.Sprintf("/flip/%d/x", w.acknowledged.Load())
	e.Await(t, get(last), http.StatusOK)
	l.stop()
	answers := readAnswers(t, e, int(l.sent.Load()))
	w.judge(answers)
	t.Logf("%d kills, %d generations written, %d answers by %d generations", *killRounds, len(w.flips), len(answers), seen(answers))
}

// answer is a request of a client as the proxy's log has it.
type answer struct {
	number, client, sequence int
	status                   int
	decision                 string
	generation               uint64
}

func readAnswers(t *testing.T, e *edge.Edge, atLeast int) (list []answer) {
	t.Helper()
	for _, line := range e.Envoy.AccessLog(atLeast) {
		var a answer
		path, _ := line["path"].(string)
		if n, err := fmt.Sscanf(path, "/flip/%d/%d/%d", &a.number, &a.client, &a.sequence); n != 3 || err != nil {
			continue // the test's own
		}
		status, _ := line["status"].(float64)
		a.status = int(status)
		var decision struct {
			Decision   string
			Generation uint64 `json:",string"`
		}
		state, _ := line["sallyport"].(string)
		if err := json.Unmarshal([]byte(state), &decision); err != nil {
			t.Fatalf("access log: %v in %v", err, line)
		}
		a.decision, a.generation = decision.Decision, decision.Generation
		list = append(list, a)
	}
	if len(list) == 0 {
		t.Fatal("no answers")
	}
	return list
}

// judge wants each answer to be right for the generation that it names, and
// generations never to go back.
func (w *writer) judge(answers []answer) {
	w.t.Helper()
	var last [clients]answer
	wrong := 0
	for _, a := range answers {
		allowed, known := w.flips[a.generation]
		right := a.status == http.StatusUnauthorized && a.decision == "deny"
		if a.number == allowed {
			right = a.status == http.StatusOK && a.decision == "allow"
		}
		before := &last[a.client]
		if !known || !right || a.sequence < before.sequence || a.generation < before.generation {
			if wrong++; wrong <= 10 {
				w.t.Errorf("%+v after generation %d, where %d is allowed (known: %v)", a, before.generation, allowed, known)
			}
		}
		*before = a
	}
	if wrong > 0 {
		w.t.Errorf("%d of %d answers are wrong", wrong, len(answers))
	}
}

// seen returns how many generations decided.
func seen(answers []answer) int {
	generations := map[uint64]bool{}
	for _, a := range answers {
		generations[a.generation] = true
	}
	return len(generations)
}
