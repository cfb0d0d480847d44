package server_test

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
	"sallyport/host/internal/publish"
	"sallyport/host/internal/server"
)

// scaled is a host with many entities, as make bench measures it.
type scaled struct {
	*server.Server
	key, secret string

	pushed   *arrivals // at the sinks of the host
	received *arrivals // at a proxy
}

func startScaled(b *testing.B) *scaled {
	s := &scaled{pushed: newArrivals(), received: newArrivals()}
	var err error
	s.Server, err = server.New(b.Context(), server.Config{
		DataDir: b.TempDir(), HTTPAddr: "127.0.0.1:0", XDSAddr: "127.0.0.1:0", Module: []byte("\x00asm"),
		Logger: slog.New(slog.DiscardHandler), Sinks: []publish.Sink{s.push},
		FirstCredentials: func(key, secret string) error {
			s.key, s.secret = key, secret
			return nil
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	b.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	return s
}

func (s *scaled) push(_ context.Context, p *publish.Published) error {
	s.pushed.add(p.Version.Generation)
	return nil
}

// request returns how long an answer took.
func (s *scaled) request(b *testing.B, method, path, body string) time.Duration {
	start := time.Now()
	req, err := http.NewRequest(method, "http://"+s.HTTPAddr()+path, strings.NewReader(body))
	if err != nil {
		b.Error(err)
		return 0
	}
	req.SetBasicAuth(s.key, s.secret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Error(err)
		return 0
	}
	answer, err := io.ReadAll(resp.Body)
	if err := cmp.Or(err, resp.Body.Close()); err != nil || resp.StatusCode/100 != 2 {
		b.Errorf("%s %s: %d %s %v", method, path, resp.StatusCode, answer[:min(len(answer), 1000)], err)
	}
	return time.Since(start)
}

const baseUsers = 10_000

func userName(i int) string { return fmt.Sprintf("user-%06d", i) }

// population is times 10,000 users in 1,000 groups with 1,000 policies.
func population(times int) []model.Entity {
	var all []model.Entity
	for i := range 1000 * times {
		policy, group := fmt.Sprintf("policy-%05d", i), &model.Group{Metadata: model.Metadata{Name: fmt.Sprintf("group-%05d", i)}}
		all = append(all, &model.Policy{
			Metadata: model.Metadata{Name: policy},
			Rules: []model.Rule{{
				Effect: model.Allow, Methods: []string{"*"}, Paths: []string{"/workspaces/" + policy + "/**"}, When: `request.method != "TRACE"`,
			}},
		})
		group.Policies = []string{policy}
		for j := range 10 {
			name := userName(10*i + j)
			all = append(all, &model.User{Metadata: model.Metadata{Name: name}, Email: name + "@example.org", ExternalID: "x" + name})
			group.Members = append(group.Members, name)
		}
		all = append(all, group)
	}
	return all
}

func yamlOfUsers(n int) string {
	var out strings.Builder
	for i := range n {
		fmt.Fprintf(&out, "---\napiVersion: sallyport/v1\nkind: User\nmetadata: {name: bulk-%05d}\nspec: {email: bulk-%05d@example.org}\n", i, i)
	}
	return out.String()
}

func userBody(name, description string) string {
	return fmt.Sprintf("apiVersion: sallyport/v1\nkind: User\nmetadata: {name: %s, description: %q}\nspec: {email: %s@example.org}\n", name, description, name)
}

// samples are durations of one kind.
type samples struct {
	mu   sync.Mutex
	list []time.Duration // guarded by mu
}

func (s *samples) add(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, d)
}

func (s *samples) report(b *testing.B, name string, unit time.Duration) {
	slices.Sort(s.list)
	suffix := map[time.Duration]string{time.Millisecond: "ms", time.Microsecond: "us"}[unit]
	for _, p := range []int{50, 99} {
		b.ReportMetric(float64(s.list[len(s.list)*p/100])/float64(unit), fmt.Sprintf("%s-%s-p%d", suffix, name, p))
	}
}

// BenchmarkScale measures a host with 10,000 users, 1,000 groups and 1,000
// policies, and with ten times as many: a write until it is committed, until it
// is pushed and until it is answered, 100 writes a second, pages and look-ups,
// and memory.
func BenchmarkScale(b *testing.B) {
	for _, times := range []int{1, 10} {
		b.Run(fmt.Sprint("users=", times*baseUsers), func(b *testing.B) {
			for b.Loop() {
				measureScale(b, times)
			}
		})
	}
}

func measureScale(b *testing.B, times int) {
	s := startScaled(b)
	start := time.Now()
	if _, err := s.Directory().Apply(b.Context(), population(times), directory.Options{}); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(time.Since(start).Seconds(), "s-load")
	start = time.Now()
	s.request(b, http.MethodPost, "/api/v1/apply", yamlOfUsers(10_000))
	b.ReportMetric(time.Since(start).Seconds(), "s-10k-documents")
	s.writes(b)
	s.writesPerSecond(b, times)
	s.reads(b, times)
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapAlloc)/1e6, "MB-heap")
	b.ReportMetric(float64(m.Sys)/1e6, "MB-of-system")
}

// writes measures writes one after the other, until they are committed, pushed,
// and with a proxy.
func (s *scaled) writes(b *testing.B) {
	const n = 20
	var commit, push, receive samples
	s.connectProxy(b)
	before := cpuTime(b)
	for i := range n {
		start := time.Now()
		r, err := s.Directory().Apply(b.Context(), []model.Entity{&model.User{
			Metadata: model.Metadata{Name: userName(i), Description: "written"},
		}}, directory.Options{})
		if err != nil {
			b.Fatal(err)
		}
		commit.add(time.Since(start))
		push.add(s.pushed.await(r.Generation).Sub(start))
		receive.add(s.received.await(r.Generation).Sub(start))
	}
	b.ReportMetric(float64((cpuTime(b)-before).Milliseconds())/n, "ms-of-cpu-until-received")
	commit.report(b, "commit", time.Millisecond)
	push.report(b, "pushed", time.Millisecond)
	receive.report(b, "received", time.Millisecond)
}

// writesPerSecond makes 100 writes a second by the API for a while, each of
// which is answered when it is pushed.
func (s *scaled) writesPerSecond(b *testing.B, times int) {
	const rate, seconds = 100, 5
	before := cpuTime(b)
	var answered samples
	var wg sync.WaitGroup
	ticker := time.NewTicker(time.Second / rate)
	defer ticker.Stop()
	for i := range rate * seconds {
		<-ticker.C
		wg.Go(func() {
			name := userName(i * 7 % (baseUsers * times))
			answered.add(s.request(b, http.MethodPut, "/api/v1/users/"+name, userBody(name, fmt.Sprint(i))))
		})
	}
	wg.Wait()
	b.ReportMetric(float64((cpuTime(b)-before).Milliseconds())/(rate*seconds), "ms-of-cpu-a-write-at-100/s")
	answered.report(b, "answer-at-100/s", time.Millisecond)
}

func (s *scaled) reads(b *testing.B, times int) {
	var page, look, login samples
	for i := range 200 {
		name := userName(i * 37 % (baseUsers * times))
		page.add(s.request(b, http.MethodGet, "/api/v1/users?amount=100&after="+name, ""))
		start := time.Now()
		if _, err := s.Directory().FindUsers(b.Context(), directory.UserEmail, name+"@example.org"); err != nil {
			b.Fatal(err)
		}
		look.add(time.Since(start))
		start = time.Now()
		if _, err := s.Directory().Authenticate(b.Context(), s.key, s.secret); err != nil {
			b.Fatal(err)
		}
		login.add(time.Since(start))
	}
	page.report(b, "page", time.Microsecond)
	look.report(b, "look-up", time.Microsecond)
	login.report(b, "credentials", time.Microsecond)
}
