package filter

import (
	"fmt"
	"runtime"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"sallyport/plugin/internal/native"
	"sallyport/policydata"
	"sallyport/policydata/authorize"
	"sallyport/policydata/pluginconfig"
	"sallyport/policydata/token"
)

// New returns the filter, to be set as the VM's context.
func New() types.VMContext { return &vmContext{lastGood: map[string]*enforcer{}} }

type vmContext struct {
	types.DefaultVMContext

	// lastGood is what each plugin last enforced in this VM, by plugin name. A
	// configuration comes as a new plugin context, so it has to outlive these.
	lastGood map[string]*enforcer
}

// NewPluginContext is called for each plugin configuration.
func (vm *vmContext) NewPluginContext(id uint32) types.PluginContext {
	return &pluginContext{vm: vm, id: id, enforcer: &enforcer{}}
}

type pluginContext struct {
	types.DefaultPluginContext

	vm       *vmContext
	id       uint32
	name     string
	enforcer *enforcer
	room     waitingRoom
}

// enforcer is a configuration at work. The zero enforcer has no engine and
// denies everything.
type enforcer struct {
	config   pluginconfig.Config
	snapshot *policydata.Snapshot
	signer   []byte // the trusted key that signed the snapshot
	engine   *authorize.Engine
	metrics  *metrics

	state []byte // the decision as it was last handed to the proxy; kept for its room
}

// OnPluginStart takes the plugin configuration. Envoy first tries it in a VM
// that it throws away: a configuration refused there changes nothing, and the
// one before stays in force.
func (p *pluginContext) OnPluginStart(int) (status types.OnPluginStartStatus) {
	defer func() {
		if r := recover(); r != nil {
			proxywasm.LogCritical("sallyport: internal error while taking the configuration")
			p.enforcer = &enforcer{}
			status = types.OnPluginStartStatusFailed
		}
	}()
	p.name = pluginName()
	next, err := p.vm.configure(p.name, pluginConfiguration)
	if err != nil {
		proxywasm.LogError("sallyport: configuration refused: " + err.Error())
		defineMetrics().refused()
		return types.OnPluginStartStatusFailed
	}
	p.enforcer = next
	p.vm.lastGood[p.name] = next
	next.metrics.generation(next.snapshot)
	proxywasm.LogInfo("sallyport: enforcing snapshot " + version(next.snapshot))
	return types.OnPluginStartStatusOK
}

// configure makes an enforcer of a plugin's configuration.
func (vm *vmContext) configure(name string, configuration func() ([]byte, error)) (*enforcer, error) {
	// What the configuration before left behind goes first: a wasm memory never
	// shrinks, and a third less of it is in use after pushes of large snapshots.
	runtime.GC()
	raw, err := configuration()
	if err != nil {
		return nil, fmt.Errorf("reading it: %w", err)
	}
	e := &enforcer{}
	if e.config, err = pluginconfig.Parse(raw); err != nil {
		return nil, err
	}
	keys, err := parseTrustedKeys(e.config.TrustedKeys)
	if err != nil {
		return nil, err
	}
	if e.config.Snapshot != nil {
		v := verifier{keys: keys}
		if e.snapshot, err = policydata.Load(e.config.Snapshot, v.verify); err != nil {
			return nil, err
		}
		e.signer = v.signer
		e.config.Snapshot = nil // the snapshot has it
	}
	e.metrics = defineMetrics()
	last := vm.lastGood[name]
	if last == nil {
		last = &enforcer{}
	}
	e.keepNewer(last, keys)
	source := authorize.TokenSource{Header: e.config.TokenHeader, Cookie: e.config.TokenCookie}
	if e.engine, err = authorize.New(e.snapshot, source, token.WithSignatureFunc(native.VerifyToken)); err != nil {
		return nil, err
	}
	e.engine.CacheTokens(last.engine)
	return e, nil
}

// keepNewer puts the last snapshot in the place of one that is older. The rest
// of the configuration counts all the same, so this is not a failure: the trial
// VM, which remembers nothing, has accepted it, and Envoy would be left without
// any configuration on this worker.
//
// A last snapshot whose key is no longer trusted does not count: another store's
// generations say nothing about this one's, and a key may have been withdrawn
// for a reason.
func (e *enforcer) keepNewer(last *enforcer, keys trustedKeys) {
	if !older(e.snapshot, last.snapshot) || !keys.contain(last.signer) {
		return
	}
	proxywasm.LogWarn(fmt.Sprintf("sallyport: snapshot %s is older than %s, which stays", version(e.snapshot), version(last.snapshot)))
	e.metrics.refused()
	e.snapshot, e.signer = last.snapshot, last.signer
}

// older reports whether taking next would undo what last enforces. No snapshot
// at all counts as older than any.
func older(next, last *policydata.Snapshot) bool {
	switch {
	case last == nil:
		return false
	case next == nil:
		return true
	case next.Epoch() != last.Epoch():
		return next.Epoch() < last.Epoch()
	}
	return next.Generation() < last.Generation()
}

func version(s *policydata.Snapshot) string {
	if s == nil {
		return "none"
	}
	return fmt.Sprintf("%d.%d", s.Epoch(), s.Generation())
}

// NewHttpContext is called for each request.
func (p *pluginContext) NewHttpContext(id uint32) types.HttpContext {
	return &httpContext{id: id, plugin: p, enforcer: p.enforcer}
}
