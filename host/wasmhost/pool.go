package wasmhost

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
)

// Pool spreads requests over instances of one Module. It is safe for concurrent
// use. A request that the filter paused stays with its instance and leaves it to
// others meanwhile.
type Pool struct {
	module *Module
	places chan struct{} // one for each instance that a request may enter

	configuring sync.Mutex // held by Configure: one at a time

	mu sync.Mutex // guards all below
	// live are the instances that were started and not found dead; idle are
	// those of them that no request is entering, the last used at the end, whence
	// they are taken. There are fewer than places where instances were not
	// needed yet, or trapped.
	live    map[*Instance]struct{}
	idle    []*Instance
	config  []byte
	version uint64 // of config; instances with an older one are behind
	done    chan struct{}
	closed  bool
}

// NewPool returns a Pool of n instances with a configuration. It starts one of
// them, so that a bad configuration shows now; the others start at their first
// use.
func NewPool(ctx context.Context, m *Module, config []byte, n int) (*Pool, error) {
	if n < 1 {
		return nil, errors.New("wasm filter pool: not even one instance")
	}
	p := &Pool{
		module:  m,
		places:  make(chan struct{}, n),
		live:    make(map[*Instance]struct{}),
		config:  slices.Clone(config),
		version: 1,
		done:    make(chan struct{}),
	}
	first, err := p.start(ctx, config, p.version)
	if err != nil {
		return nil, err
	}
	p.live[first] = struct{}{}
	p.idle = []*Instance{first}
	for range n {
		p.places <- struct{}{}
	}
	return p, nil
}

// start makes an instance with a configuration of the pool.
func (p *Pool) start(ctx context.Context, config []byte, version uint64) (*Instance, error) {
	in, err := p.module.NewInstance(ctx, config)
	if err != nil {
		return nil, err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.version = version
	return in, nil
}

// Request takes a request's headers through an instance, as
// [Instance.Request], waiting for one until ctx is done.
func (p *Pool) Request(ctx context.Context, headers [][2]string, endOfStream bool) (Result, error) {
	in, err := p.acquire(ctx)
	if err != nil {
		return Result{}, err
	}
	s, paused, err := in.begin(ctx, headers, endOfStream)
	if paused || err != nil {
		p.release(in)
	} else {
		defer p.release(in)
	}
	if err != nil {
		return Result{}, err
	}
	return s.end(ctx)
}

// acquire waits for an instance that has the configuration in force. It must be
// given back by release.
func (p *Pool) acquire(ctx context.Context) (*Instance, error) {
	in, err := p.take(ctx)
	if err != nil {
		return nil, err
	}
	in, err = p.prepare(ctx, in)
	if err != nil {
		p.giveBack(nil)
		return nil, err
	}
	return in, nil
}

// take waits for a place in the pool and returns the instance that was used
// last, or nil where a new one is to be made.
func (p *Pool) take(ctx context.Context) (*Instance, error) {
	// A place that is free goes to whoever may have it, and a select with
	// several ready cases picks at random.
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case <-p.done:
		return nil, ErrPoolClosed
	default:
	}
	select {
	case <-p.places:
	case <-p.done:
		return nil, ErrPoolClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == 0 {
		return nil, nil
	}
	in := p.idle[len(p.idle)-1]
	p.idle = p.idle[:len(p.idle)-1]
	return in, nil
}

// giveBack frees a place; in is nil where its instance is gone.
func (p *Pool) giveBack(in *Instance) {
	if in != nil {
		p.mu.Lock()
		p.idle = append(p.idle, in)
		p.mu.Unlock()
	}
	p.places <- struct{}{}
}

// prepare brings an instance up to date, or makes one in its stead. A VM that
// refuses what Configure accepted is replaced: what is in force is the pool's
// configuration, and nothing else.
func (p *Pool) prepare(ctx context.Context, in *Instance) (*Instance, error) {
	for {
		p.mu.Lock()
		config, version := p.config, p.version
		p.mu.Unlock()
		if in != nil {
			if err := in.update(config, version); err != nil {
				p.drop(in, err)
				in = nil
			}
		}
		if in == nil {
			var err error
			if in, err = p.start(ctx, config, version); err != nil {
				return nil, err
			}
		}
		if p.admit(in, version) {
			return in, nil
		}
	}
}

// admit makes an instance one that Configure reaches, unless there was a
// Configure since the instance got its version.
func (p *Pool) admit(in *Instance, version uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if version != p.version {
		return false
	}
	p.live[in] = struct{}{}
	return true
}

// drop ends an instance, which is replaced when there is need of it. Requests
// that are paused in it are refused.
func (p *Pool) drop(in *Instance, err error) {
	p.mu.Lock()
	_, known := p.live[in]
	delete(p.live, in)
	p.mu.Unlock()
	if known {
		p.module.rt.opts.Logger.Warn("wasm instance is replaced", slog.Any("error", err))
	}
	_ = in.Close(context.Background()) // it is gone either way
}

// release gives an instance back. One that is dead is replaced.
func (p *Pool) release(in *Instance) {
	if err := in.Dead(); err != nil {
		p.drop(in, err)
		in = nil
	}
	p.giveBack(in)
}

// Configure gives all instances a new configuration. As Envoy does, it first
// tries it in a canary, a VM of its own that is dropped afterwards; then in an
// instance, if there is one, which can refuse what a VM without a past would
// take, such as an older generation. Where either refuses, nothing changes, and
// the *ConfigError has the filter's own log lines of the attempt. Otherwise
// each instance has it when Configure returns, also where requests are paused,
// and a request that begins then is decided by it.
func (p *Pool) Configure(ctx context.Context, config []byte) error {
	p.configuring.Lock()
	defer p.configuring.Unlock()
	canary, err := p.module.NewInstance(ctx, config)
	if err != nil {
		return err
	}
	if err := canary.Close(ctx); err != nil {
		return fmt.Errorf("drop canary: %w", err)
	}
	config = slices.Clone(config)
	version, err := p.try(config)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.config, p.version = config, version
	live := slices.Collect(maps.Keys(p.live))
	p.mu.Unlock()
	for _, in := range live {
		if err := in.update(config, version); err != nil {
			p.drop(in, err)
		}
	}
	return nil
}

// try gives a configuration to one instance and returns the version that it has
// from then on.
func (p *Pool) try(config []byte) (version uint64, err error) {
	p.mu.Lock()
	live := slices.Collect(maps.Keys(p.live))
	version = p.version + 1
	closed := p.closed
	p.mu.Unlock()
	if closed {
		return 0, ErrPoolClosed
	}
	for _, in := range live {
		if in.Dead() != nil {
			continue
		}
		err := in.update(config, version)
		if in.Dead() != nil {
			p.drop(in, err)
		}
		return version, err
	}
	return version, nil
}

// Close waits until no request is entering an instance, and ends them all.
// Requests that are paused are refused.
func (p *Pool) Close(ctx context.Context) error {
	p.mu.Lock()
	first := !p.closed
	p.closed = true
	if first {
		close(p.done)
	}
	p.mu.Unlock()
	if !first {
		return ErrPoolClosed
	}
	for range cap(p.places) {
		select {
		case <-p.places:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for in := range p.live {
		errs = append(errs, in.Close(ctx))
	}
	p.live, p.idle = nil, nil
	return errors.Join(errs...)
}
