package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/e2e/edge"
	"sallyport/e2e/hosttest"
)

// plan is how much of everything.
type plan struct {
	policies, users, groups int
	calm, pushing           time.Duration // without pushes, then with them
	every                   time.Duration // between pushes
	clients                 int
	pace                    time.Duration // of one client, from request to request
}

// ways are those by which snapshots reach a proxy.
var ways = []string{"ecds", "poll"}

// TestAnswersAreRightForTheirGeneration is the short form of the benchmark.
func TestAnswersAreRightForTheirGeneration(t *testing.T) {
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			r := run(t, way, plan{
				policies: 500, users: 500, groups: 50, calm: time.Second, pushing: 8 * time.Second,
				every: 500 * time.Millisecond, clients: 4, pace: 10 * time.Millisecond,
			})
			if len(r.pushes) < 8 || len(r.answers) < 100 {
				t.Errorf("%d pushes and %d answers: too few to mean anything", len(r.pushes), len(r.answers))
			}
		})
	}
}

// BenchmarkPushUnderLoad pushes once a second for two minutes, with 10,000
// policies and 10,000 users, and prints what that does to latency and memory.
func BenchmarkPushUnderLoad(b *testing.B) {
	for _, way := range ways {
		b.Run(way, func(b *testing.B) {
			for b.Loop() {
				r := run(b, way, plan{
					policies: 10_000, users: 10_000, groups: 1000, calm: 30 * time.Second, pushing: 2 * time.Minute,
					every: time.Second, clients: 8, pace: 40 * time.Millisecond,
				})
				r.report(b)
			}
		})
	}
}

// push is one that was committed.
type push struct {
	generation uint64
	allowed    int       // which /flip/<n> is allowed from this generation on
	committed  time.Time // when the host had answered
}

// sample is a request as its client saw it.
type sample struct {
	at   time.Time
	took time.Duration
}

// answer is a request as the proxy's log has it.
type answer struct {
	at         time.Time
	number     int // of /flip/<number>
	status     int
	allowed    bool
	generation uint64
}

type result struct {
	pushes        []push
	answers       []answer
	calm, pushing []time.Duration // sorted
	memory        []int64         // resident bytes of the proxy, along the pushes
	cpu           time.Duration   // of the proxy, while pushes went on
	took          time.Duration   // that time
}

// run pushes under load and fails the test if an answer was wrong.
func run(t testing.TB, way string, p plan) *result {
	e := edge.StartBy(t, way, "--insecure-dev-issuer")
	h := &pusher{t: t, host: e.Host}
	h.key, h.secret = e.Host.Credentials()
	h.apply(population(p))
	h.flip(0)
	token := h.token()
	e.Await(t, edge.Request{Method: http.MethodGet, Path: "/flip/0/x", Token: token}, http.StatusOK)

	r := &result{}
	load := start(t, e.Address, token, p, func() int { return h.allowed() })
	time.Sleep(p.calm)
	begun, cpu := time.Now(), e.Envoy.CPU()
	for i := 1; time.Since(begun) < p.pushing; i++ {
		h.flip(i)
		r.memory = append(r.memory, e.Envoy.RSS())
		time.Sleep(time.Until(begun.Add(time.Duration(i) * p.every)))
	}
	r.took, r.cpu = time.Since(begun), e.Envoy.CPU()-cpu
	samples := load.stop()
	r.pushes = h.pushes
	for _, s := range samples {
		if s.at.Before(begun) {
			r.calm = append(r.calm, s.took)
		} else {
			r.pushing = append(r.pushing, s.took)
		}
	}
	slices.Sort(r.calm)
	slices.Sort(r.pushing)
	r.answers = readAnswers(t, e, len(samples))
	r.judge(t)
	return r
}

// population is what a snapshot is made of; the load only asks for /flip.
func population(p plan) string {
	var out strings.Builder
	out.WriteString("apiVersion: sallyport/v1\nkind: Group\nmetadata: {name: \"system:authenticated\"}\nspec: {policies: [flip]}\n")
	out.WriteString("---\napiVersion: sallyport/v1\nkind: Policy\nmetadata: {name: flip}\nspec: {rules: [{effect: allow, methods: [GET], paths: [/flip/none]}]}\n")
	for i := range p.policies {
		fmt.Fprintf(&out, "---\napiVersion: sallyport/v1\nkind: Policy\nmetadata: {name: policy-%05d}\nspec: {rules: [{effect: allow, methods: [\"*\"], paths: [\"/workspaces/w%05d/{item}/**\"]}]}\n", i, i)
	}
	for i := range p.users {
		fmt.Fprintf(&out, "---\napiVersion: sallyport/v1\nkind: User\nmetadata: {name: user-%05d}\nspec: {policies: [policy-%05d]}\n", i, i%p.policies)
	}
	for i := range p.groups {
		fmt.Fprintf(&out, "---\napiVersion: sallyport/v1\nkind: Group\nmetadata: {name: group-%04d}\nspec: {members: [user-%05d], policies: [policy-%05d]}\n", i, i%p.users, i%p.policies)
	}
	return out.String()
}

// pusher writes to the host.
type pusher struct {
	t           testing.TB
	host        *hosttest.Host
	key, secret string
	current     atomic.Int64
	pushes      []push
}

// allowed returns which number was allowed last.
func (h *pusher) allowed() int { return int(h.current.Load()) }

// flip makes /flip/<n>/x the only path of its kind that is allowed, and adds a user
// in the middle of the others.
func (h *pusher) flip(n int) {
	generation := h.apply(flipDocument(n))
	h.pushes = append(h.pushes, push{generation, n, time.Now()})
	h.current.Store(int64(n))
}

func flipDocument(n int) string {
	return fmt.Sprintf(`
apiVersion: sallyport/v1
kind: Policy
metadata: {name: flip}
spec: {rules: [{effect: allow, methods: [GET], paths: ["/flip/%d/x"]}]}
---
apiVersion: sallyport/v1
kind: User
metadata: {name: user-00042-%d}
spec: {}
`, n, n)
}

// token returns a token of eric, of the development issuer.
func (h *pusher) token() string {
	return strings.TrimSpace(hosttest.Run(h.t, 0, "", "token", "mint", "--user", "eric", "--data-dir", h.host.DataDir))
}

// apply returns the generation of documents.
func (h *pusher) apply(documents string) uint64 {
	h.t.Helper()
	r, err := http.NewRequest(http.MethodPost, "http://"+h.host.HTTP+"/api/v1/apply", strings.NewReader(documents))
	if err != nil {
		h.t.Fatal(err)
	}
	r.SetBasicAuth(h.key, h.secret)
	r.Header.Set("Content-Type", "application/yaml")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		h.t.Fatalf("apply: %d %v %s", response.StatusCode, err, body[:min(len(body), 1000)])
	}
	var applied struct{ Generation string }
	if err := json.Unmarshal(body, &applied); err != nil {
		h.t.Fatal(err)
	}
	generation, err := strconv.ParseUint(applied.Generation, 10, 64)
	if err != nil {
		h.t.Fatal(err)
	}
	return generation
}

// clients ask at a steady pace, so that waiting for an answer makes nobody ask
// less.
type clients struct {
	t       testing.TB
	ended   chan struct{}
	wait    sync.WaitGroup
	mu      sync.Mutex
	samples []sample // guarded by mu
}

func start(t testing.TB, address, token string, p plan, allowed func() int) *clients {
	c := &clients{t: t, ended: make(chan struct{})}
	for i := range p.clients {
		c.wait.Go(func() { c.run(address, token, p.pace, time.Duration(i)*p.pace/time.Duration(p.clients), allowed) })
	}
	return c
}

func (c *clients) run(address, token string, pace, offset time.Duration, allowed func() int) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	time.Sleep(offset)
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for {
		select {
		case <-c.ended:
			return
		case <-ticker.C:
		}
		// What was allowed before, is now, and will be next.
		number := max(0, allowed()+rand.IntN(3)-1)
		begun := time.Now()
		status, err := ask(client, address, number, token)
		if err != nil || status != http.StatusOK && status != http.StatusForbidden {
			c.t.Errorf("/flip/%d/x: %d %v", number, status, err)
		}
		c.mu.Lock()
		c.samples = append(c.samples, sample{begun, time.Since(begun)})
		c.mu.Unlock()
	}
}

// askOnce asks on a connection of its own, which goes to either worker.
func askOnce(address string, number int, token string) (int, error) {
	transport := &http.Transport{DisableKeepAlives: true}
	return ask(&http.Client{Transport: transport, Timeout: 10 * time.Second}, address, number, token)
}

func ask(client *http.Client, address string, number int, token string) (int, error) {
	r, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://%s/flip/%d/x", address, number), nil)
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	response, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, errors.Join(err, response.Body.Close())
}

// stop ends the clients and returns what they saw.
func (c *clients) stop() []sample {
	close(c.ended)
	c.wait.Wait()
	return c.samples
}

// readAnswers returns the requests for /flip as the proxy logged them.
func readAnswers(t testing.TB, e *edge.Edge, atLeast int) []answer {
	t.Helper()
	var out []answer
	for _, line := range e.Envoy.AccessLog(atLeast) {
		path, _ := line["path"].(string)
		number, ok := strings.CutPrefix(path, "/flip/")
		if !ok {
			continue
		}
		a, err := readAnswer(strings.TrimSuffix(number, "/x"), line)
		if err != nil {
			t.Fatalf("access log: %v in %v", err, line)
		}
		out = append(out, a)
	}
	return out
}

func readAnswer(number string, line map[string]any) (a answer, err error) {
	if a.number, err = strconv.Atoi(number); err != nil {
		return a, err
	}
	began, _ := line["time"].(string)
	if a.at, err = time.Parse(time.RFC3339, began); err != nil {
		return a, err
	}
	status, _ := line["status"].(float64)
	a.status = int(status)
	var decision struct{ Decision, Generation string }
	state, _ := line["sallyport"].(string)
	if err := json.Unmarshal([]byte(state), &decision); err != nil {
		return a, err
	}
	a.allowed = decision.Decision == "allow"
	a.generation, err = strconv.ParseUint(decision.Generation, 10, 64)
	return a, err
}

// judge holds each answer against the generation that it names.
func (r *result) judge(t testing.TB) {
	t.Helper()
	allowed := map[uint64]int{}
	for _, p := range r.pushes {
		allowed[p.generation] = p.allowed
	}
	wrong := 0
	for _, a := range r.answers {
		number, known := allowed[a.generation]
		if !known && a.generation < r.pushes[0].generation {
			number, known = -1, true // before the first push nothing was allowed
		}
		right := known && a.allowed == (a.number == number) && a.allowed == (a.status == http.StatusOK)
		if !right {
			if wrong++; wrong <= 10 {
				t.Errorf("/flip/%d/x: %d by generation %d, which allows %d", a.number, a.status, a.generation, number)
			}
		}
	}
	if wrong > 0 || len(r.answers) == 0 {
		t.Errorf("%d of %d answers are wrong", wrong, len(r.answers))
	}
}

// lags returns, for each push but the last, how long after it was answered a
// request was still decided by what was before; 0 if none was.
func (r *result) lags() []time.Duration {
	var out []time.Duration
	for _, p := range r.pushes[:len(r.pushes)-1] {
		lag := time.Duration(0)
		for _, a := range r.answers {
			if a.generation < p.generation {
				lag = max(lag, a.at.Sub(p.committed))
			}
		}
		out = append(out, lag)
	}
	slices.Sort(out)
	return out
}

func (r *result) report(b *testing.B) {
	lags := r.lags()
	for _, m := range []struct {
		name   string
		sorted []time.Duration
	}{{"calm", r.calm}, {"pushing", r.pushing}, {"lag", lags}} {
		for _, q := range []int{50, 99} {
			b.ReportMetric(float64(m.sorted[len(m.sorted)*q/100].Microseconds())/1000, fmt.Sprintf("ms-%s-p%d", m.name, q))
		}
	}
	b.ReportMetric(float64(len(r.answers)), "requests")
	b.ReportMetric(float64(len(r.pushes)), "pushes")
	b.ReportMetric(100*r.cpu.Seconds()/r.took.Seconds(), "%-of-a-CPU")
	var curve []string
	for i := 0; i < len(r.memory); i += max(1, len(r.memory)/12) {
		curve = append(curve, strconv.FormatInt(r.memory[i]>>20, 10))
	}
	b.Logf("resident memory of the proxy along the pushes, MB: %s", strings.Join(curve, " "))
	b.ReportMetric(0, "ns/op")
}
