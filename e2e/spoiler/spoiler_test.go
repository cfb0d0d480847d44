package spoiler_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/e2e/envoytest"
	"sallyport/e2e/hosttest"
	"sallyport/e2e/spoiler"
	"sallyport/host/wasmhost"
	"sallyport/policydata/pluginconfig"
)

const patience = 60 * time.Second

// policies lets everybody use one path.
func policies(path string) string {
	return fmt.Sprintf(`
apiVersion: sallyport/v1
kind: Policy
metadata: {name: public}
spec:
  rules:
  - {effect: allow, methods: [GET], paths: [%q]}
---
apiVersion: sallyport/v1
kind: Group
metadata: {name: "system:unauthenticated"}
spec: {policies: [public]}
`, path)
}

// proxy is an Envoy whose workers poll a host.
type proxy struct {
	host *hosttest.Host
	text string // the bootstrap that we print
}

func newProxy(t *testing.T) *proxy {
	t.Helper()
	up := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(up.Close)
	p := &proxy{host: hosttest.Start(t, "")}
	p.text = hosttest.Run(t, 0, "", "envoy", "config", "--push", "poll", "--data-dir", p.host.DataDir, "--host", p.host.HTTP,
		"--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--module", hosttest.Module(t), "--upstream", up.Listener.Addr().String())
	return p
}

// name is that of listener and plugin, by which the filter names what it shares.
const name = "sallyport"

// shared runs the filter in wazero with the proxy's own configuration, and returns
// what it has in shared data once it has a snapshot.
func (p *proxy) shared(t *testing.T) map[string][]byte {
	t.Helper()
	var text string
	envoytest.ParseBootstrap(t, p.text).Add(name, func(l *envoytest.Listener) {
		text = l.Plugin()["configuration"].(map[string]any)["value"].(string)
	})
	config, err := pluginconfig.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	rt, err := wasmhost.NewRuntime(t.Context(), wasmhost.Options{
		CacheDir: t.TempDir(), PluginName: name, NodeID: "wazero",
		Clusters: map[string]wasmhost.Cluster{config.HostCluster: {URL: &url.URL{Scheme: "http", Host: p.host.HTTP}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close(context.Background())
	wasm, err := os.ReadFile(hosttest.Module(t))
	if err != nil {
		t.Fatal(err)
	}
	module, err := rt.Compile(t.Context(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	in, err := module.NewInstance(t.Context(), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close(context.Background())
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		values := map[string][]byte{}
		whole := false
		for _, key := range rt.SharedKeys() {
			values[key], _ = rt.SharedData(key)
			whole = whole || strings.HasSuffix(key, "/snapshot") && len(values[key]) > 0
		}
		if whole {
			return values
		}
		if time.Now().After(deadline) {
			t.Fatalf("no snapshot in shared data: %d entries", len(values))
		}
	}
}

// A plugin of another overwrites all that the filter's workers share, all the time:
// by garbage, by nothing, and by what was there at a generation before. Snapshots
// arrive all the same, and none is undone.
func TestSharedDataOfOthers(t *testing.T) {
	p := newProxy(t)
	p.host.Apply(policies("/one"))
	before := p.shared(t)
	if len(before) < 3 {
		t.Fatalf("the filter shares %d entries", len(before))
	}
	module := spoiler.Build(t)
	for what, value := range map[string]func(old []byte) []byte{
		"garbage": func([]byte) []byte { return []byte("\x00garbage\xff" + strings.Repeat("x", 1<<10)) },
		"nothing": func([]byte) []byte { return nil },
		"replay":  func(old []byte) []byte { return old },
	} {
		t.Run(what, func(t *testing.T) {
			p.host.Apply(policies("/two"))
			values := map[string][]byte{}
			for key, old := range before {
				values[key] = value(old)
			}
			b := envoytest.ParseBootstrap(t, p.text)
			b.Add(name, func(l *envoytest.Listener) { spoiler.Add(t, l, module, values) })
			e := &edge{envoytest.Start(t, b.Text())}
			e.await(t, map[string]int{"/one": 401, "/two": 200})
			e.isSpoiled(t, "/two", values)
			for _, path := range []string{"/three", "/four", "/five"} {
				begun := time.Now()
				p.host.Apply(policies(path), "--wait", "90s") // each worker
				t.Logf("all workers after %v", time.Since(begun))
				e.await(t, map[string]int{"/one": 401, "/two": 401, path: 200})
			}
			for range 100 { // nothing of what is written there comes into force
				if err := e.answers(map[string]int{"/one": 401, "/two": 401, "/five": 200}); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

type edge struct{ *envoytest.Envoy }

func (e *edge) get(path string) (*http.Response, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	answer, err := client.Get("http://" + net.JoinHostPort("127.0.0.1", e.port()) + path)
	if err != nil {
		return nil, err
	}
	return answer, answer.Body.Close()
}

func (e *edge) port() string {
	_, port, _ := net.SplitHostPort(e.Address(name)) // Envoy's own text
	return port
}

// answers asks for all paths, several times, so that each worker is asked.
func (e *edge) answers(want map[string]int) error {
	for path, status := range want {
		for range 4 {
			answer, err := e.get(path)
			if err != nil {
				return err
			}
			if answer.StatusCode != status {
				return fmt.Errorf("%s: status %d, want %d", path, answer.StatusCode, status)
			}
		}
	}
	return nil
}

func (e *edge) await(t *testing.T, want map[string]int) {
	t.Helper()
	begun := time.Now()
	e.Await(fmt.Sprint(want), patience, func() error { return e.answers(want) })
	t.Logf("%v after %v", want, time.Since(begun))
}

// isSpoiled wants the plugin to be at work: what it wrote stands there.
func (e *edge) isSpoiled(t *testing.T, path string, values map[string][]byte) {
	t.Helper()
	first := slices.Min(slices.Collect(maps.Keys(values)))
	e.Await("spoilt data", patience, func() error {
		answer, err := e.get(path)
		if err != nil {
			return err
		}
		got, ok := answer.Header["X-Spoiled"]
		if !ok || got[0] != base64.StdEncoding.EncodeToString(values[first]) {
			return fmt.Errorf("status %d, %q at %s", answer.StatusCode, got, first)
		}
		return nil
	})
}
