package wasmhost

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"
)

// DefaultMemoryLimit bounds the memory of one VM where Options doesn't.
const DefaultMemoryLimit = 1 << 30

const wasmPageBytes = 64 << 10

// Options configures a Runtime. The zero Options has real clocks and
// randomness, no environment, no cache, and logs nothing.
type Options struct {
	// CacheDir keeps compiled modules, so that the next start is quick. It is
	// made where it doesn't exist. It holds machine code that will be run:
	// nobody else may write there.
	CacheDir string
	// Now is the wall clock that the filter sees; time.Now if nil.
	Now func() time.Time
	// Monotonic is the monotonic clock that the filter sees, the same for all
	// VMs; the real one if nil. Ticks and timeouts keep to the real one.
	Monotonic func() time.Duration
	// Env is the environment that the filter sees.
	Env map[string]string
	// PluginName is the property plugin_name.
	PluginName string
	// NodeID is the property xds.node.id, what the proxy is called.
	NodeID string
	// VMConfig is the VM's configuration, beside the plugin's.
	VMConfig []byte
	// Logger receives what filters log. Nothing is logged if nil.
	Logger *slog.Logger
	// Foreign are foreign functions by name; "set_envoy_filter_state" is always
	// there and can be replaced.
	Foreign map[string]ForeignFunc
	// Clusters are the services that filters may call by proxy_http_call, by
	// the names by which filters call them.
	Clusters map[string]Cluster
	// MemoryLimit bounds the memory of one VM in bytes; DefaultMemoryLimit if 0.
	MemoryLimit uint64
	// Inject is asked before each hostcall, by its name; where it says so, the
	// call answers the status and does nothing else. It is for tests that
	// make hostcalls fail, and is called from the goroutines of all instances.
	Inject func(hostcall string) (status Status, inject bool)
}

// Runtime holds what the VMs of a process share: the compiler, shared data,
// queues and metrics. It is safe for concurrent use.
type Runtime struct {
	opts    Options
	wazero  wazero.Runtime
	cache   wazero.CompilationCache // nil without Options.CacheDir
	shared  *sharedStore
	metrics *metricStore

	mu        sync.Mutex             // guards all below
	instances map[*Instance]struct{} // that are not closed
}

// NewRuntime returns a Runtime. Close it after its pools and instances.
func NewRuntime(ctx context.Context, opts Options) (*Runtime, error) {
	if err := checkClusters(opts.Clusters); err != nil {
		return nil, err
	}
	opts = withDefaults(opts)
	config := wazero.NewRuntimeConfigCompiler().
		WithMemoryLimitPages(uint32(min(opts.MemoryLimit/wasmPageBytes, 1<<16)))
	r := &Runtime{opts: opts, shared: newSharedStore(), metrics: newMetricStore(), instances: make(map[*Instance]struct{})}
	if opts.CacheDir != "" {
		cache, err := wazero.NewCompilationCacheWithDir(opts.CacheDir)
		if err != nil {
			return nil, fmt.Errorf("open wasm compilation cache: %w", err)
		}
		r.cache = cache
		config = config.WithCompilationCache(cache)
	}
	r.wazero = wazero.NewRuntimeWithConfig(ctx, config)
	if err := r.instantiateHost(ctx); err != nil {
		_ = r.Close(ctx) // the first error says more
		return nil, err
	}
	return r, nil
}

func withDefaults(opts Options) Options {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.MemoryLimit == 0 {
		opts.MemoryLimit = DefaultMemoryLimit
	}
	foreign := map[string]ForeignFunc{setFilterStateFunc: setFilterState}
	maps.Copy(foreign, opts.Foreign)
	opts.Foreign = foreign
	opts.Env = maps.Clone(opts.Env)
	opts.Clusters = withTransports(opts.Clusters)
	opts.VMConfig = slices.Clone(opts.VMConfig)
	return opts
}

// instantiateHost provides the modules that a filter imports.
func (r *Runtime) instantiateHost(ctx context.Context) error {
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, r.wazero); err != nil {
		return fmt.Errorf("provide wasi: %w", err)
	}
	b := r.wazero.NewHostModuleBuilder("env")
	for i := range hostcalls {
		b.NewFunctionBuilder().
			WithGoFunction(hostFunc(i), hostcalls[i].paramTypes(), []api.ValueType{api.ValueTypeI32}).
			Export(hostcalls[i].name)
	}
	if _, err := b.Instantiate(ctx); err != nil {
		return fmt.Errorf("provide hostcalls: %w", err)
	}
	return nil
}

// Close ends all VMs and frees compiled code.
func (r *Runtime) Close(ctx context.Context) error {
	// Each waits until its VM is left: a tick may be in code that is about to
	// be unmapped.
	for _, in := range r.open() {
		_ = in.Close(ctx) // closing the runtime closes it, too
	}
	err := r.wazero.Close(ctx)
	if r.cache != nil {
		if cerr := r.cache.Close(ctx); err == nil {
			err = cerr
		}
	}
	return err
}

func (r *Runtime) add(in *Instance) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.instances[in] = struct{}{}
}

func (r *Runtime) remove(in *Instance) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.instances, in)
}

// open returns the instances that are not closed.
func (r *Runtime) open() []*Instance {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.instances))
}

// Metrics returns all metrics that filters defined, sorted by name.
func (r *Runtime) Metrics() []Metric { return r.metrics.snapshot() }

// Metric returns the metric of a name.
func (r *Runtime) Metric(name string) (Metric, bool) { return r.metrics.find(name) }

// SharedData returns an entry of the data that all VMs share.
func (r *Runtime) SharedData(key string) (value []byte, ok bool) {
	v, ok := r.shared.value(key)
	return []byte(v.value), ok
}

// SharedKeys returns the names of all entries, sorted.
func (r *Runtime) SharedKeys() []string { return r.shared.keys() }

// SetSharedData sets an entry, as another filter with the same vm_id could.
func (r *Runtime) SetSharedData(key string, value []byte) { r.shared.set(key, string(value), 0) }

// now is the wall clock of filters.
func (r *Runtime) now() time.Time {
	if r.opts.Now != nil {
		return r.opts.Now()
	}
	return time.Now()
}

// Module is a compiled filter.
type Module struct {
	rt       *Runtime
	compiled wazero.CompiledModule
}

// Compile translates a filter to machine code: seconds for a Go filter, or
// little where the cache has it. It refuses a module that is no proxy-wasm
// filter for HTTP of ABI 0.2.x.
func (r *Runtime) Compile(ctx context.Context, wasm []byte) (*Module, error) {
	// With more than one worker, wazero notices between functions that ctx is done.
	workers := experimental.WithCompilationWorkers(ctx, max(2, runtime.GOMAXPROCS(0)))
	compiled, err := r.wazero.CompileModule(workers, wasm)
	if err != nil {
		return nil, fmt.Errorf("compile wasm filter: %w", err)
	}
	if err := checkExports(compiled); err != nil {
		_ = compiled.Close(ctx) // the first error says more
		return nil, fmt.Errorf("compile wasm filter: %w", err)
	}
	return &Module{rt: r, compiled: compiled}, nil
}

// checkExports refuses what could not decide a request.
func checkExports(m wazero.CompiledModule) error {
	have := m.ExportedFunctions()
	if have["proxy_abi_version_0_2_0"] == nil && have["proxy_abi_version_0_2_1"] == nil {
		return fmt.Errorf("no proxy-wasm ABI 0.2.0 or 0.2.1: neither version is exported")
	}
	if have[allocExport] == nil && have[mallocExport] == nil {
		return fmt.Errorf("neither %s nor %s is exported", allocExport, mallocExport)
	}
	if have[callbackNames[onRequestHeaders]] == nil {
		return fmt.Errorf("%s is not exported", callbackNames[onRequestHeaders])
	}
	for i, name := range callbackNames {
		def := have[name]
		if def == nil {
			continue
		}
		if got := len(def.ParamTypes()); got != callbackParams[i] {
			return fmt.Errorf("%s has %d parameters, not %d", name, got, callbackParams[i])
		}
	}
	if len(m.ExportedMemories()) != 1 {
		return fmt.Errorf("not exactly one memory is exported")
	}
	return nil
}

// moduleConfig is what a VM sees of the world. Modules are anonymous, so that
// there can be many of one.
func (m *Module) moduleConfig(in *Instance) wazero.ModuleConfig {
	config := wazero.NewModuleConfig().
		WithName("").
		WithStartFunctions("_initialize").
		WithSysNanosleep().
		WithRandSource(rand.Reader).
		WithStdout(&lineWriter{in: in, level: LevelInfo}).
		WithStderr(&lineWriter{in: in, level: LevelError}).
		WithWalltime(func() (int64, int32) {
			now := m.rt.now()
			return now.Unix(), int32(now.Nanosecond())
		}, sys.ClockResolution(time.Microsecond.Nanoseconds()))
	if monotonic := m.rt.opts.Monotonic; monotonic != nil {
		config = config.WithNanotime(func() int64 { return monotonic().Nanoseconds() }, sys.ClockResolution(time.Microsecond.Nanoseconds()))
	} else {
		config = config.WithSysNanotime()
	}
	for _, name := range slices.Sorted(maps.Keys(m.rt.opts.Env)) {
		config = config.WithEnv(name, m.rt.opts.Env[name])
	}
	return config
}
