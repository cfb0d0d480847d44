// Package keys tests in the real Envoy what becomes of requests whose token was
// signed by a key that the proxy does not have yet.
package keys

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/e2e/envoytest"
	"sallyport/e2e/hosttest"
	"sallyport/plugin/filtertest"
)

const (
	patience  = 30 * time.Second
	workspace = "/workspaces/foo/x"
)

// proxy is the real Envoy with two workers, under generation 7, which has not
// the new key.
type proxy struct {
	*envoytest.Envoy
	t        *testing.T
	rotation *filtertest.Rotation
	address  string
	bodies   chan string // what the upstream got, with whom the filter says it is from
}

func start(t *testing.T, r *filtertest.Rotation, c *control) *proxy {
	t.Helper()
	p := &proxy{t: t, rotation: r, bodies: make(chan string, 1)}
	upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); len(body) > 0 {
			p.bodies <- strings.Join(r.Header.Values("X-Sallyport-User"), ",") + " " + string(body)
		}
	}))
	t.Cleanup(upstream.Close)
	text, err := os.ReadFile(filepath.Join(envoytest.Root(t), "envoy", "ecds.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	port := func(address string) string {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		return "port_value: " + port
	}
	bootstrap := string(text)
	for old, value := range map[string]string{
		"port_value: 10000":             "port_value: 0",
		"port_value: 9901":              "port_value: 0",
		"port_value: 8080":              port(upstream.Listener.Addr().String()),
		"port_value: 8470":              port(c.http.Listener.Addr().String()),
		"port_value: 8471":              port(c.xds),
		"/etc/sallyport/sallyport.wasm": c.module,
	} {
		if !strings.Contains(bootstrap, old) {
			t.Fatalf("envoy/ecds.yaml has no %q", old)
		}
		bootstrap = strings.ReplaceAll(bootstrap, old, value)
	}
	c.push(r.Config(t, 7, false))
	p.Envoy = envoytest.Start(t, bootstrap)
	p.address = p.Address("ingress")
	old := r.Token(t, "RS256", nil)
	p.Await("the old key is known to all workers", patience, func() error {
		for range 12 {
			if status, err := p.get(http.DefaultClient, workspace, old, ""); err != nil || status != 200 {
				return fmt.Errorf("status %d, %w", status, err)
			}
			http.DefaultClient.CloseIdleConnections() // the next may go to the other worker
		}
		return nil
	})
	return p
}

func (p *proxy) get(client *http.Client, path, token, body string) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.address+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("X-Sallyport-User", "admin")
	answer, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, errors.Join(err, answer.Body.Close())
}

func (p *proxy) want(status int, token string) {
	p.t.Helper()
	if got, err := p.get(http.DefaultClient, workspace, token, ""); err != nil || got != status {
		p.t.Errorf("status %d, %v; want %d", got, err, status)
	}
}

// load sends requests from several clients until the returned function is
// called, which says how many there were. All have to be allowed.
func (p *proxy) load(token func() string) (stop func() int) {
	p.t.Helper()
	var clients sync.WaitGroup
	var sent atomic.Int64
	done := make(chan struct{})
	for range 8 {
		clients.Go(func() {
			client := &http.Client{Transport: &http.Transport{}} // a connection of its own
			defer client.CloseIdleConnections()
			for {
				select {
				case <-done:
					return
				default:
				}
				status, err := p.get(client, workspace, token(), "")
				if err != nil || status != 200 {
					p.t.Errorf("under load: status %d, %v", status, err)
					return
				}
				sent.Add(1)
			}
		})
	}
	return func() int {
		close(done)
		clients.Wait()
		return int(sent.Load())
	}
}

// After the issuer has begun to sign by a new key not one request is refused: it
// waits until the host has fetched the key and pushed it.
func TestRotationUnderLoad(t *testing.T) {
	r := filtertest.NewFixture(t).NewRotation(t)
	old, next := r.Token(t, "RS256", nil), r.Token(t, "next", nil)
	fetched := r.Config(t, 8, true)
	var c *control
	var once sync.Once
	c = newControl(t, hosttest.Module(t), func(q question, w http.ResponseWriter) {
		if q.Kid != "next" {
			notThere(w)
			return
		}
		once.Do(func() {
			time.Sleep(200 * time.Millisecond) // the issuer takes its time
			c.push(fetched)
		})
		thereIn(w, 8)
	})
	p := start(t, r, c)
	var rotated atomic.Bool
	stop := p.load(func() string {
		if rotated.Load() {
			return next
		}
		return old
	})
	garbage := p.flood(t)
	time.Sleep(300 * time.Millisecond)
	rotated.Store(true)
	p.Await("generation 8 on all workers", patience, func() error {
		if got := p.Stats()["wasmcustom.sallyport_generation"]; got != 8 {
			return fmt.Errorf("generation %d", got)
		}
		return nil
	})
	time.Sleep(300 * time.Millisecond)
	n, refused := stop(), garbage()
	stats := p.Stats()
	t.Logf("%d requests, %d of garbage kids; %d waited, %d questions for the key", n, refused, stats["wasmcustom.sallyport_waits"], c.questions("next"))
	if n < 100 || refused < 10 || stats["wasmcustom.sallyport_waits_allowed"] == 0 {
		t.Errorf("%d requests, %d of garbage, %v allowed after they had waited: the test shows nothing", n, refused, stats["wasmcustom.sallyport_waits_allowed"])
	}
	if asked := c.questions("next"); asked > 4 {
		t.Errorf("the host was asked %d times for one key by two workers", asked)
	}
	if got := stats["wasmcustom.sallyport_waits"] - ended(stats); got != 0 {
		t.Errorf("%d requests wait for ever", got)
	}
}

func ended(stats map[string]int64) (n int64) {
	for _, how := range []string{"allowed", "denied", "timed_out", "gone"} {
		n += stats["wasmcustom.sallyport_waits_"+how]
	}
	return n
}

// flood sends tokens with kids that nobody has, which must all be refused.
func (p *proxy) flood(t *testing.T) (stop func() int) {
	done := make(chan struct{})
	var clients sync.WaitGroup
	var n atomic.Int64
	for range 8 {
		clients.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for {
				select {
				case <-done:
					return
				default:
				}
				status, err := p.get(client, workspace, p.rotation.Token(t, fmt.Sprint("garbage-", n.Add(1)), nil), "")
				if err != nil || status != 401 {
					t.Errorf("garbage: status %d, %v", status, err)
					return
				}
			}
		})
	}
	return func() int {
		close(done)
		clients.Wait()
		return int(n.Load())
	}
}

// What the host does not have is refused, and not asked for again at once.
func TestUnknownKeyIsRefused(t *testing.T) {
	r := filtertest.NewFixture(t).NewRotation(t)
	c := newControl(t, hosttest.Module(t), func(_ question, w http.ResponseWriter) { notThere(w) })
	p := start(t, r, c)
	for range 20 {
		p.want(401, r.Token(t, "next", nil))
		http.DefaultClient.CloseIdleConnections()
	}
	if n := c.questions("next"); n < 1 || n > 2 {
		t.Errorf("the host was asked %d times by two workers", n)
	}
	p.want(401, r.Token(t, "other", map[string]any{"exp": 1}))
	if n := c.questions("other"); n != 0 {
		t.Errorf("the host was asked %d times for an expired token", n)
	}
}

// The host takes its time, longer than a request waits, or promises what never
// comes, or is away: refused, in bounded time.
func TestHostThatDoesNotHelp(t *testing.T) {
	hang := make(chan struct{})
	r := filtertest.NewFixture(t).NewRotation(t)
	c := newControl(t, hosttest.Module(t), func(q question, w http.ResponseWriter) {
		switch q.Kid {
		case "slow":
			<-hang
		case "promised":
			thereIn(w, 9)
		case "wrong":
			thereIn(w, 7)
		case "broken":
			_, _ = io.WriteString(w, "{")
		}
	})
	defer close(hang)
	p := start(t, r, c)
	for _, kid := range []string{"slow", "promised", "wrong", "broken"} {
		began := time.Now()
		p.want(401, r.Token(t, kid, nil))
		t.Logf("%s: %s", kid, time.Since(began).Round(time.Millisecond))
	}
	c.http.CloseClientConnections()
	c.http.Listener.Close()
	began := time.Now()
	p.want(401, r.Token(t, "next", nil))
	t.Logf("away: %s", time.Since(began).Round(time.Millisecond))
	p.want(200, r.Token(t, "ES256", nil))
}

// Nothing of a request that waits gets to the upstream, and all of it when it
// goes on; a client that goes away meanwhile disturbs nobody.
func TestRequestsThatWait(t *testing.T) {
	r := filtertest.NewFixture(t).NewRotation(t)
	release := make(chan struct{})
	fetched := r.Config(t, 8, true)
	var c *control
	var once sync.Once
	c = newControl(t, hosttest.Module(t), func(_ question, w http.ResponseWriter) {
		<-release
		once.Do(func() { c.push(fetched) })
		thereIn(w, 8)
	})
	p := start(t, r, c)
	next := r.Token(t, "next", nil)
	ctx, cancel := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	for range 5 {
		clients.Go(func() { // goes away
			q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+workspace, nil)
			if err != nil {
				t.Error(err)
				return
			}
			q.Header.Set("Authorization", "Bearer "+next)
			if answer, err := http.DefaultClient.Do(q); err == nil {
				t.Errorf("status %d", answer.StatusCode)
				_ = answer.Body.Close()
			}
		})
	}
	body := strings.Repeat("body ", 200_000) // more than Envoy buffers
	clients.Go(func() {
		if status, err := p.get(&http.Client{Transport: &http.Transport{}}, workspace, next, body); err != nil || status != 200 {
			t.Errorf("status %d, %v", status, err)
		}
	})
	p.Await("all wait", patience, func() error {
		if n := p.Stats()["wasmcustom.sallyport_waits"]; n != 6 {
			return fmt.Errorf("%d requests", n)
		}
		return nil
	})
	cancel()
	p.Await("the clients have gone", patience, func() error {
		if n := p.Stats()["wasmcustom.sallyport_waits_gone"]; n != 5 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	select {
	case <-p.bodies:
		t.Error("the body of a request that waits got to the upstream")
	default:
	}
	close(release)
	if got := <-p.bodies; got != "eric "+body {
		t.Errorf("the upstream got %d bytes, want %d", len(got), len(body))
	}
	clients.Wait()
	if got := p.Stats(); got["wasmcustom.sallyport_waits_allowed"] != 1 || ended(got) != 6 {
		t.Errorf("%v", got)
	}
}
