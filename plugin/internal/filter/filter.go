package filter

import (
	"fmt"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"sallyport/policydata"
	"sallyport/policydata/authorize"
	"sallyport/policydata/pluginconfig"
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
func (vm *vmContext) NewPluginContext(uint32) types.PluginContext {
	return &pluginContext{vm: vm, enforcer: &enforcer{}}
}

type pluginContext struct {
	types.DefaultPluginContext

	vm       *vmContext
	enforcer *enforcer
}

// enforcer is a configuration at work. The zero enforcer has no engine and
// denies everything.
type enforcer struct {
	config   pluginconfig.Config
	snapshot *policydata.Snapshot
	engine   *authorize.Engine
	metrics  *metrics
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
	name := pluginName()
	next, err := configure()
	if err != nil {
		proxywasm.LogError("sallyport: configuration refused: " + err.Error())
		return types.OnPluginStartStatusFailed
	}
	if last := p.vm.lastGood[name]; last != nil && older(next.snapshot, last.snapshot) {
		// Not a failure: the trial VM, which remembers nothing, has accepted it,
		// and Envoy would be left without any configuration on this worker.
		proxywasm.LogWarn(fmt.Sprintf("sallyport: snapshot %s is older than %s, which stays", version(next.snapshot), version(last.snapshot)))
		last.metrics.refused()
		p.enforcer = last
		return types.OnPluginStartStatusOK
	}
	p.enforcer = next
	p.vm.lastGood[name] = next
	next.metrics.generation(next.snapshot)
	proxywasm.LogInfo("sallyport: enforcing snapshot " + version(next.snapshot))
	return types.OnPluginStartStatusOK
}

func configure() (*enforcer, error) {
	raw, err := pluginConfiguration()
	if err != nil {
		return nil, fmt.Errorf("reading it: %w", err)
	}
	config, err := pluginconfig.Parse(raw)
	if err != nil {
		return nil, err
	}
	keys, err := parseTrustedKeys(config.TrustedKeys)
	if err != nil {
		return nil, err
	}
	e := &enforcer{config: config}
	if config.Snapshot != nil {
		if e.snapshot, err = policydata.Load(config.Snapshot, keys.verify); err != nil {
			return nil, err
		}
	}
	source := authorize.TokenSource{Header: config.TokenHeader, Cookie: config.TokenCookie}
	if e.engine, err = authorize.New(e.snapshot, source); err != nil {
		return nil, err
	}
	e.metrics = defineMetrics()
	return e, nil
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
func (p *pluginContext) NewHttpContext(uint32) types.HttpContext {
	return &httpContext{enforcer: p.enforcer}
}
