package filter

import (
	"encoding/binary"
	"testing"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/proxytest"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"sallyport/policydata"
	"sallyport/policydata/pluginconfig"
	"sallyport/policydata/pushapi"
)

// newVM returns a VM in the emulated host, with a plugin without settings.
func newVM(t *testing.T) *vmContext {
	t.Helper()
	vm := New().(*vmContext)
	option := proxytest.NewEmulatorOption().WithVMContext(vm).WithPluginConfiguration([]byte("{}"))
	host, reset := proxytest.NewHostEmulator(option)
	t.Cleanup(reset)
	if host.StartPlugin() != types.OnPluginStartStatusOK {
		t.Fatal(host.GetErrorLogs())
	}
	return vm
}

// plugin starts another plugin with a snapshot, which one of its trusted keys has
// signed: the first. Keys and signatures are just texts here.
func (vm *vmContext) plugin(t *testing.T, name, cluster string, generation uint64, trusted ...string) *pluginContext {
	t.Helper()
	e := &enforcer{config: pluginconfig.Config{HostCluster: cluster, Poll: true}, metrics: defineMetrics()}
	for _, key := range trusted {
		e.config.TrustedKeys = append(e.config.TrustedKeys, []byte(key))
		e.keys = append(e.keys, trustedKey{spki: []byte(key)})
	}
	e.loaded = signed(t, generation, trusted[0])
	if err := e.begin(nil); err != nil {
		t.Fatal(err)
	}
	vm.made++
	p := &pluginContext{vm: vm, id: 100 + uint32(vm.made), number: vm.made, name: name, enforcer: &enforcer{}}
	if err := p.start(e); err != nil {
		t.Fatal(err)
	}
	return p
}

// signed returns a snapshot with the signature of a key, another each time.
func signed(t *testing.T, generation uint64, key string) loaded {
	t.Helper()
	body, err := policydata.Build(policydata.Source{Epoch: 1, Generation: generation})
	if err != nil {
		t.Fatal(err)
	}
	marks++
	raw := policydata.AppendSignature(body, key, binary.LittleEndian.AppendUint64(make([]byte, policydata.MarkBytes), marks))
	s, err := policydata.Load(raw, func(_, _ []byte) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return loaded{snapshot: s, raw: raw, mark: s.Mark(), signer: []byte(key)}
}

var marks uint64

func (p *pluginContext) enforces(t *testing.T, generation uint64) {
	t.Helper()
	if got := p.enforcer.version(); got != (pushapi.Version{Epoch: 1, Generation: generation}) {
		t.Errorf("plugin %d enforces %v, want generation %d", p.number, got, generation)
	}
}

// What one plugin enforces, all of its name do that trust the key, whatever their
// host: the last of them reports for all.
func TestPluginsOfOneNameAreLevel(t *testing.T) {
	vm := newVM(t)
	first := vm.plugin(t, "a", "x", 9, "k1")
	other := vm.plugin(t, "b", "x", 3, "k1")
	foreign := vm.plugin(t, "a", "x", 5, "k2")
	late := vm.plugin(t, "a", "x", 4, "k1") // the last good one of its name is the foreign
	late.enforces(t, 9)

	second := vm.plugin(t, "a", "y", 12, "k1", "k2")
	for _, p := range []*pluginContext{first, late, second} {
		p.enforces(t, 12)
	}
	foreign.enforces(t, 5)
	other.enforces(t, 3)

	if err := first.feed.take(signed(t, 13, "k1"), "here"); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*pluginContext{first, late, second} {
		p.enforces(t, 13)
	}
	if vm.reports(first) || !vm.reports(second) {
		t.Error("not the last plugin reports")
	}
	foreign.enforces(t, 5)
	other.enforces(t, 3)
}

// What was last configured under the name may be older than what a plugin has.
func TestWhatWaitsIsNotDecidedByAnOlderSnapshot(t *testing.T) {
	vm := newVM(t)
	p := vm.plugin(t, "a", "x", 9, "k1")
	vm.lastGood["a"] = &enforcer{config: p.enforcer.config, keys: p.enforcer.keys, loaded: signed(t, 8, "k1")}
	if p.newest() != p.enforcer {
		t.Error("an older snapshot decides")
	}
	vm.lastGood["a"] = &enforcer{config: p.enforcer.config, keys: p.enforcer.keys, loaded: signed(t, 9, "k1")}
	if p.newest() != p.enforcer {
		t.Error("another of the same version decides")
	}
	vm.lastGood["a"].loaded = signed(t, 10, "k1")
	if p.newest() != vm.lastGood["a"] {
		t.Error("a newer snapshot does not decide")
	}
}

// The same version made anew is the last good one, though a plugin that is gone
// had it first.
func TestTheLastGoodSnapshotIsTheLast(t *testing.T) {
	vm := newVM(t)
	vm.plugin(t, "a", "x", 9, "k1")
	p := vm.plugin(t, "a", "x", 9, "k1")
	again := signed(t, 9, "k1")
	vm.lastGood["a"] = vm.plugins[0].enforcer
	vm.plugins = vm.plugins[1:]
	if err := p.swap(again); err != nil {
		t.Fatal(err)
	}
	if got := vm.lastGood["a"].mark; got != again.mark {
		t.Errorf("%s, want %s", got, again.mark)
	}
}

// A plugin that another did not find, and that shows up again, works with those
// that came meanwhile, and has what they have.
func TestPluginThatComesBack(t *testing.T) {
	vm := newVM(t)
	p := vm.plugin(t, "a", "x", 7, "k1")
	vm.plugins, vm.feeds = nil, map[string]*feed{}
	other := vm.plugin(t, "a", "x", 8, "k1")
	p.enforces(t, 7)
	vm.enlist(p, 0)
	p.enforces(t, 8)
	if p.feed != other.feed || len(p.feed.plugins) != 2 || p.feed.driver() != other || len(vm.feeds) != 1 {
		t.Errorf("%v", vm.feeds)
	}
}

// The answer to a question asked from a plugin that does not drive any more would
// be lost when the proxy lets go of that.
func TestOnlyTheDriverAsks(t *testing.T) {
	vm := newVM(t)
	p := vm.plugin(t, "a", "x", 7, "k1")
	f := p.feed
	f.leader.leads = true
	call := &pollCall{owner: p, waits: true, since: -2 * quickMillis}
	f.poller.call = call
	driver := vm.plugin(t, "a", "x", 7, "k1")
	f.answer(call, &response{headers: [][2]string{{":status", "304"}}, status: "304"})
	if f.poller.call != nil || f.poller.failures != 0 {
		t.Error("a plugin asked that does not drive")
	}
	f.ask(0)
	if f.poller.call == nil || f.poller.call.owner != driver {
		t.Error("the driver does not ask")
	}
}
