package filter

import (
	"errors"
	"runtime"
	"slices"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
)

// Periods of ticks. One tick serves all: requests that wait, snapshots, reports.
const (
	firstTickMillis   = 20
	waitingTickMillis = 10
	tickMillis        = 100
)

// feed is how the plugins of one name in this VM get snapshots. One of them, the
// last that was configured, works for all.
//
// Of the workers of a proxy one leads. It keeps a question to the host open, and
// puts what it has verified into shared data, where the others find it; they
// verify it again. What a worker enforces it has thus seen signed, and only ever
// replaces by something newer, unless the host itself says otherwise of one and
// the same version. A worker that does not lead asks the host, too, now and
// then: if the shared data are spoilt, snapshots come late and no more.
type feed struct {
	vm      *vmContext
	key     string
	plugins []*pluginContext // by the time of their configuration

	leader   leader
	follower follower
	poller   poller
}

// join adds a plugin to the feed of its settings.
func (vm *vmContext) join(p *pluginContext, now int64) {
	key := feedKey(p.name, &p.enforcer.config)
	f := vm.feeds[key]
	if f == nil {
		f = newFeed(vm, key, now)
		vm.feeds[key] = f
	}
	p.feed = f
	f.plugins = insert(f.plugins, p)
}

// enlist adds a plugin that can reach a host to those of the VM.
func (vm *vmContext) enlist(p *pluginContext, now int64) {
	vm.plugins = insert(vm.plugins, p)
	if p.enforcer.config.Poll {
		vm.join(p, now)
	}
	vm.level(p.name)
}

// level puts the newest snapshot that plugins of a name have in force in all of
// them that trust its key. Otherwise listeners that the proxy drains, or has not
// configured anew, would go on with an older one, while what is reported is the
// newest.
func (vm *vmContext) level(name string) {
	for _, from := range vm.plugins {
		for _, to := range vm.plugins {
			s := from.enforcer.loaded
			if from.name == name && to.name == name && older(to.enforcer.snapshot, s.snapshot) && to.enforcer.keys.contain(s.signer) {
				_ = to.swap(s) // it stays with what it has
			}
		}
	}
}

func newFeed(vm *vmContext, key string, now int64) *feed {
	f := &feed{vm: vm, key: key}
	f.leader.headKey = key + headSuffix
	f.leader.snapshotKey = key + snapshotSuffix
	f.leader.wantedKey = key + wantedSuffix
	f.poller.asked, f.poller.confirmed = now, now
	return f
}

// look finds out which plugins the proxy has still, beside p. It tells nobody:
// the call that would say so costs every request something.
func (vm *vmContext) look(p *pluginContext, now int64) {
	if !slices.Contains(vm.plugins, p) { // it was not there when another looked
		vm.enlist(p, now)
	}
	if len(vm.plugins) == 1 {
		return
	}
	gone := func(other *pluginContext) bool { return other != p && !enter(other.id) }
	vm.plugins = slices.DeleteFunc(vm.plugins, gone)
	for key, f := range vm.feeds {
		f.plugins = slices.DeleteFunc(f.plugins, func(q *pluginContext) bool { return !slices.Contains(vm.plugins, q) })
		if len(f.plugins) == 0 {
			delete(vm.feeds, key)
		}
	}
	enter(p.id)
}

// insert inserts a plugin in the order of their configuration.
func insert(plugins []*pluginContext, p *pluginContext) []*pluginContext {
	at := len(plugins)
	for at > 0 && plugins[at-1].number > p.number {
		at--
	}
	if at > 0 && plugins[at-1] == p {
		return plugins
	}
	plugins = append(plugins, nil)
	copy(plugins[at+1:], plugins[at:])
	plugins[at] = p
	return plugins
}

// driver is the plugin that works for the feed.
func (f *feed) driver() *pluginContext { return f.plugins[len(f.plugins)-1] }

// step does what is due.
func (f *feed) step(now int64) {
	f.followOrLead(now)
	f.ask(now)
}

var (
	errOlder     = errors.New("older than what is enforced")
	errNotShared = errors.New("not in shared data")
)

// take puts a snapshot in force in all plugins of the feed.
func (f *feed) take(s loaded, from string) error {
	if older(s.snapshot, f.driver().enforcer.snapshot) {
		return errOlder
	}
	for _, p := range f.plugins {
		if older(s.snapshot, p.enforcer.snapshot) {
			continue
		}
		if err := p.swap(s); err != nil {
			return err
		}
	}
	f.vm.level(f.driver().name)
	f.vm.reporter(f.driver().name).enforces()
	proxywasm.LogInfo("sallyport: enforcing snapshot " + version(s.snapshot) + ", " + from)
	return nil
}

// collect frees what is not used any more, before another snapshot comes: a wasm
// memory never shrinks.
func collect() { runtime.GC() }
