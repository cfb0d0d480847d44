package filter

import (
	"errors"
	"fmt"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"sallyport/policydata"
	"sallyport/policydata/authorize"
	"sallyport/policydata/pluginconfig"
	"sallyport/policydata/pushapi"
)

// New returns the filter, to be set as the VM's context.
func New() types.VMContext {
	return &vmContext{
		self:      newWorker(),
		lastGood:  map[string]*enforcer{},
		feeds:     map[string]*feed{},
		reporters: map[string]*reporter{},
	}
}

type vmContext struct {
	types.DefaultVMContext

	self worker
	made uint64 // plugin contexts so far

	// lastGood is what each plugin last enforced in this VM, by plugin name. A
	// configuration comes as a new plugin context, so it has to outlive these.
	lastGood map[string]*enforcer

	plugins   []*pluginContext // that can reach a host, by the time of their configuration
	feeds     map[string]*feed // by key
	reporters map[string]*reporter
}

// NewPluginContext is called for each plugin configuration.
func (vm *vmContext) NewPluginContext(id uint32) types.PluginContext {
	vm.made++
	return &pluginContext{vm: vm, id: id, number: vm.made, enforcer: &enforcer{}}
}

type pluginContext struct {
	types.DefaultPluginContext

	vm       *vmContext
	id       uint32 // for the proxy, which uses it again some time
	number   uint64 // in the order of configurations
	name     string
	enforcer *enforcer
	room     waitingRoom
	feed     *feed     // nil: snapshots come by configuration
	reporter *reporter // nil: not configured
	period   uint32    // of ticks, in milliseconds; 0: none
}

// enforcer is a configuration at work. The zero enforcer has no engine and
// denies everything.
type enforcer struct {
	loaded
	config  pluginconfig.Config
	keys    trustedKeys
	engine  *authorize.Engine
	metrics *metrics
	since   int64 // in milliseconds of the monotonic clock

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
	next, claimed, err := p.vm.configure(p.name, pluginConfiguration)
	if err == nil {
		err = p.start(next)
	}
	if err != nil {
		proxywasm.LogError("sallyport: configuration refused: " + err.Error())
		defineMetrics().refused()
		p.vm.reporter(p.name).refuses(claimed, err.Error())
		return types.OnPluginStartStatusFailed
	}
	proxywasm.LogInfo("sallyport: enforcing snapshot " + version(p.enforcer.snapshot))
	return types.OnPluginStartStatusOK
}

var errNoTicks = errors.New("the proxy does not take the period of ticks")

// start puts a configuration in force.
func (p *pluginContext) start(e *enforcer) error {
	if e.config.HostCluster != "" && !p.tick(firstTickMillis) && e.config.Poll {
		return errNoTicks
	}
	p.enforcer = e
	p.vm.lastGood[p.name] = e
	e.metrics.generation(e.snapshot)
	p.reporter = p.vm.reporter(p.name)
	if e.config.HostCluster == "" {
		return nil
	}
	if p.vm.self.badToken {
		proxywasm.LogError("sallyport: " + pushapi.TokenVariable + " is no token: it is not sent")
	}
	p.vm.enlist(p, e.since)
	return nil
}

// OnTick does what is due: for requests that wait, and for the snapshots.
func (p *pluginContext) OnTick() {
	millis, ok := monotonic()
	p.reviewAll(millis, ok)
	if ok && p.reporter != nil && p.enforcer.config.HostCluster != "" {
		protect(func() { p.vm.work(p, millis) })
	}
	p.tick(p.wantedPeriod())
}

// work does what is due for the plugins of p's name. Each part is done by one of
// them.
func (vm *vmContext) work(p *pluginContext, now int64) {
	vm.look(p, now)
	if p.feed != nil && p.feed.driver() == p {
		p.feed.step(now)
	}
	if vm.reports(p) {
		p.reporter.report(p, now)
	}
}

func (p *pluginContext) wantedPeriod() uint32 {
	switch {
	case len(p.room.requests) > 0:
		return waitingTickMillis
	case p.reporter != nil && p.enforcer.config.HostCluster != "":
		return tickMillis
	}
	return 0
}

// tick sets the period of ticks.
func (p *pluginContext) tick(milliseconds uint32) bool {
	if p.period == milliseconds {
		return true
	}
	if !setTick(milliseconds) {
		return false
	}
	p.period = milliseconds
	return true
}

// configure makes an enforcer of a plugin's configuration. The version is what
// the snapshot in it says of itself, whether it is refused or not.
func (vm *vmContext) configure(name string, configuration func() ([]byte, error)) (*enforcer, pushapi.Version, error) {
	var claimed pushapi.Version
	// What the configuration before left behind goes first: a wasm memory never
	// shrinks, and a third less of it is in use after pushes of large snapshots.
	collect()
	raw, err := configuration()
	if err != nil {
		return nil, claimed, fmt.Errorf("reading it: %w", err)
	}
	e := &enforcer{}
	if e.config, err = pluginconfig.Parse(raw); err != nil {
		return nil, claimed, err
	}
	claimed.Epoch, claimed.Generation, _ = policydata.ClaimedVersion(e.config.Snapshot)
	if e.keys, err = parseTrustedKeys(e.config.TrustedKeys); err != nil {
		return nil, claimed, err
	}
	if e.config.Snapshot != nil {
		if e.loaded, err = load(e.config.Snapshot, e.keys); err != nil {
			return nil, claimed, err
		}
		e.config.Snapshot = nil // the snapshot has it
	}
	e.metrics = defineMetrics()
	last, r := vm.lastGood[name], vm.reporter(name)
	r.enforces()
	if last != nil {
		e.keepNewer(last, r)
	}
	if millis, ok := monotonic(); ok && e.config.Poll {
		e.takeShared(name, millis)
	}
	if err = e.begin(last); err != nil {
		return nil, claimed, err
	}
	return e, claimed, nil
}

// keepNewer puts the last snapshot in the place of one that is older. The rest
// of the configuration counts all the same, so this is not a failure: the trial
// VM, which remembers nothing, has accepted it, and Envoy would be left without
// any configuration on this worker.
//
// A last snapshot whose key is no longer trusted does not count: another store's
// generations say nothing about this one's, and a key may have been withdrawn
// for a reason. The snapshot of a plugin that polls serves for a start and is
// usually older, or of a version of which the host has said more since.
func (e *enforcer) keepNewer(last *enforcer, r *reporter) {
	switch {
	case !e.keys.contain(last.signer):
	case e.config.Poll && !older(last.snapshot, e.snapshot):
		e.loaded = last.loaded
	case older(e.snapshot, last.snapshot):
		text := fmt.Sprintf("snapshot %s is older than %s, which stays", version(e.snapshot), version(last.snapshot))
		proxywasm.LogWarn("sallyport: " + text)
		e.metrics.refused()
		r.refuses(e.version(), text)
		e.loaded = last.loaded
	}
}

// NewHttpContext is called for each request.
func (p *pluginContext) NewHttpContext(id uint32) types.HttpContext {
	return &httpContext{id: id, plugin: p, enforcer: p.enforcer}
}
