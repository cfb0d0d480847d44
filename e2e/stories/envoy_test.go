package stories

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sallyport/e2e/envoytest"
	"sallyport/e2e/hosttest"
)

// TestStoriesInEnvoy asks the real Envoy, to which the host pushes each story by
// ECDS, one after the other into the same VMs. The decision is what Envoy's
// access log has of the filter state; what the client gets must agree.
func TestStoriesInEnvoy(t *testing.T) {
	keys := newKeys(t)
	p := startProxy(t)
	for _, s := range loadStories(t, keys) {
		t.Run(s.name, func(t *testing.T) {
			p.enforce(t, p.host.Apply(s.policies, "--prune"))
			for i := range s.cases {
				t.Run(s.cases[i].Name, func(t *testing.T) { p.decide(t, &s, &s.cases[i], keys) })
			}
		})
	}
}

// proxy is Envoy with the filter, before an upstream that says yes.
type proxy struct {
	host    *hosttest.Host
	envoy   *envoytest.Envoy
	address string
	logged  int // lines of the access log that were read
}

func startProxy(t *testing.T) *proxy {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Upstream", "reached")
	}))
	t.Cleanup(upstream.Close)
	p := &proxy{host: hosttest.Start(t, "")}
	bootstrap := hosttest.Run(t, 0, "", "envoy", "config", "--push", "ecds", "--data-dir", p.host.DataDir,
		"--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--xds", p.host.XDS, "--upstream", upstream.Listener.Addr().String())
	p.envoy = envoytest.Start(t, bootstrap)
	p.address = p.envoy.Address("ingress")
	return p
}

// decision is what the filter state says.
type decision struct {
	Status     int    `json:"status"`
	Decision   string `json:"decision"`
	Generation string `json:"generation"`
}

// enforce waits until every worker enforces a generation: each connection goes
// to some worker, so several in a row must see it.
func (p *proxy) enforce(t *testing.T, generation string) {
	t.Helper()
	const inARow = 12
	seen := 0
	p.envoy.Await("generation "+generation, 30*time.Second, func() error {
		for seen < inARow {
			_, raw, err := p.exchange("GET", "/ask", "", nil)
			if err != nil {
				return err
			}
			var d decision
			if raw == nil || json.Unmarshal(raw, &d) != nil || d.Generation != generation {
				seen = 0
				return fmt.Errorf("a worker is at %s", raw)
			}
			seen++
		}
		return nil
	})
}

// exchange sends a request with the very bytes of its target on a connection of
// its own, and returns the answer with the decision that was logged for it; nil
// if Envoy did not ask the filter.
func (p *proxy) exchange(method, target, host string, headers [][2]string) (*http.Response, json.RawMessage, error) {
	conn, err := net.DialTimeout("tcp", p.address, 5*time.Second)
	if err != nil {
		return nil, nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, nil, err
	}
	if host == "" {
		host = "any.example"
	}
	var request strings.Builder
	fmt.Fprintf(&request, "%s %s HTTP/1.1\r\nhost: %s\r\n", method, target, host)
	for _, h := range headers {
		fmt.Fprintf(&request, "%s: %s\r\n", h[0], h[1])
	}
	request.WriteString("content-length: 0\r\nconnection: close\r\n\r\n")
	if _, err := io.WriteString(conn, request.String()); err != nil {
		return nil, nil, err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		return nil, nil, err
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return nil, nil, errors.Join(err, response.Body.Close())
	}
	lines := p.envoy.AccessLog(p.logged + 1)
	p.logged++
	state, _ := lines[p.logged-1]["sallyport"].(string)
	if state == "" {
		return response, nil, response.Body.Close()
	}
	return response, json.RawMessage(state), response.Body.Close()
}

func (p *proxy) decide(t *testing.T, s *story, c *storyCase, keys *keys) {
	t.Helper()
	q := c.query(t, s, keys)
	if len(c.Claims) > 0 {
		q.Token = keys.tokenFor(t, s, c.Claims)
	}
	var headers [][2]string
	for name, values := range q.Headers {
		for _, v := range values {
			headers = append(headers, [2]string{name, v})
		}
	}
	if q.Token != "" {
		headers = append(headers, [2]string{"authorization", "Bearer " + q.Token})
	}
	response, raw, err := p.exchange(c.Method, c.Path, c.Host, headers)
	if err != nil {
		t.Fatal(err)
	}
	if c.Envoy != 0 {
		if raw != nil || response.StatusCode != c.Envoy {
			t.Errorf("Envoy answered %d, and the filter %s; want %d and no decision", response.StatusCode, raw, c.Envoy)
		}
		return
	}
	if raw == nil {
		t.Fatalf("no decision was logged; the answer is %s", response.Status)
	}
	c.compare(t, raw)
	var d decision
	if err := json.Unmarshal(raw, &d); err != nil {
		t.Fatal(err)
	}
	reached := response.Header.Get("X-Upstream") == "reached"
	if response.StatusCode != d.Status || reached != (d.Decision == "allow") {
		t.Errorf("the client got %s, upstream reached: %t; the decision was %s", response.Status, reached, raw)
	}
}
