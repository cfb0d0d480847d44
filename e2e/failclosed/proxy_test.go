package failclosed

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/e2e/envoytest"
	"sallyport/plugin/filtertest"
)

const patience = 30 * time.Second

// upstream counts what reaches it.
type upstream struct {
	port    string
	reached atomic.Int64
}

func startUpstream(t *testing.T) *upstream {
	t.Helper()
	u := &upstream{}
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { u.reached.Add(1) }))
	t.Cleanup(s.Close)
	u.port = portOf(t, s.Listener)
	return u
}

func portOf(t *testing.T, l net.Listener) string {
	t.Helper()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// proxy is Envoy with listeners, and who asks it.
type proxy struct {
	*envoytest.Envoy
	f    *filtertest.Fixture
	up   *upstream
	once http.Client // a connection for each request
}

func newProxy(t *testing.T, f *filtertest.Fixture, up *upstream, b *envoytest.Bootstrap, args ...string) *proxy {
	t.Helper()
	return &proxy{
		Envoy: envoytest.Start(t, b.Text(), args...), f: f, up: up,
		once: http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience},
	}
}

// ask asks a listener. A token's name is as in package filtertest, "" is none. The
// status is 0 where there was no answer.
func (p *proxy) ask(listener, path, token string, headers ...[2]string) (int, error) {
	r, err := http.NewRequest(http.MethodGet, "http://"+p.Address(listener)+path, nil)
	if err != nil {
		return 0, err
	}
	if token != "" {
		headers = append(headers, [2]string{"authorization", "Bearer " + token})
	}
	for _, h := range p.f.Request("", "", headers...)[4:] { // behind the pseudo-headers
		r.Header.Set(h[0], h[1])
	}
	answer, err := p.once.Do(r)
	if err != nil {
		return 0, err
	}
	return answer.StatusCode, answer.Body.Close()
}

// workers is enough requests to get to each worker.
const workers = 8

// decides wants the policies of the fixture to be in force.
func (p *proxy) decides(listener string) error {
	for range workers {
		for _, c := range []struct {
			path, token string
			status      int
		}{
			{"/healthz", "", 200},
			{"/workspaces/foo/x", "{eric}", 200},
			{"/workspaces/foo/x", "{bob}", 403},
			{"/workspaces/foo/x", "", 401},
		} {
			if got, err := p.ask(listener, c.path, c.token); err != nil || got != c.status {
				return fmt.Errorf("%s: %s with token %q: status %d, want %d; %w", listener, c.path, c.token, got, c.status, err)
			}
		}
	}
	return nil
}

// closed wants every request to be refused, and nothing at the upstream.
func (p *proxy) closed(t *testing.T, listener string) {
	t.Helper()
	before := p.up.reached.Load()
	for range workers {
		for _, path := range []string{"/healthz", "/workspaces/foo/x", "//", "/"} {
			if got, err := p.ask(listener, path, "{eric}"); err != nil || got != http.StatusServiceUnavailable {
				t.Errorf("%s: %s: status %d, %v", listener, path, got, err)
			}
		}
	}
	if n := p.up.reached.Load() - before; n != 0 {
		t.Errorf("%s: %d requests reached the upstream", listener, n)
	}
}
