// Package publish turns each commit into a signed snapshot and hands it to
// whoever serves proxies. It is level-triggered: it looks at what is committed
// now, so a commit that it missed is never missing in what it publishes.
package publish

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"sallyport/host/internal/compile"
	"sallyport/host/internal/directory"
	"sallyport/host/internal/signing"
	"sallyport/policydata"
)

// retryAfter is how long a failed compilation waits for its next try, if no
// commit comes first.
const retryAfter = 5 * time.Second

// Published is a snapshot as proxies get it.
type Published struct {
	Version compile.Version
	Bytes   []byte               // signed
	Loaded  *policydata.Snapshot // the same, read as a filter reads it
}

// Sink takes each newly published snapshot. An error is logged and the snapshot
// stays published: one way of pushing must not stop another.
type Sink func(ctx context.Context, p *Published) error

// Options configures a Publisher.
type Options struct {
	Directory *directory.Directory
	Key       *signing.Key
	Extra     []policydata.Issuer // trusted beside the store's issuers
	Logger    *slog.Logger
	Sinks     []Sink
	Observe   func(took time.Duration, err error) // each compilation; may be nil
}

// Publisher publishes the directory's state.
type Publisher struct {
	o        Options
	compiler *compile.Compiler

	mu      sync.Mutex
	current *Published    // guarded by mu; nil until the first
	changed chan struct{} // guarded by mu; closed and replaced when current is

	tried chan struct{} // closed when Run has tried for the first time
}

// New returns a Publisher, which publishes nothing before Run.
func New(o Options) *Publisher {
	return &Publisher{o: o, compiler: compile.New(), changed: make(chan struct{}), tried: make(chan struct{})}
}

// Tried returns a channel that is closed when Run has tried to publish what was
// committed before it began.
func (p *Publisher) Tried() <-chan struct{} { return p.tried }

// Current returns what was published last, nil before the first, and a channel
// that is closed when there is something newer.
func (p *Publisher) Current() (*Published, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current, p.changed
}

// Wait returns what is published as soon as that is of a generation or a later
// one.
func (p *Publisher) Wait(ctx context.Context, generation uint64) (*Published, error) {
	for {
		current, changed := p.Current()
		if current != nil && current.Version.Generation >= generation {
			return current, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Run publishes what is committed and each commit from then on, until ctx is
// done. What can't be compiled is logged, and what was published before stays.
func (p *Publisher) Run(ctx context.Context) {
	first := sync.OnceFunc(func() { close(p.tried) })
	for {
		changed := p.o.Directory.Changed() // before publishing, so that no commit falls between
		retry := (<-chan time.Time)(nil)
		if err := p.publish(ctx); err != nil && ctx.Err() == nil {
			p.o.Logger.Error("the policy could not be published; what was published before stays in force", "error", err)
			retry = time.After(retryAfter)
		}
		first()
		select {
		case <-changed:
		case <-retry:
		case <-ctx.Done():
			return
		}
	}
}

func (p *Publisher) publish(ctx context.Context) error {
	revision, err := p.o.Directory.Load(ctx)
	if err != nil {
		return err
	}
	version := versionOf(revision)
	if current, _ := p.Current(); current != nil && current.Version == version {
		return nil
	}
	start := time.Now()
	next, err := p.compile(revision, version)
	if p.o.Observe != nil {
		p.o.Observe(time.Since(start), err)
	}
	if err != nil {
		return err
	}
	for _, sink := range p.o.Sinks {
		if err := sink(ctx, next); err != nil {
			p.o.Logger.Error("pushing a snapshot", "version", version.String(), "error", err)
		}
	}
	p.set(next) // last: who waits for it finds it pushed
	p.o.Logger.Info("published", "version", version.String(), "bytes", len(next.Bytes), "took", time.Since(start).Round(time.Microsecond))
	return nil
}

// versionOf returns the version of a revision's snapshot.
func versionOf(r directory.Revision) compile.Version {
	v := compile.Version{Epoch: r.Epoch, Generation: r.Generation, Committed: r.Created}
	if r.MaxAge > 0 {
		v.Expires = r.Created.Add(r.MaxAge)
	}
	return v
}

// compile builds and signs a snapshot, and loads it as a filter would: what a
// filter would refuse is never sent.
func (p *Publisher) compile(revision directory.Revision, version compile.Version) (*Published, error) {
	body, err := p.compiler.Body(revision.State, version, p.o.Extra...)
	if err != nil {
		return nil, fmt.Errorf("compile generation %d: %w", version.Generation, err)
	}
	signed, verify, err := p.o.Key.SignToVerify(body)
	if err != nil {
		return nil, fmt.Errorf("sign generation %d: %w", version.Generation, err)
	}
	loaded, err := policydata.Load(signed, verify)
	if err != nil {
		return nil, fmt.Errorf("generation %d: %w", version.Generation, err)
	}
	return &Published{Version: version, Bytes: signed, Loaded: loaded}, nil
}

func (p *Publisher) set(next *Published) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current = next
	close(p.changed)
	p.changed = make(chan struct{})
}
