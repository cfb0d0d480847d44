package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"sallyport/e2e/logtest"
	"sallyport/host/wasmhost"
	"sallyport/plugin/filtertest"
	"sallyport/policydata"
)

// filterWasm is the filter as it is shipped, and cacheDir its machine code.
var (
	filterWasm []byte
	cacheDir   string
)

// logged is all that filters logged in the whole run, and fixture the one
// fixture of it, so that no token of the run may show in logged.
var (
	logged  logtest.Buffer
	fixture = sync.OnceValue(func() *filtertest.Fixture { return filtertest.NewFixture(fatal{}) })
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sallyport-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	cacheDir = filepath.Join(dir, "cache")
	if err := readSources(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if filterWasm, err = buildFilter(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if name := fixture().TokenIn(logged.String()); name != "" {
		fmt.Fprintf(os.Stderr, "FAIL: a part of token %q was logged\n", name)
		code = 1
	}
	return code
}

// readSources lists the directories that the filter is built from. The go
// command caches what a test printed, and takes into account the directories
// that it read, but not those that a build in it read.
func readSources() error {
	for _, root := range []string{"../plugin", "../policydata"} {
		err := filepath.WalkDir(root, func(_ string, _ os.DirEntry, err error) error { return err })
		if err != nil {
			return err
		}
	}
	return nil
}

// buildFilter builds the filter by the steps of make plugin.
func buildFilter(dir string) ([]byte, error) {
	whole, trimmed := filepath.Join(dir, "whole.wasm"), filepath.Join(dir, "sallyport.wasm")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-buildmode=c-shared", "-o", whole, "sallyport/plugin")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	trim := exec.Command("go", "run", "sallyport/plugin/cmd/trim", whole, trimmed)
	for _, cmd := range []*exec.Cmd{build, trim} {
		if text, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build the filter: %w\n%s", err, text)
		}
	}
	return os.ReadFile(trimmed)
}

// fatal is a testing.TB for what is made before any test.
type fatal struct{ testing.TB }

func (fatal) Helper()           {}
func (fatal) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

// host is a proxy-wasm host with the filter compiled.
type host struct {
	runtime *wasmhost.Runtime
	module  *wasmhost.Module
}

func newHost(ctx context.Context, t testing.TB, opts wasmhost.Options) host {
	t.Helper()
	opts.CacheDir = cacheDir
	opts.PluginName = "sallyport"
	opts.Logger = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug - 4}))
	rt, err := wasmhost.NewRuntime(ctx, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rt.Close(context.Background()) })
	m, err := rt.Compile(ctx, filterWasm)
	if err != nil {
		t.Fatal(err)
	}
	return host{rt, m}
}

func (h host) start(t testing.TB, config []byte) *wasmhost.Instance {
	t.Helper()
	in, err := h.module.NewInstance(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(context.Background()) })
	return in
}

func request(t testing.TB, in *wasmhost.Instance, headers [][2]string) (filtertest.Outcome, wasmhost.Result) {
	t.Helper()
	r, err := in.Request(t.Context(), headers, true)
	if err != nil {
		t.Fatal(err)
	}
	out := filtertest.Outcome{Allowed: r.Verdict == wasmhost.VerdictContinue, Headers: r.Headers, FilterState: r.FilterState["wasm.sallyport"]}
	if r.Local != nil {
		out.Status, out.Answer, out.Body = r.Local.Status, r.Local.Headers, string(r.Local.Body)
	}
	return out, r
}

func (h host) count(reason policydata.Reason) uint64 {
	m, _ := h.runtime.Metric("sallyport_decisions_" + reason.String())
	return m.Value
}

// verifySignature is a host's own signature check.
var verifySignature = map[string]wasmhost.ForeignFunc{
	"verify_signature": func(_ *wasmhost.Stream, arg []byte) ([]byte, wasmhost.Status) {
		return filtertest.VerifySignature(arg), wasmhost.StatusOK
	},
}

// hosts are those that differ in what the filter can ask them for.
var hosts = []struct {
	name    string
	foreign map[string]wasmhost.ForeignFunc
}{
	{"signatures in Go", nil},
	{"signatures by the host", verifySignature},
}

func TestFilter(t *testing.T) {
	f := fixture()
	for _, kind := range hosts {
		t.Run(kind.name, func(t *testing.T) {
			h := newHost(t.Context(), t, wasmhost.Options{Foreign: kind.foreign})
			instances := map[string]*wasmhost.Instance{}
			for _, c := range filtertest.Cases(t) {
				in := instances[c.Setting]
				if in == nil {
					in = h.start(t, f.Setting(t, c.Setting))
					instances[c.Setting] = in
				}
				t.Run(c.Name, func(t *testing.T) {
					before := h.count(c.Reason)
					out, _ := request(t, in, f.Headers(&c))
					f.Check(t, &c, out)
					if n := h.count(c.Reason) - before; n != 1 {
						t.Errorf("the reason was counted %d times", n)
					}
				})
			}
		})
	}
}

func TestFilterRefusesConfigurations(t *testing.T) {
	f := fixture()
	for _, kind := range hosts {
		t.Run(kind.name, func(t *testing.T) {
			h := newHost(t.Context(), t, wasmhost.Options{Foreign: kind.foreign})
			in := h.start(t, f.Setting(t, ""))
			for _, c := range f.BadConfigs(t) {
				t.Run(c.Name, func(t *testing.T) {
					for where, err := range map[string]error{"a running VM": in.Reconfigure(c.Config), "a new VM": startError(h, c.Config)} {
						if !errors.Is(err, wasmhost.ErrConfigRejected) || !strings.Contains(err.Error(), c.Want) {
							t.Errorf("%s: got %v, want a refusal that says %q", where, err, c.Want)
						}
					}
					if out, _ := request(t, in, f.Request("GET", "/healthz")); !out.Allowed {
						t.Errorf("the last good configuration is not in force: %s", out.FilterState)
					}
				})
			}
			if m, _ := h.runtime.Metric("sallyport_snapshots_refused"); m.Value == 0 {
				t.Error("no refusal was counted")
			}
		})
	}
}

func startError(h host, config []byte) error {
	in, err := h.module.NewInstance(context.Background(), config)
	if err == nil {
		_ = in.Close(context.Background())
	}
	return err
}

func TestFilterSequencesOfConfigurations(t *testing.T) {
	f := fixture()
	for _, c := range f.Sequences(t) {
		t.Run(c.Name, func(t *testing.T) {
			h := newHost(t.Context(), t, wasmhost.Options{})
			var in *wasmhost.Instance
			for _, step := range c.Steps {
				if in == nil {
					in = h.start(t, step.Config)
				} else if err := in.Reconfigure(step.Config); err != nil {
					t.Fatal(err)
				}
				out, _ := request(t, in, f.Request("GET", "/healthz"))
				t.Run(step.Name, func(t *testing.T) { step.Check(t, out) })
				if m, _ := h.runtime.Metric("sallyport_generation"); fmt.Sprint(m.Value) != step.Generation {
					t.Errorf("%s: the metric says generation %d", step.Name, m.Value)
				}
			}
		})
	}
}

// requestPath are the hostcalls of a request, each of which must deny it where
// it fails.
var requestPath = []string{
	foreignFunction,
	"proxy_get_header_map_pairs",
	"proxy_increment_metric",
	"proxy_log",
	"proxy_remove_header_map_value",
	"proxy_replace_header_map_value",
	"proxy_send_local_response",
	"proxy_set_property",
}

// foreignFunction is how the filter has signatures verified by the proxy. A
// proxy that says it has no such function is no failure: then Go verifies.
const foreignFunction = "proxy_call_foreign_function"

func isNoSuchFunction(name string, status wasmhost.Status) bool {
	return name == foreignFunction && (status == wasmhost.StatusNotFound || status == wasmhost.StatusUnimplemented)
}

// Every hostcall of every case is made to fail in turn, each in every way.
func TestFilterDeniesWhenAHostcallFails(t *testing.T) {
	f := fixture()
	var inject func(string) (wasmhost.Status, bool)
	h := newHost(t.Context(), t, wasmhost.Options{Inject: func(name string) (wasmhost.Status, bool) {
		if inject == nil {
			return 0, false
		}
		return inject(name)
	}})
	statuses := []wasmhost.Status{
		wasmhost.StatusNotFound, wasmhost.StatusBadArgument, wasmhost.StatusInvalidMemoryAccess, wasmhost.StatusEmpty,
		wasmhost.StatusCASMismatch, wasmhost.StatusInternalFailure, wasmhost.StatusUnimplemented, 255,
	}
	covered, rows := map[string]bool{}, 0
	for _, c := range filtertest.Cases(t) {
		in := h.start(t, f.Setting(t, c.Setting))
		headers := f.Headers(&c)
		inject = nil
		_, whole := request(t, in, headers)
		for name, calls := range whole.Hostcalls() {
			for nth := range calls {
				for _, status := range statuses {
					if isNoSuchFunction(name, status) {
						continue
					}
					if name == foreignFunction { // a token that was seen needs no verification
						inject = nil
						in = h.start(t, f.Setting(t, c.Setting))
					}
					rows++
					covered[name] = true
					seen := 0
					inject = func(called string) (wasmhost.Status, bool) {
						if called != name {
							return 0, false
						}
						seen++
						return status, seen > nth
					}
					if allowed(t, in, headers, name) {
						t.Errorf("%s: allowed although %s, call %d, answered %d", c.Name, name, nth, status)
					}
				}
			}
		}
		inject = nil
	}
	covered["proxy_log"] = true // made only where something else fails
	if rows == 0 {
		t.Error("no hostcall was made to fail")
	}
	if diff := cmp.Diff(requestPath, slices.Sorted(maps.Keys(covered))); diff != "" {
		t.Errorf("hostcalls of the request path that were made to fail (-want +got):\n%s", diff)
	}
}

// allowed asks about a request while a hostcall is broken. Where that is the one
// which answers the client, the request stays paused, and nobody waits for it.
func allowed(t *testing.T, in *wasmhost.Instance, headers [][2]string, broken string) bool {
	t.Helper()
	if broken != "proxy_send_local_response" {
		out, _ := request(t, in, headers)
		return out.Allowed
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	r, err := in.Request(ctx, headers, true)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	return err == nil && r.Verdict == wasmhost.VerdictContinue
}

// The SDK panics where a metric can't be had.
func TestFilterSurvivesAPanic(t *testing.T) {
	f := fixture()
	broken := ""
	h := newHost(t.Context(), t, wasmhost.Options{Inject: func(name string) (wasmhost.Status, bool) {
		return wasmhost.StatusInternalFailure, name == broken
	}})
	in := h.start(t, f.Setting(t, ""))
	for _, broken = range []string{"proxy_increment_metric", ""} {
		out, _ := request(t, in, f.Request("GET", "/healthz"))
		if want := broken == ""; out.Allowed != want || !want && out.Status != 503 {
			t.Errorf("%q broken: %+v", broken, out)
		}
	}
	broken = "proxy_define_metric"
	if err := in.Reconfigure(f.Setting(t, "")); !errors.Is(err, wasmhost.ErrConfigRejected) {
		t.Errorf("got %v, want a refusal", err)
	}
	broken = ""
	if out, _ := request(t, in, f.Request("GET", "/healthz")); !out.Allowed {
		t.Errorf("the last good configuration is not in force: %+v", out)
	}
}

// What a request costs in calls across the VM's border.
func TestFilterHostcallsOfARequest(t *testing.T) {
	f := fixture()
	wasi := &wasiCalls{count: map[string]int{}}
	ctx := experimental.WithFunctionListenerFactory(t.Context(), wasi)
	h := newHost(ctx, t, wasmhost.Options{})
	in := h.start(t, f.Setting(t, ""))
	headers := f.Headers(&filtertest.Cases(t)[0])
	want := map[string]int{"proxy_get_header_map_pairs": 1, "proxy_set_property": 1, "proxy_increment_metric": 1, foreignFunction: 1}
	for _, token := range []string{"never seen before", "seen before"} {
		clear(wasi.count)
		out, result := request(t, in, headers)
		if !out.Allowed {
			t.Fatal(out.FilterState)
		}
		if diff := cmp.Diff(want, result.Hostcalls()); diff != "" {
			t.Errorf("token %s: hostcalls (-want +got):\n%s", token, diff)
		}
		t.Logf("token %s: hostcalls %v, WASI %v", token, result.Hostcalls(), wasi.count)
		delete(want, foreignFunction)
	}
}

// wasiCalls counts calls of WASI functions.
type wasiCalls struct{ count map[string]int }

func (w *wasiCalls) NewFunctionListener(def api.FunctionDefinition) experimental.FunctionListener {
	if def.ModuleName() != "wasi_snapshot_preview1" {
		return nil
	}
	return experimental.FunctionListenerFunc(func(_ context.Context, _ api.Module, def api.FunctionDefinition, _ []uint64, _ experimental.StackIterator) {
		w.count[def.Name()]++
	})
}
