package poll

import (
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/e2e/envoytest"
	"sallyport/e2e/hosttest"
	"sallyport/plugin/filtertest"
	"sallyport/policydata/pluginconfig"
	"sallyport/policydata/pushapi"
)

// edge is an Envoy with two workers that polls the host.
type edge struct {
	*host
	*envoytest.Envoy
	f      *filtertest.Fixture
	client http.Client
}

func newEdge(t *testing.T, change func(*pluginconfig.Config)) *edge {
	t.Helper()
	t.Setenv(pushapi.TokenVariable, token)
	e := &edge{host: newHost(t), f: filtertest.NewFixture(t)}
	e.client = http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "upstream") }))
	t.Cleanup(upstream.Close)
	c := e.f.Config(t, nil)
	c.Snapshot, c.Poll, c.HostCluster = nil, true, "sallyport_host"
	if change != nil {
		change(&c)
	}
	e.Envoy = envoytest.Start(t, bootstrap(t, c, upstream.Listener.Addr(), e.listener.Addr()))
	t.Cleanup(func() {
		if strings.Contains(e.Log(), token) {
			t.Error("the proxy's token was logged")
		}
	})
	return e
}

// bootstrap is envoy/poll.yaml with a configuration and with other addresses.
func bootstrap(t *testing.T, c pluginconfig.Config, upstream, host net.Addr) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(envoytest.Root(t), "envoy", "poll.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	port := func(a net.Addr) string { return fmt.Sprint(a.(*net.TCPAddr).Port) }
	for old, value := range map[string]string{
		"port_value: 10000":             "port_value: 0",
		"port_value: 9901":              "port_value: 0",
		"port_value: 8080":              "port_value: " + port(upstream),
		"port_value: 8470":              "port_value: " + port(host),
		"/etc/sallyport/sallyport.wasm": hosttest.Module(t),
		"google.protobuf.StringValue":   "google.protobuf.BytesValue",
		`"{\"trusted_keys\":[],\"host\":{\"cluster\":\"sallyport_host\",\"poll\":true}}"`: base64.StdEncoding.EncodeToString(c.AppendBinary(nil)),
	} {
		if !strings.Contains(text, old) {
			t.Fatalf("envoy/poll.yaml has no %q", old)
		}
		text = strings.ReplaceAll(text, old, value)
	}
	return text
}

// decides asks on a connection of its own, which goes to either worker.
func (e *edge) status() (int, error) {
	r, err := e.client.Get("http://" + e.Address("ingress") + "/healthz")
	if err != nil {
		return 0, err
	}
	return r.StatusCode, r.Body.Close()
}

// answers waits until all workers answer with a status.
func (e *edge) answers(status int) time.Duration {
	e.t.Helper()
	begin := time.Now()
	e.await(fmt.Sprint("status ", status), func() error {
		for range 12 {
			if got, err := e.status(); err != nil || got != status {
				return fmt.Errorf("%d, %v", got, err)
			}
		}
		return nil
	})
	return time.Since(begin)
}

func TestEnvoy(t *testing.T) {
	e := newEdge(t, nil)
	e.answers(http.StatusServiceUnavailable)
	e.publish(generation(t, e.f, 1, 7))
	t.Logf("the first snapshot after %v", e.answers(http.StatusOK))
	e.publish(generation(t, e.f, 1, 8))
	t.Logf("the next after %v", e.answers(http.StatusUnauthorized))
	for _, r := range e.reported("all", 3, func(r *report) bool { return r.Enforced == "1.8" }) {
		t.Logf("%+v", r)
	}
	for name, n := range e.Stats() {
		if strings.Contains(name, "sallyport_") && !strings.Contains(name, "decisions") && n != 0 {
			t.Log(name, n)
		}
	}
	t.Log(e.Log())
}
