package poll

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/e2e/hosttest"
	"sallyport/e2e/logtest"
	"sallyport/host/wasmhost"
	"sallyport/plugin/filtertest"
	"sallyport/policydata/pluginconfig"
	"sallyport/policydata/pushapi"
)

var cacheDir string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sallyport-poll")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	cacheDir = dir
	return m.Run()
}

var precompiled = sync.OnceValue(func() error { return hosttest.Precompile(cacheDir, "../../build/sallyport.wasm") })

// fleet are VMs that share data, as the workers of a proxy.
type fleet struct {
	*host
	f       *filtertest.Fixture
	runtime *wasmhost.Runtime
	module  *wasmhost.Module
	workers []*wasmhost.Instance
	ahead   atomic.Int64 // of the real clock, in nanoseconds
	broken  atomic.Pointer[string]
	log     *logtest.Buffer
}

var start = time.Now()

// newFleet starts workers with a host that publishes nothing yet.
func newFleet(t testing.TB, workers int, change func(*pluginconfig.Config)) *fleet {
	t.Helper()
	fl := prepare(t)
	for range workers {
		fl.start(change)
	}
	return fl
}

// prepare makes a fleet without workers.
func prepare(t testing.TB) *fleet {
	t.Helper()
	if err := precompiled(); err != nil {
		t.Fatal(err)
	}
	fl := &fleet{host: newHost(t), f: filtertest.NewFixture(t), log: &logtest.Buffer{}}
	address, err := url.Parse("http://" + fl.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	fl.runtime, err = wasmhost.NewRuntime(t.Context(), wasmhost.Options{
		CacheDir: cacheDir, PluginName: "sallyport", NodeID: "edge-1",
		Env:       map[string]string{pushapi.TokenVariable: token},
		Logger:    slog.New(slog.NewTextHandler(fl.log, &slog.HandlerOptions{Level: slog.LevelDebug - 4})),
		Clusters:  map[string]wasmhost.Cluster{filtertest.HostCluster: {URL: address}},
		Monotonic: func() time.Duration { return time.Since(start) + time.Duration(fl.ahead.Load()) },
		Inject: func(name string) (wasmhost.Status, bool) {
			broken := fl.broken.Load()
			return wasmhost.StatusInternalFailure, broken != nil && *broken == name
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = fl.runtime.Close(context.Background())
		if strings.Contains(fl.log.String(), token) {
			t.Error("the proxy's token was logged")
		}
		if t.Failed() {
			t.Log(fl.log.String())
		}
	})
	module, err := os.ReadFile(hosttest.Module(t))
	if err != nil {
		t.Fatal(err)
	}
	if fl.module, err = fl.runtime.Compile(t.Context(), module); err != nil {
		t.Fatal(err)
	}
	return fl
}

// config polls, and has no snapshot.
func (fl *fleet) config(change func(*pluginconfig.Config)) []byte {
	c := fl.f.Config(fl.t, nil)
	c.Snapshot, c.HostCluster, c.Poll = nil, filtertest.HostCluster, true
	if change != nil {
		change(&c)
	}
	return c.AppendBinary(nil)
}

// start starts another worker.
func (fl *fleet) start(change func(*pluginconfig.Config)) *wasmhost.Instance {
	fl.t.Helper()
	in, err := fl.module.NewInstance(context.Background(), fl.config(change))
	if err != nil {
		fl.t.Fatal(err)
	}
	fl.workers = append(fl.workers, in)
	return in
}

// kill ends a worker, as a trap does.
func (fl *fleet) kill(i int) {
	_ = fl.workers[i].Close(context.Background())
	fl.workers = append(fl.workers[:i], fl.workers[i+1:]...)
}

// decide asks a worker about /healthz.
func (fl *fleet) decide(in *wasmhost.Instance) string {
	fl.t.Helper()
	r, err := in.Request(context.Background(), fl.f.Request("GET", "/healthz"), true)
	if err != nil {
		fl.t.Fatal(err)
	}
	var d struct{ Reason, Generation string }
	if err := json.Unmarshal([]byte(r.FilterState["wasm.sallyport"]), &d); err != nil {
		fl.t.Fatal(err)
	}
	if allowed := r.Verdict == wasmhost.VerdictContinue; allowed != (d.Reason == "allowed") {
		fl.t.Errorf("allowed: %t for %+v", allowed, d)
	}
	return d.Reason + " " + d.Generation
}

// enforce waits until all workers enforce a version, and returns how long that
// took.
func (fl *fleet) enforce(version string) time.Duration {
	fl.t.Helper()
	begin := time.Now()
	fl.await("enforce "+version, func() error {
		for i, in := range fl.workers {
			if got := fl.decide(in); got != wanted(version) {
				return fmt.Errorf("worker %d: %s", i, got)
			}
		}
		return nil
	})
	return time.Since(begin)
}

// keep wants all workers to enforce a version still, after some ticks.
func (fl *fleet) keep(version string, d time.Duration) {
	fl.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		for i, in := range fl.workers {
			if got := fl.decide(in); got != wanted(version) {
				fl.t.Fatalf("worker %d: %s, want %s", i, got, wanted(version))
			}
		}
	}
}

func (fl *fleet) metric(name string) uint64 {
	m, _ := fl.runtime.Metric("sallyport_" + name)
	return m.Value
}

// entry returns the name of the shared entry with a suffix.
func (fl *fleet) entry(suffix string) string {
	fl.t.Helper()
	for _, key := range fl.runtime.SharedKeys() {
		if strings.HasSuffix(key, suffix) {
			return key
		}
	}
	fl.t.Fatalf("no entry %s in shared data: %s", suffix, fl.runtime.SharedKeys())
	return ""
}

// is wants a worker to enforce a version.
func (fl *fleet) is(in *wasmhost.Instance, version string) error {
	if got := fl.decide(in); got != wanted(version) {
		return errors.New(got)
	}
	return nil
}

func version(epoch, n uint64) string { return pushapi.Version{Epoch: epoch, Generation: n}.String() }

func unhex(text string) []byte {
	b, _ := hex.DecodeString(text)
	return b
}
