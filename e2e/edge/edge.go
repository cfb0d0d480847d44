// Package edge is the whole product at work, for tests: a host, the real Envoy
// with the filter to which it pushes, and an upstream that says yes.
package edge

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sallyport/e2e/envoytest"
	"sallyport/e2e/hosttest"
)

const (
	patience       = 30 * time.Second
	requestTimeout = 10 * time.Second
	// enough connections in a row reach every worker.
	enough = 12
)

// Edge is a running host and Envoy.
type Edge struct {
	Host    *hosttest.Host
	Envoy   *envoytest.Envoy
	Address string // of the proxy

	single http.Client // a connection for each request
}

// Start starts a host with arguments for "sallyport serve", and an Envoy with two
// workers to which it pushes by ECDS.
func Start(t testing.TB, args ...string) *Edge {
	t.Helper()
	return StartBy(t, "ecds", args...)
}

// StartBy is Start with the way by which the Envoy gets snapshots, a value of
// --push of "sallyport envoy config".
func StartBy(t testing.TB, way string, args ...string) *Edge {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(upstream.Close)
	host := hosttest.Start(t, "", args...)
	envoy := envoytest.Start(t, Bootstrap(t, host, "--push", way, "--upstream", upstream.Listener.Addr().String()))
	return &Edge{
		Host: host, Envoy: envoy, Address: envoy.Address("ingress"),
		single: http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: requestTimeout},
	}
}

// Bootstrap returns what "sallyport envoy config" prints for a host, with more
// arguments.
func Bootstrap(t testing.TB, host *hosttest.Host, args ...string) string {
	t.Helper()
	return hosttest.Run(t, 0, "", append([]string{
		"envoy", "config", "--data-dir", host.DataDir, "--host", host.HTTP, "--xds", host.XDS,
		"--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--module", hosttest.Module(t),
	}, args...)...)
}

// Request is what a client asks for.
type Request struct {
	Method string // default GET
	Path   string
	Token  string // "": none

	host string // "": the proxy's address
}

func (e *Edge) do(client *http.Client, r Request) (int, error) {
	request, err := http.NewRequest(r.Method, "http://"+e.Address+r.Path, nil)
	if err != nil {
		return 0, err
	}
	request.Host = r.host
	if r.Token != "" {
		request.Header.Set("Authorization", "Bearer "+r.Token)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}

// Await waits until every worker answers a request with a status.
func (e *Edge) Await(t testing.TB, r Request, status int) {
	t.Helper()
	e.Envoy.Await(fmt.Sprintf("%s %s: %d", r.Method, r.Path, status), patience, func() error {
		for range enough {
			got, err := e.do(&e.single, r)
			if err != nil {
				return err
			}
			if got != status {
				return fmt.Errorf("got %d", got)
			}
		}
		return nil
	})
}

// Answer is what a client and the log were told.
type Answer struct {
	Status  int
	Reason  string
	User    string
	Service string

	Generation uint64 `json:",string"`
}

// Ask asks once. The request has a host of its own, by which the access log tells
// it from others.
func (e *Edge) Ask(t testing.TB, r Request) Answer {
	t.Helper()
	r.host = strings.ToLower(rand.Text()) + ".example"
	status, err := e.do(&e.single, r)
	if err != nil {
		t.Fatal(err)
	}
	answer := Answer{Status: status}
	state, _ := e.Envoy.AccessLogOf(r.host)["sallyport"].(string)
	if err := json.Unmarshal([]byte(state), &answer); err != nil {
		t.Fatalf("decision %q: %v", state, err)
	}
	if answer.Status != status {
		t.Errorf("the client got %d, and the decision was %s", status, state)
	}
	return answer
}
