package wasmhost

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
)

// Pool hands out instances of one Module to concurrent requests. It is safe for
// concurrent use.
type Pool struct {
	module *Module
	places chan struct{} // one for each instance that may be in use

	configuring sync.Mutex // held by Configure: one at a time

	mu sync.Mutex // guards all below
	// idle are the instances that are not in use, the last used at the end,
	// whence they are taken. There are fewer than free places where instances
	// were not needed yet, or trapped.
	idle    []*Instance
	config  []byte
	version uint64 // of config; instances with another are behind
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
	first, err := m.NewInstance(ctx, config)
	if err != nil {
		return nil, err
	}
	first.version = 1
	p := &Pool{
		module:  m,
		places:  make(chan struct{}, n),
		idle:    []*Instance{first},
		config:  slices.Clone(config),
		version: 1,
		done:    make(chan struct{}),
	}
	for range n {
		p.places <- struct{}{}
	}
	return p, nil
}

// Request takes a request's headers through an instance, as
// [Instance.Request], waiting for one until ctx is done.
func (p *Pool) Request(ctx context.Context, headers [][2]string, endOfStream bool) (Result, error) {
	in, err := p.Acquire(ctx)
	if err != nil {
		return Result{}, err
	}
	defer p.Release(in)
	return in.Request(ctx, headers, endOfStream)
}

// Acquire waits for an instance that has the configuration in force and whose
// tick, where due, was called. Every instance must be given back by Release.
func (p *Pool) Acquire(ctx context.Context) (*Instance, error) {
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
	p.mu.Lock()
	config, version := p.config, p.version
	p.mu.Unlock()
	if in != nil && in.version != version {
		if err := in.Reconfigure(config); err != nil {
			p.replaced(err)
			_ = in.Close(ctx) // it is gone either way
			in = nil
		}
	}
	if in != nil {
		if err := in.tickIfDue(); err != nil {
			p.replaced(err)
			_ = in.Close(ctx)
			in = nil
		}
	}
	if in == nil {
		var err error
		if in, err = p.module.NewInstance(ctx, config); err != nil {
			return nil, err
		}
	}
	in.version = version
	return in, nil
}

func (p *Pool) replaced(err error) {
	p.module.rt.opts.Logger.Warn("wasm instance is replaced", slog.Any("error", err))
}

// Release gives an instance back. One that is dead, or that still has an open
// stream, is replaced at the next checkout.
func (p *Pool) Release(in *Instance) {
	if in.dead == nil && len(in.streams) > 0 {
		in.dead = errors.New("wasm instance was released with an open stream")
	}
	if in.dead != nil {
		p.replaced(in.dead)
		_ = in.Close(context.Background()) // a dead VM has nothing left to say
		in = nil
	}
	p.giveBack(in)
}

// Configure gives all instances a new configuration. As Envoy does, it first
// tries it in a canary, a VM of its own that is dropped afterwards; then in an
// idle instance, if there is one, which can refuse what a VM without a past
// would take, such as an older generation. Where either refuses, nothing changes, and
// the *ConfigError has the filter's own log lines of the attempt. A request
// that begins after Configure returned is decided by the new configuration.
// Where all instances are in use, it waits for one until ctx is done.
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
	in, err := p.take(ctx)
	if err != nil {
		return err
	}
	if in != nil {
		if err := in.Reconfigure(config); err != nil {
			p.Release(in)
			return err
		}
	}
	p.mu.Lock()
	p.config = slices.Clone(config)
	p.version++
	version := p.version
	p.mu.Unlock()
	if in != nil {
		in.version = version
	}
	p.giveBack(in)
	return nil
}

// Close waits until all instances are given back, and ends them.
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
	for _, in := range p.idle {
		errs = append(errs, in.Close(ctx))
	}
	p.idle = nil
	return errors.Join(errs...)
}
