package verify

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/e2e/envoytest"
)

// probePackage is the module that compares and measures.
const probePackage = "./plugin/internal/native/testdata/probe"

// proxy is Envoy with the probe.
type proxy struct {
	t     testing.TB
	envoy *envoytest.Envoy
}

// startProxy starts Envoy with the probe and its configuration.
func startProxy(t testing.TB, config any) *proxy {
	t.Helper()
	module := filepath.Join(t.TempDir(), "probe.wasm")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-buildmode=c-shared", "-o", module, probePackage)
	build.Dir = envoytest.Root(t)
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the probe: %v\n%s", err, out)
	}
	settings, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(string(settings))
	if err != nil {
		t.Fatal(err)
	}
	bootstrap := fmt.Sprintf(bootstrapFormat, module, text)
	return &proxy{t, envoytest.Start(t, bootstrap, "--concurrency", "1")}
}

// bootstrapFormat is JSON, which is YAML: a listener with the probe, which
// answers each request itself.
const bootstrapFormat = `{
  "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
  "static_resources": {"listeners": [{
    "name": "ingress",
    "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
    "filter_chains": [{"filters": [{
      "name": "http",
      "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"],
          "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 404}}]}]},
        "http_filters": [
          {"name": "probe", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
              "failure_policy": "FAIL_CLOSED",
              "vm_config": {"runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": %q}}},
              "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": %s}
            }}},
          {"name": "router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}
        ]
      }
    }]}]
  }]}
}`

// ask returns the lines of the probe's answer.
func (p *proxy) ask(path string) []string {
	p.t.Helper()
	resp, err := http.Get("http://" + p.envoy.Address("ingress") + path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		p.t.Fatalf("%s: %s %s, %v", path, resp.Status, body, err)
	}
	return strings.Split(string(body), "\n")
}

// byProxy are the algorithms that Envoy's function knows.
var byProxy = map[string]bool{"RS256": true, "RS384": true, "RS512": true, "ES256": true, "ES384": true, "ES512": true}

// TestProxyAndGoAgree runs all vectors in V8 by both ways. Each is accepted by
// both or refused by both, for the same reason, and as it must be; and the proxy
// is asked for what it knows, wherever a signature has the right form.
func TestProxyAndGoAgree(t *testing.T) {
	all := allVectors(t)
	lines := startProxy(t, map[string]any{"vectors": all}).ask("/vectors")
	if len(all) == 0 || len(lines) != len(all) {
		t.Fatalf("%d answers to %d vectors", len(lines), len(all))
	}
	type count struct{ good, refused, early int }
	counts := map[string]count{}
	for i, v := range all {
		var proxy, golang string
		var asked, handled bool
		if _, err := fmt.Sscan(lines[i], &proxy, &golang, &asked, &handled); err != nil {
			t.Fatalf("%q: %v", lines[i], err)
		}
		if proxy != golang {
			t.Errorf("%s: %s by the proxy, %s by Go", v.Name, proxy, golang)
		}
		if (golang == "allowed") != v.Good {
			t.Errorf("%s: %s, want good %t", v.Name, golang, v.Good)
		}
		if v.Good && !asked || handled != (asked && byProxy[v.Alg]) {
			t.Errorf("%s: asked %t, handled by the proxy %t", v.Name, asked, handled)
		}
		c := counts[v.Alg]
		switch {
		case !asked:
			c.early++
		case v.Good:
			c.good++
		default:
			c.refused++
		}
		counts[v.Alg] = c
	}
	for alg, c := range counts {
		t.Logf("%s: %d good, %d refused by their signature, %d before it", alg, c.good, c.refused, c.early)
		if c.good == 0 || c.refused == 0 || c.early == 0 {
			t.Errorf("%s: %+v, want vectors of each kind", alg, c)
		}
	}
	if len(counts) != 10 {
		t.Errorf("vectors of %d algorithms, want all 10", len(counts))
	}
	t.Logf("%d vectors", len(all))
}
