package poll

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
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

	"go.yaml.in/yaml/v3"

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
	config map[string]any // the bootstrap
	over   chan struct{}  // closed: no request is held back any more

	file   string         // with the filter
	filter map[string]any // in the file
	pushes int
}

// newEdge starts an Envoy whose filter comes with the bootstrap, or by a file that
// push replaces.
func newEdge(t *testing.T, discovered bool) *edge {
	t.Helper()
	return newEdgeOf(t, hosttest.Module(t), discovered, func(*filtertest.Fixture, *pluginconfig.Config) {})
}

// newEdgeOf is newEdge with a module, and a change of the first configuration.
func newEdgeOf(t *testing.T, module string, discovered bool, change func(*filtertest.Fixture, *pluginconfig.Config)) *edge {
	t.Helper()
	t.Setenv(pushapi.TokenVariable, token)
	e := &edge{host: newHost(t), f: filtertest.NewFixture(t), file: filepath.Join(t.TempDir(), "filter.json"), over: make(chan struct{})}
	e.client = http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	upstream := httptest.NewServer(http.HandlerFunc(e.upstream))
	t.Cleanup(upstream.Close)
	e.bootstrap(module, upstream.Listener.Addr())
	first := e.plugin(func(c *pluginconfig.Config) { change(e.f, c) })
	if discovered {
		filters := connectionManager(e.config)["http_filters"].([]any)
		e.filter = filters[0].(map[string]any)["typed_config"].(map[string]any)
		filters[0] = map[string]any{"name": "sallyport", "config_discovery": map[string]any{
			"config_source": map[string]any{"path_config_source": map[string]any{"path": e.file}, "resource_api_version": "V3"},
			"type_urls":     []any{e.filter["@type"]},
		}}
		e.push(first)
	} else {
		e.setPlugin(connectionManager(e.config)["http_filters"].([]any)[0].(map[string]any)["typed_config"].(map[string]any), first)
	}
	var text bytes.Buffer
	if err := yaml.NewEncoder(&text).Encode(e.config); err != nil {
		t.Fatal(err)
	}
	e.Envoy = envoytest.Start(t, text.String())
	t.Cleanup(func() {
		if strings.Contains(e.Log(), token) {
			t.Error("the proxy's token was logged")
		}
	})
	return e
}

// upstream holds some requests back, until it gets another.
func (e *edge) upstream(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Has("long") {
		w.(http.Flusher).Flush()
		select {
		case <-e.over:
		case <-r.Context().Done():
		}
	}
	_, _ = io.WriteString(w, "upstream")
}

// bootstrap is envoy/poll.yaml with other addresses.
func (e *edge) bootstrap(module string, upstream net.Addr) {
	e.t.Helper()
	b, err := os.ReadFile(filepath.Join(envoytest.Root(e.t), "envoy", "poll.yaml"))
	if err != nil {
		e.t.Fatal(err)
	}
	text := string(b)
	port := func(a net.Addr) string { return fmt.Sprint(a.(*net.TCPAddr).Port) }
	for old, value := range map[string]string{
		"port_value: 10000":             "port_value: 0",
		"port_value: 9901":              "port_value: 0",
		"port_value: 8080":              "port_value: " + port(upstream),
		"port_value: 8470":              "port_value: " + port(e.listener.Addr()),
		"/etc/sallyport/sallyport.wasm": module,
	} {
		if !strings.Contains(text, old) {
			e.t.Fatalf("envoy/poll.yaml has no %q", old)
		}
		text = strings.ReplaceAll(text, old, value)
	}
	if err := yaml.Unmarshal([]byte(text), &e.config); err != nil {
		e.t.Fatal(err)
	}
}

// connectionManager returns the HTTP connection manager's settings.
func connectionManager(bootstrap map[string]any) map[string]any {
	listener := bootstrap["static_resources"].(map[string]any)["listeners"].([]any)[0].(map[string]any)
	chain := listener["filter_chains"].([]any)[0].(map[string]any)
	return chain["filters"].([]any)[0].(map[string]any)["typed_config"].(map[string]any)
}

// plugin is a configuration that polls.
func (e *edge) plugin(change func(*pluginconfig.Config)) []byte {
	c := e.f.Config(e.t, nil)
	c.Snapshot, c.Poll, c.HostCluster = nil, true, "sallyport_host"
	if change != nil {
		change(&c)
	}
	return c.AppendBinary(nil)
}

func (e *edge) setPlugin(filter map[string]any, plugin []byte) {
	filter["config"].(map[string]any)["configuration"] = map[string]any{
		"@type": "type.googleapis.com/google.protobuf.BytesValue", "value": base64.StdEncoding.EncodeToString(plugin),
	}
}

// push gives Envoy another configuration of the plugin, as a host does by ECDS.
func (e *edge) push(plugin []byte) {
	e.t.Helper()
	e.setPlugin(e.filter, plugin)
	e.pushes++
	b, err := json.Marshal(map[string]any{
		"version_info": fmt.Sprint(e.pushes),
		"resources": []any{map[string]any{
			"@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig", "name": "sallyport", "typed_config": e.filter,
		}},
	})
	if err == nil {
		err = os.WriteFile(e.file+".new", b, 0o600)
	}
	if err == nil {
		err = os.Rename(e.file+".new", e.file)
	}
	if err != nil {
		e.t.Fatal(err)
	}
}

// status asks on a connection of its own, which goes to either worker.
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

// workers is how many workers report: Envoy's, and its main thread, which has a VM
// of every plugin, too, and decides nothing in it.
const workers = 3

// enforced waits until all workers report a version.
func (e *edge) enforced(version string) []report {
	e.t.Helper()
	return e.reported("all enforce "+version, workers, func(r *report) bool { return r.Enforced == version })
}

func TestEnvoy(t *testing.T) {
	e := newEdge(t, false)
	e.answers(http.StatusServiceUnavailable)
	e.publish(generation(t, e.f, 1, 7))
	t.Logf("the first snapshot after %v", e.answers(http.StatusOK))
	e.publish(generation(t, e.f, 1, 8))
	t.Logf("the next after %v", e.answers(http.StatusUnauthorized))
	all := e.enforced("1.8")
	decided := 0
	for _, r := range all {
		if r.Instance != "sallyport-proxy" || r.Process != all[0].Process || r.Push != "poll" {
			t.Errorf("%+v", r)
		}
		if len(r.Decisions) > 0 {
			decided++
		}
	}
	if decided != workers-1 {
		t.Errorf("%d workers have decided", decided)
	}
	for _, r := range e.asked() {
		if r.Header.Get("Authorization") != "Bearer "+token {
			t.Errorf("a poll without the token: %v", r.Header)
		}
	}

	// A host that is gone changes nothing. Back, it is in charge again.
	e.stop()
	e.answers(http.StatusUnauthorized)
	e.restart()
	e.publish(generation(t, e.f, 1, 9))
	t.Logf("after the host is back: %v", e.answers(http.StatusOK))

	// Nor does a host that went back in time, or is somebody else.
	e.publish(generation(t, e.f, 1, 6))
	e.reported("refused", 1, func(r *report) bool { return r.Refused == "1.6" && r.Enforced == "1.9" })
	e.answers(http.StatusOK)

	base, target := generation(t, e.f, 2, 1), generation(t, e.f, 2, 2)
	e.publish(base)
	e.enforced("2.1")
	e.deltas(base, target, e.f.Delta(t, true, base, target), nil)
	t.Logf("a delta: %v", e.answers(http.StatusUnauthorized))
	if n := e.Stats()["wasmcustom.sallyport_deltas_applied"]; n != 1 {
		t.Errorf("%d deltas were applied", n)
	}
}

// A push of the plugin's configuration ends what the one before has asked, when
// its last request ends. Snapshots come all the same, and the leader leads on.
func TestEnvoyGetsOtherConfigurations(t *testing.T) {
	e := newEdge(t, true)
	e.publish(generation(t, e.f, 1, 7))
	e.answers(http.StatusOK)
	long, err := e.client.Get("http://" + e.Address("ingress") + "/healthz?long")
	if err != nil {
		t.Fatal(err)
	}
	defer long.Body.Close()
	for n := uint64(8); n < 12; n++ {
		// It may have a snapshot, of before.
		e.push(e.plugin(func(c *pluginconfig.Config) {
			c.RemoveToken = n%2 == 0
			c.Snapshot = generation(t, e.f, 1, 6)
		}))
		want := http.StatusOK
		if n%2 == 0 {
			want = http.StatusUnauthorized
		}
		e.publish(generation(t, e.f, 1, n))
		t.Logf("after %v", e.answers(want))
		e.enforced(version(1, n))
		if n == 9 {
			close(e.over)
		}
	}
	if b, err := io.ReadAll(long.Body); err != nil || string(b) != "upstream" {
		t.Errorf("the long request: %q, %v", b, err)
	}
	if n := e.Stats()["wasmcustom.sallyport_leads"]; n != 1 {
		t.Errorf("%d workers led", n)
	}
}
