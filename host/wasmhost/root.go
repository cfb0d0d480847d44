package wasmhost

import (
	"context"
	"errors"
	"slices"
	"time"
)

// root is a root context of the guest: one plugin configuration, with the ticks
// and the HTTP calls that belong to it. A new configuration is a new root beside
// the old one, which ends with its last stream, as in Envoy. The Instance's mu
// guards it.
type root struct {
	id      uint32
	config  []byte
	streams int  // that are open
	retired bool // another root is in force
	waiting bool // proxy_on_done answered false: proxy_done ends it
	ticks   *ticker
	calls   map[uint32]context.CancelFunc // outstanding HTTP calls by id
}

// ticker calls proxy_on_tick once in a period.
type ticker struct {
	timer  *time.Timer
	period time.Duration
}

// newRoot makes a root context in the guest.
func (in *Instance) newRoot() (*root, error) {
	r := &root{id: in.nextID(), calls: make(map[uint32]context.CancelFunc)}
	in.roots[r.id] = r
	_, err := in.call(onContextCreate, 0, r.id, 0)
	return r, err
}

// configure gives a root its configuration. Where the filter takes it, that
// root is the one for streams from now on.
func (in *Instance) configure(r *root, config []byte) error {
	r.config = slices.Clone(config)
	in.configuring, in.inConfigure = r.config, true
	ok, err := in.call(onConfigure, 1, r.id, uint32(len(config)))
	in.configuring, in.inConfigure = nil, false
	if err != nil {
		return err
	}
	if ok == 0 {
		return ErrConfigRejected
	}
	in.root = r
	return nil
}

// Reconfigure gives the VM a new configuration, in a new root context. Requests
// that are paused stay with the one under which they began, and with its root
// context, unless the filter itself does something else. If the filter refuses
// the configuration, what was in force stays, and the error is a *ConfigError
// that wraps ErrConfigRejected. A trap kills the Instance.
func (in *Instance) Reconfigure(config []byte) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.reconfigure(config)
}

func (in *Instance) reconfigure(config []byte) error {
	if in.dead != nil {
		return in.dead
	}
	in.startCapture()
	old := in.root
	r, err := in.newRoot()
	if err == nil {
		err = in.configure(r, config)
	}
	if err == nil {
		err = in.retire(old)
	} else if errors.Is(err, ErrConfigRejected) {
		// What could trap here, would leave no VM: report that.
		if ended := in.endRoot(r); ended != nil {
			err = ended
		}
	}
	logs := in.endCapture()
	if err != nil {
		return &ConfigError{Err: err, Logs: logs}
	}
	return nil
}

// update is Reconfigure for a Pool, whose configurations are numbered.
func (in *Instance) update(config []byte, version uint64) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.dead != nil {
		return in.dead
	}
	if in.version >= version {
		return nil
	}
	if err := in.reconfigure(config); err != nil {
		return err
	}
	in.version = version
	return nil
}

// Config returns the configuration in force. It must not be changed.
func (in *Instance) Config() []byte {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.root == nil {
		return nil
	}
	return in.root.config
}

// retire ends a root as soon as it has no stream.
func (in *Instance) retire(r *root) error {
	r.retired = true
	if r.streams > 0 {
		return nil
	}
	return in.endRoot(r)
}

// endRoot asks a root to end. One that has something left to do goes on until
// proxy_done.
func (in *Instance) endRoot(r *root) error {
	ok, err := in.call(onDone, 1, r.id)
	if err != nil {
		return err
	}
	if ok == 0 {
		r.waiting = true
		return nil
	}
	return in.deleteRoot(r)
}

func (in *Instance) deleteRoot(r *root) error {
	in.stop(r)
	_, err := in.call(onDelete, 0, r.id)
	delete(in.roots, r.id)
	return err
}

// stop ends the ticks and the HTTP calls of a root, whose answers then are
// nobody's.
func (in *Instance) stop(r *root) {
	in.setTickPeriod(r, 0)
	for id, cancel := range r.calls {
		cancel()
		in.forgetCall(r, id)
	}
}

// setTickPeriod starts the ticks of a root anew; 0 stops them.
func (in *Instance) setTickPeriod(r *root, period time.Duration) {
	if r.ticks != nil {
		r.ticks.timer.Stop()
		r.ticks = nil
	}
	if period > 0 {
		t := &ticker{period: period}
		t.timer = time.AfterFunc(period, func() { in.tick(r, t) }) // which waits for in.mu
		r.ticks = t
	}
}

// tick calls proxy_on_tick, unless the timer was stopped while it waited for
// the VM. The next period begins when the callback has returned.
func (in *Instance) tick(r *root, t *ticker) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if r.ticks != t {
		return
	}
	if _, err := in.call(onTick, 0, r.id); err != nil {
		return // the VM is dead, as its next user learns
	}
	if r.ticks == t {
		t.timer.Reset(t.period)
	}
}

// contextRoot is the root of the context for which hostcalls act; nil outside
// of callbacks.
func (in *Instance) contextRoot() *root {
	id := in.contextID()
	if s := in.streams[id]; s != nil {
		return s.root
	}
	return in.roots[id]
}
