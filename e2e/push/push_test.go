// Package push tests how policies reach the real Envoy, and what holds while
// they can't: the host is away, killed, or sends what must not be trusted. It
// starts the bootstraps of envoy/ as they are, but for addresses and paths.
package push

import (
	"crypto/rand"
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

	"sallyport/e2e/envoytest"
	"sallyport/e2e/hosttest"
)

const patience = 30 * time.Second

// policies lets members of a team use its workspace, and everybody use the
// public path.
func policies(public string) string {
	return fmt.Sprintf(`
apiVersion: sallyport/v1
kind: Policy
metadata: {name: own-workspace}
spec:
  rules:
  - {name: members, effect: allow, methods: ["*"], paths: ["/workspaces/{team}/**"], when: path.team in token.groups}
---
apiVersion: sallyport/v1
kind: Policy
metadata: {name: public}
spec:
  rules:
  - {effect: allow, methods: [GET], paths: [%q]}
---
apiVersion: sallyport/v1
kind: Group
metadata: {name: "system:authenticated"}
spec: {policies: [own-workspace, public]}
---
apiVersion: sallyport/v1
kind: Group
metadata: {name: "system:unauthenticated"}
spec: {policies: [public]}
`, public)
}

// bootstrap returns a file of envoy/ with other addresses, and another module.
func bootstrap(t *testing.T, name string, replace map[string]string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(envoytest.Root(t), "envoy", name))
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for old, value := range replace {
		if !strings.Contains(text, old) {
			t.Fatalf("envoy/%s has no %q", name, old)
		}
		text = strings.ReplaceAll(text, old, value)
	}
	return text
}

// common are the replacements that every bootstrap needs.
func common(t *testing.T) map[string]string {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "upstream")
	}))
	t.Cleanup(upstream.Close)
	_, port, err := net.SplitHostPort(upstream.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"port_value: 10000":             "port_value: 0",
		"port_value: 9901":              "port_value: 0",
		"port_value: 8080":              "port_value: " + port,
		"/etc/sallyport/sallyport.wasm": hosttest.Module(t),
	}
}

// edge is a proxy under test.
type edge struct {
	*envoytest.Envoy
	t       *testing.T
	address string
}

func start(t *testing.T, bootstrap string) edge {
	t.Helper()
	e := envoytest.Start(t, bootstrap)
	return edge{e, t, e.Address("ingress")}
}

// get asks on a connection of its own, which goes to either worker.
func (e edge) get(path, token string) (int, error) { return e.ask(e.address, path, token) }

func (e edge) ask(host, path, token string) (int, error) {
	r, err := http.NewRequest(http.MethodGet, "http://"+e.address+path, nil)
	if err != nil {
		return 0, err
	}
	r.Host = host
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	answer, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	return answer.StatusCode, answer.Body.Close()
}

// answers waits until the proxy answers with a status, and then wants it from
// every worker.
func (e edge) answers(path, token string, status int) {
	e.t.Helper()
	e.Await(fmt.Sprintf("%s: %d", path, status), patience, func() error {
		for range 12 {
			got, err := e.get(path, token)
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

// reason returns why a request is decided as it is.
func (e edge) reason(path, token string) string {
	e.t.Helper()
	host := strings.ToLower(rand.Text()) + ".example"
	if _, err := e.ask(host, path, token); err != nil {
		e.t.Fatal(err)
	}
	var d struct{ Reason string }
	state, _ := e.AccessLogOf(host)["sallyport"].(string)
	if err := json.Unmarshal([]byte(state), &d); err != nil {
		e.t.Fatalf("decision %q: %v", state, err)
	}
	return d.Reason
}

func mint(t *testing.T, h *hosttest.Host, args ...string) string {
	t.Helper()
	return strings.TrimSpace(hosttest.Run(t, 0, "", append([]string{"token", "mint", "--data-dir", h.DataDir}, args...)...))
}

// unused returns an address where nothing listens, for a host that starts after
// its proxy.
func unused(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestLifeOfAProxy follows one proxy through a host that comes, changes its
// mind, dies and comes back.
func TestLifeOfAProxy(t *testing.T) {
	xds, api := unused(t), unused(t)
	_, port, err := net.SplitHostPort(xds)
	if err != nil {
		t.Fatal(err)
	}
	replace := common(t)
	replace["port_value: 8471"] = "port_value: " + port
	e := start(t, bootstrap(t, "ecds.yaml", replace))

	// No host, no snapshot: closed, and not by a 403.
	e.answers("/public", "", http.StatusServiceUnavailable)
	if r := e.reason("/public", ""); r != "no_snapshot" {
		t.Errorf("reason %q, want no_snapshot", r)
	}

	host := hosttest.StartAt(t, t.TempDir(), api, xds, "--insecure-dev-issuer")
	host.Apply(policies("/public"))
	eric := mint(t, host, "--user", "eric", "--group", "foo")
	bob := mint(t, host, "--user", "bob", "--group", "bar", "--alg", "ES256")
	e.answers("/public", "", http.StatusOK)
	e.answers("/workspaces/foo/x", eric, http.StatusOK)
	e.answers("/workspaces/foo/x", bob, http.StatusForbidden)
	e.answers("/workspaces/bar/x", bob, http.StatusOK)
	e.answers("/workspaces/foo/x", "", http.StatusUnauthorized)

	// A change takes effect without a restart.
	host.Apply(policies("/open"))
	e.answers("/open", "", http.StatusOK)
	e.answers("/public", "", http.StatusUnauthorized)

	// A host that is gone changes nothing.
	host.Kill()
	e.answers("/open", "", http.StatusOK)
	e.answers("/workspaces/foo/x", eric, http.StatusOK)
	e.answers("/workspaces/foo/x", bob, http.StatusForbidden)

	// Back on the same data it is in charge again.
	host = hosttest.StartAt(t, host.DataDir, api, xds, "--insecure-dev-issuer")
	host.Apply(policies("/again"))
	e.answers("/again", "", http.StatusOK)
	e.answers("/open", "", http.StatusUnauthorized)

	// Without the flag tokens of the development issuer are nobody's.
	host.Stop()
	host = hosttest.StartAt(t, host.DataDir, api, xds)
	host.Apply(policies("/last"))
	e.answers("/last", "", http.StatusOK)
	if r := e.reason("/last", eric); r != "unknown_issuer" {
		t.Errorf("reason %q, want unknown_issuer", r)
	}
	if n := e.Stats()["wasmcustom.sallyport_decisions_no_snapshot"]; n == 0 {
		t.Error("the first refusals were not counted")
	}
}

// TestStaticSnapshot starts the bootstrap that needs no host.
func TestStaticSnapshot(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "policies.yaml")
	if err := os.WriteFile(path, []byte(policies("/public")), 0o600); err != nil {
		t.Fatal(err)
	}
	snapshot := filepath.Join(dir, "snapshot")
	hosttest.Run(t, 0, "", "snapshot", "build", "-f", path, "-o", snapshot, "--data-dir", dir)

	t.Run("enforced", func(t *testing.T) {
		e := start(t, staticBootstrap(t, dir, snapshot))
		e.answers("/public", "", http.StatusOK)
		e.answers("/other", "", http.StatusUnauthorized)
	})
	t.Run("as copied, without a snapshot, it is closed", func(t *testing.T) {
		e := start(t, bootstrap(t, "static.yaml", common(t)))
		e.answers("/public", "", http.StatusServiceUnavailable)
	})
}

// staticBootstrap returns what sallyport prints for a snapshot. It differs from
// the file of envoy/ in the values that envoy/'s own test knows.
func staticBootstrap(t *testing.T, dataDir, snapshot string) string {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(upstream.Close)
	return hosttest.Run(t, 0, "", "envoy", "config", "--push", "static", "--snapshot", snapshot, "--data-dir", dataDir,
		"--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--module", hosttest.Module(t),
		"--upstream", upstream.Listener.Addr().String())
}
