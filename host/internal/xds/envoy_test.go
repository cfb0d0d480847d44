package xds

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"sallyport/e2e/envoytest"
	"sallyport/host/internal/envoyconfig"
)

// buildProbe compiles the test filter.
func buildProbe(t *testing.T) string {
	t.Helper()
	module := filepath.Join(t.TempDir(), "probe.wasm")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-buildmode=c-shared", "-o", module, "./testdata/probe")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the test filter: %v\n%s", err, out)
	}
	return module
}

// host serves s on a real port until stop is called or the test ends.
func host(t *testing.T, s *Server, address string) (stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// unusedAddress returns a loopback address where nothing listens, for a host
// that starts after its proxy.
func unusedAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// ask sends a request through the proxy; the test filter answers with its
// configuration.
func ask(address string) (string, error) {
	answer, err := http.Get("http://" + address + "/path?query")
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return fmt.Sprintf("%d %s", answer.StatusCode, body), err
}

// edge is a proxy under test.
type edge struct {
	*envoytest.Envoy
	t       *testing.T
	address string
}

// answers waits until the proxy gives the wanted answer, and then wants it from
// each worker: an ACK comes before the workers have switched.
func (e edge) answers(want string) {
	e.t.Helper()
	e.Await("answer "+want, patience, func() error {
		for range 8 { // connections go to both workers
			http.DefaultClient.CloseIdleConnections()
			got, err := ask(e.address)
			if err != nil {
				return err
			}
			if got != want {
				return fmt.Errorf("answer %q", got)
			}
		}
		return nil
	})
}

const discovery = "extension_config_discovery.http_filter.sallyport."

func TestEnvoyFollowsTheHost(t *testing.T) {
	module := buildProbe(t)
	address := unusedAddress(t)
	bootstrap, err := envoyconfig.ECDS(envoyconfig.Options{
		Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", XDS: address, ModulePath: module, NodeID: "edge-1",
	})
	if err != nil {
		t.Fatal(err)
	}
	envoy := envoytest.Start(t, bootstrap)
	e := edge{Envoy: envoy, t: t, address: envoy.Address("ingress")}

	// No host yet: the default configuration has no snapshot, so 503.
	e.answers(`503 {"trusted_keys":[],"host":{"cluster":"sallyport_host"}}`)

	var n counts
	s := New(Options{Hooks: n.hooks()})
	push := func(version, configuration string) {
		t.Helper()
		if err := s.Set(version, FilterConfig{PluginConfiguration: []byte(configuration), ModulePath: module}); err != nil {
			t.Fatal(err)
		}
	}
	stop := host(t, s, address)

	// The first configuration is refused: the default stays.
	push("1.1", "refuse")
	st := await(t, s, "refusing 1.1", func(n NodeStatus) bool { return n.Nacked == "1.1" })
	if st.Node != "edge-1" || st.Acked != "" || st.Error == "" {
		t.Errorf("status %+v", st)
	}
	e.answers(`503 {"trusted_keys":[],"host":{"cluster":"sallyport_host"}}`)

	// Bytes arrive as they are, and a second push needs no restart.
	for _, p := range []struct{ version, configuration, answer string }{
		{"1.2", "run \x00\xff\"\n", "200 run \x00\xff\"\n"},
		{"1.3", "run three", "200 run three"},
		{"1.4", "run " + string(make([]byte, 8<<20)), "200 8388612"},
	} {
		push(p.version, p.configuration)
		await(t, s, "at "+p.version, acked(p.version))
		e.answers(p.answer)
	}

	// A refused one: the last good one stays, and it is sent once.
	push("1.5", "run five")
	await(t, s, "at 1.5", acked("1.5"))
	push("1.6", "refuse")
	if st := await(t, s, "refusing 1.6", func(n NodeStatus) bool { return n.Nacked == "1.6" }); st.Acked != "1.5" {
		t.Errorf("status %+v", st)
	}
	e.answers("200 run five")
	push("1.7", "run seven")
	await(t, s, "at 1.7", acked("1.7"))
	e.answers("200 run seven")
	if n.pushed.Load() != 7 || n.nacked.Load() != 2 {
		t.Errorf("pushed %d, nacked %d; want 7 and 2", n.pushed.Load(), n.nacked.Load())
	}
	if got := e.Stats()[discovery+"update_rejected"]; got != 2 {
		t.Errorf("envoy counts %d refused configurations, want 2", got)
	}

	e.survivesItsHost(module, address, stop)
}

// survivesItsHost: without the host requests go on; another host with the same
// configuration disturbs nothing, and its next push arrives.
func (e edge) survivesItsHost(module, address string, stop func()) {
	e.t.Helper()
	stop()
	e.Await("lost connection", patience, func() error {
		if e.Stats()[discovery+"control_plane.connected_state"] != 0 {
			return fmt.Errorf("still connected")
		}
		return nil
	})
	e.answers("200 run seven")
	reloads := e.Stats()[discovery+"config_reload"]

	s := New(Options{})
	host(e.t, s, address)
	for _, push := range []struct{ version, configuration string }{{"1.7", "run seven"}, {"2.1", "run on"}} {
		if err := s.Set(push.version, FilterConfig{PluginConfiguration: []byte(push.configuration), ModulePath: module}); err != nil {
			e.t.Fatal(err)
		}
		await(e.t, s, "at "+push.version, func(n NodeStatus) bool { return n.Acked == push.version && n.Sent == push.version })
		e.answers("200 " + push.configuration)
	}
	if got := e.Stats()[discovery+"config_reload"]; got != reloads+1 {
		e.t.Errorf("%d reconfigurations by the second host, want 1", got-reloads)
	}
}

func TestEnvoyTakesTheModuleFromThePush(t *testing.T) {
	path := buildProbe(t)
	module, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := New(Options{})
	address := unusedAddress(t)
	host(t, s, address)
	if err := s.Set("1.1", FilterConfig{PluginConfiguration: []byte("run one"), Module: module}); err != nil {
		t.Fatal(err)
	}
	bootstrap, err := envoyconfig.ECDS(envoyconfig.Options{
		Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", XDS: address, ModulePath: path,
	})
	if err != nil {
		t.Fatal(err)
	}
	envoy := envoytest.Start(t, bootstrap)
	e := edge{Envoy: envoy, t: t, address: envoy.Address("ingress")}
	e.answers("200 run one")
	e.Await("the answer in the access log", patience, func() error {
		log := e.AccessLog(1)
		if got := log[len(log)-1]; got["sallyport"] != `{"status":200}` || got["path"] != "/path" || got["status"] != 200.0 {
			return fmt.Errorf("last line %v", got)
		}
		return nil
	})
	// The same code: the default's VM was configured anew, none was added but
	// the one that tried the configuration.
	const perProxy = 4 // base, two workers, and one that tried
	if got := envoy.Stats()["wasm.wasm_vm_count"]; got > perProxy {
		t.Errorf("%d VMs", got)
	}
}

// The static bootstrap of the same package starts, too, and is closed without a
// snapshot.
func TestStaticBootstrapStartsClosed(t *testing.T) {
	bootstrap, err := envoyconfig.Static(envoyconfig.Options{
		Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", ModulePath: buildProbe(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	envoy := envoytest.Start(t, bootstrap)
	edge{Envoy: envoy, t: t, address: envoy.Address("ingress")}.answers(`503 {"trusted_keys":[]}`)
}
