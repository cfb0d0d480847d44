package issuerkeys

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/keyfetch"
	"sallyport/host/internal/model"
)

var (
	// ErrNoIssuer is returned when there is no issuer with fetched keys of the
	// name or "iss" that was asked for.
	ErrNoIssuer = errors.New("no issuer whose keys are fetched")

	// ErrNoKey is returned when an issuer's set, as it was after the question,
	// has no key of the "kid" that was asked for.
	ErrNoKey = errors.New("the issuer has no such key")

	// errStopped is returned when the issuer's document changed meanwhile.
	errStopped = errors.New("the issuer changed meanwhile: ask again")
)

// LimitedError says that too much was asked for.
type LimitedError struct{ After time.Duration }

func (e *LimitedError) Error() string {
	return fmt.Sprintf("too many fetches for unknown kids: ask again in %s", e.After.Round(time.Second))
}

// Limits on fetches for the sake of unknown kids.
const (
	issuerBurst = 3
	issuerEvery = 2 * time.Second
	allBurst    = 30
	allEvery    = time.Second

	// maxHold is how long a question that exceeds the limits waits for its turn:
	// a proxy keeps the request for 2.5 s, and when many ask one fetch serves all.
	maxHold = 2 * time.Second
)

// syncRetry is how long the keeper waits to read a directory that failed.
const syncRetry = 5 * time.Second

// Options configures a Keeper.
type Options struct {
	Directory *directory.Directory
	Client    *keyfetch.Client
	Logger    *slog.Logger
}

// fetcher fetches one issuer's set.
type fetcher interface {
	Fetch(ctx context.Context, force bool) (keyfetch.Answer, error)
}

// Keeper keeps the keys of all issuers. It is a prometheus.Collector.
type Keeper struct {
	o       Options
	open    func(keyfetch.Source) fetcher
	metrics *metrics
	resync  chan chan<- struct{} // asks Run to look at the directory

	mu      sync.Mutex
	issuers map[string]*issuer // guarded by mu; by name; a map that is never modified
	limit   limit              // guarded by mu; of all issuers
}

// New returns a Keeper, which fetches nothing before Run.
func New(o Options) *Keeper {
	return &Keeper{
		o:       o,
		open:    func(s keyfetch.Source) fetcher { return o.Client.Fetcher(s) },
		metrics: newMetrics(),
		resync:  make(chan chan<- struct{}),
		issuers: map[string]*issuer{},
		limit:   newLimit(allBurst, allEvery),
	}
}

// Run keeps the keys until ctx is done.
func (k *Keeper) Run(ctx context.Context) {
	var loops sync.WaitGroup
	defer loops.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var done chan<- struct{}
	for {
		changed := k.o.Directory.Changed() // before looking, so that no commit falls between
		var retry <-chan time.Time
		if err := k.sync(ctx, &loops); err != nil && ctx.Err() == nil {
			k.o.Logger.Error("reading the issuers", "error", err)
			retry = time.After(syncRetry)
		}
		if done != nil {
			close(done)
			done = nil
		}
		select {
		case <-changed:
		case <-retry:
		case done = <-k.resync:
		case <-ctx.Done():
			return
		}
	}
}

// sync makes the loops those of the issuers that are committed.
func (k *Keeper) sync(ctx context.Context, loops *sync.WaitGroup) error {
	revision, err := k.o.Directory.Load(ctx)
	if err != nil {
		return err
	}
	before, after := k.snapshot(), map[string]*issuer{}
	for _, doc := range revision.State.Issuers {
		if doc.KeySource() == "" {
			continue
		}
		i := before[doc.Name]
		if i == nil || !i.serves(doc) {
			i = k.newIssuer(doc)
			i.observe(revision)
			var loop context.Context
			loop, i.cancel = context.WithCancel(ctx)
			loops.Go(func() { i.run(loop) })
		} else {
			i.observe(revision)
		}
		after[doc.Name] = i
	}
	k.mu.Lock()
	k.issuers = after
	k.mu.Unlock()
	for name, i := range before {
		if after[name] != i {
			i.cancel()
		}
		if after[name] == nil {
			k.metrics.fetches.DeletePartialMatch(map[string]string{"issuer": name})
		}
	}
	return nil
}

func (k *Keeper) snapshot() map[string]*issuer {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.issuers
}

// sourceOf returns where to fetch the keys of an issuer.
func sourceOf(doc *model.Issuer) keyfetch.Source {
	if doc.JWKS.Discovery {
		return keyfetch.Source{Issuer: doc.Issuer}
	}
	return keyfetch.Source{URI: doc.JWKS.URI}
}

// Status says how it stands with the keys of the Issuer of a name. It is false
// if there is none whose keys are fetched.
func (k *Keeper) Status(name string) (Status, bool) {
	i := k.snapshot()[name]
	if i == nil {
		return Status{}, false
	}
	return i.report(), true
}

// Refresh fetches the keys of the Issuer of a name now and returns how it stands
// then, whether that went well or not. The error is ErrNoIssuer, or of ctx.
func (k *Keeper) Refresh(ctx context.Context, name string) (Status, error) {
	i, err := k.find(ctx, func(doc *model.Issuer) bool { return doc.Name == name })
	if err != nil {
		return Status{}, err
	}
	f, err := i.join(func() error { return nil })
	if err != nil {
		return Status{}, err
	}
	if err := i.await(ctx, f); err != nil && (ctx.Err() != nil || errors.Is(err, errStopped)) {
		return Status{}, err
	}
	return i.report(), nil
}

// Find returns a generation from which on an issuer, named by its "iss", has a
// key of some kid. It fetches if that is not so yet, after a short wait where
// many ask. The error is ErrNoIssuer, ErrNoKey, a *LimitedError, or what went wrong with the fetch.
func (k *Keeper) Find(ctx context.Context, iss, kid string) (uint64, error) {
	generation, result, err := k.lookUp(ctx, iss, kid)
	k.metrics.finds.WithLabelValues(result).Inc()
	return generation, err
}

func (k *Keeper) lookUp(ctx context.Context, iss, kid string) (uint64, string, error) {
	i, err := k.find(ctx, func(doc *model.Issuer) bool { return doc.Issuer == iss })
	if errors.Is(err, ErrNoIssuer) {
		return 0, findIssuer, err
	}
	if err != nil {
		return 0, findFailed, err
	}
	asked, result := time.Now(), findKnown
	for {
		if generation, ok := i.has(kid); ok {
			return generation, result, nil
		}
		if i.fetchedSince(asked) {
			return 0, findAbsent, ErrNoKey
		}
		result = findFetched
		f, err := i.join(k.allow(i))
		if limited := (*LimitedError)(nil); errors.As(err, &limited) && time.Since(asked)+limited.After <= maxHold {
			if pause(ctx, limited.After); ctx.Err() != nil {
				return 0, findFailed, ctx.Err()
			}
			continue
		}
		if err != nil {
			return 0, findLimited, err
		}
		if err := i.await(ctx, f); err != nil {
			return 0, findFailed, err
		}
		// A fetch that had begun before may have missed the key: once more,
		// so that who asks while keys rotate is not told that there is none.
	}
}

// allow returns what takes the tokens for a fetch of i; i.mu is held then.
func (k *Keeper) allow(i *issuer) func() error {
	return func() error {
		k.mu.Lock()
		defer k.mu.Unlock()
		now := time.Now()
		if after := max(i.limit.wait(now), k.limit.wait(now)); after > 0 {
			return &LimitedError{after}
		}
		i.limit.take()
		k.limit.take()
		return nil
	}
}

// find returns the loop of an issuer that is committed, though Run may not have
// seen it yet.
func (k *Keeper) find(ctx context.Context, is func(*model.Issuer) bool) (*issuer, error) {
	revision, err := k.o.Directory.Load(ctx)
	if err != nil {
		return nil, err
	}
	for _, doc := range revision.State.Issuers {
		if !is(doc) || doc.KeySource() == "" {
			continue
		}
		if i := k.snapshot()[doc.Name]; i != nil && i.serves(doc) {
			i.observe(revision)
			return i, nil
		}
		if err := k.lookAgain(ctx); err != nil {
			return nil, err
		}
		if i := k.snapshot()[doc.Name]; i != nil && i.serves(doc) {
			return i, nil
		}
		return nil, errStopped
	}
	return nil, ErrNoIssuer
}

// lookAgain returns when Run has looked at the directory once more.
func (k *Keeper) lookAgain(ctx context.Context) error {
	done := make(chan struct{})
	select {
	case k.resync <- done:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
