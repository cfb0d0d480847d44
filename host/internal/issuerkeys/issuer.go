package issuerkeys

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/jwks"
	"sallyport/host/internal/model"
)

// How long a failed fetch waits for the next: doubling, from the first to the
// last.
const (
	firstRetry = 5 * time.Second
	lastRetry  = 5 * time.Minute
)

// issuer keeps the keys of one Issuer document.
type issuer struct {
	keeper     *Keeper
	ref        directory.IssuerRef
	algorithms []string
	fetcher    fetcher            // used by run alone
	cancel     context.CancelFunc // ends run
	ended      chan struct{}      // closed when run has ended
	poke       chan struct{}      // makes run look again; holds one

	limit limit // guarded by the keeper's mu

	mu         sync.Mutex
	generation uint64            // guarded by mu; the last one that was observed
	keys       []model.IssuerKey // guarded by mu; committed in generation
	keep       time.Duration     // guarded by mu; the document's keepRemoved
	flight     *flight           // guarded by mu; asked for or under way
	status     Status            // guarded by mu; without keys
	fetched    time.Time         // guarded by mu; when the last good fetch began
	next       time.Time         // guarded by mu; of the next fetch
	failures   int               // guarded by mu; in a row
}

// flight is a fetch that others wait for.
type flight struct {
	began time.Time     // set by run
	force bool          // somebody asked for it; never modified
	done  chan struct{} // closed when it is over
	err   error         // set before done is closed
}

func (k *Keeper) newIssuer(doc *model.Issuer) *issuer {
	return &issuer{
		keeper:     k,
		ref:        directory.RefOf(doc),
		algorithms: doc.Algorithms,
		fetcher:    k.open(sourceOf(doc)),
		ended:      make(chan struct{}),
		poke:       make(chan struct{}, 1),
		limit:      newLimit(issuerBurst, issuerEvery),
	}
}

// serves reports whether i keeps the keys of a document as it is now.
func (i *issuer) serves(doc *model.Issuer) bool {
	return i.ref == directory.RefOf(doc) && slices.Equal(i.algorithms, doc.Algorithms)
}

// observe takes note of what is committed.
func (i *issuer) observe(r directory.Revision) {
	e, ok := r.State.Get(model.Key{Kind: model.KindIssuer, Name: i.ref.Name})
	if !ok || directory.RefOf(e.(*model.Issuer)) != i.ref {
		return
	}
	doc := e.(*model.Issuer)
	var keys []model.IssuerKey
	if set := r.State.ValidKeys(doc); set != nil {
		keys = set.Keys
	}
	i.mu.Lock()
	first, before := i.generation == 0, i.keys
	if r.Generation <= i.generation {
		i.mu.Unlock()
		return
	}
	i.generation, i.keys, i.keep = r.Generation, keys, doc.KeepRemoved()
	i.mu.Unlock()
	if !first {
		i.logChange(before, keys)
	}
	i.wake()
}

// logChange logs what became of the keys.
func (i *issuer) logChange(before, after []model.IssuerKey) {
	listed := func(keys []model.IssuerKey) map[string]bool {
		ids := map[string]bool{}
		for _, k := range keys {
			ids[k.ID] = k.Removed.IsZero()
		}
		return ids
	}
	was, is := listed(before), listed(after)
	var added, removed, dropped []string
	for _, k := range after {
		switch {
		case is[k.ID] && !was[k.ID]:
			added = append(added, k.ID)
		case !is[k.ID] && was[k.ID]:
			removed = append(removed, k.ID)
		}
	}
	for _, k := range before {
		if _, stays := is[k.ID]; !stays {
			dropped = append(dropped, k.ID)
		}
	}
	if len(added)+len(removed)+len(dropped) > 0 {
		i.keeper.o.Logger.Info("the keys of an issuer changed", "issuer", i.ref.Name,
			"added", added, "unlisted", removed, "dropped", dropped)
	}
}

func (i *issuer) wake() {
	select {
	case i.poke <- struct{}{}:
	default: // it will look anyway
	}
}

// run fetches when it is time and when it is asked to, until ctx is done.
func (i *issuer) run(ctx context.Context) {
	defer close(i.ended)
	for ctx.Err() == nil {
		fetch, expire, wait := i.due(time.Now())
		switch {
		case fetch:
			i.fetch(ctx)
			continue
		case expire:
			i.expire(ctx)
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-i.poke:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// due says what there is to do now, or how long there is nothing.
func (i *issuer) due(now time.Time) (fetch, expire bool, wait time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.flight != nil || !now.Before(i.next) {
		return true, false, 0
	}
	next := i.next
	for _, k := range i.keys {
		if k.Removed.IsZero() {
			continue
		}
		if ends := k.Removed.Add(i.keep); ends.Before(next) {
			next = ends
		}
	}
	if !now.Before(next) {
		return false, true, 0
	}
	return false, false, next.Sub(now)
}

// join returns the fetch that is under way, or starts one unless start has an
// error.
func (i *issuer) join(start func() error) (*flight, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.flight != nil {
		return i.flight, nil
	}
	if err := start(); err != nil {
		return nil, err
	}
	i.flight = &flight{force: true, done: make(chan struct{})}
	i.wake()
	return i.flight, nil
}

// await waits for the end of a fetch and returns its error.
func (i *issuer) await(ctx context.Context, f *flight) error {
	select {
	case <-f.done:
		return f.err
	case <-i.ended:
		return errStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// has reports whether a key of this id is committed, and in which generation.
func (i *issuer) has(kid string) (uint64, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.generation, slices.ContainsFunc(i.keys, func(k model.IssuerKey) bool { return k.ID == kid })
}

// fetchedSince reports whether a good fetch began at that time or later.
func (i *issuer) fetchedSince(t time.Time) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return !i.fetched.IsZero() && !i.fetched.Before(t)
}

// fetch makes one fetch, and commits what it brings.
func (i *issuer) fetch(ctx context.Context) {
	f := i.begin()
	result, err := i.exchange(ctx, f.force)
	if errors.Is(err, directory.ErrNotFound) {
		i.pauseUntilObserved(ctx)
		return // who waits is told by ended, or by the next fetch
	}
	if ctx.Err() != nil {
		return // who waits is told by ended
	}
	i.end(f, result, err)
}

// pauseUntilObserved waits where the document is another now. With that this loop
// ends, unless the document is what it was again by the time somebody looks.
func (i *issuer) pauseUntilObserved(ctx context.Context) {
	select {
	case <-i.poke:
	case <-ctx.Done():
	}
}

// outcome is what a good fetch brought.
type outcome struct {
	uri     string
	fresh   time.Duration
	skipped []jwks.Skipped
	changed bool
}

func (i *issuer) exchange(ctx context.Context, force bool) (outcome, error) {
	answer, err := i.fetcher.Fetch(ctx, force)
	if err != nil {
		return outcome{}, err
	}
	o := outcome{uri: answer.URI, fresh: answer.Fresh}
	selection, err := jwks.Select(answer.Set, i.algorithms)
	if err != nil {
		return o, fmt.Errorf("key set %s: %w", answer.URI, err)
	}
	o.skipped = selection.Skipped
	if len(selection.Keys) == 0 {
		return o, fmt.Errorf("key set %s: none of its %d keys can be used", answer.URI, len(selection.Skipped))
	}
	revision, changed, err := i.keeper.o.Directory.SetIssuerKeys(ctx, i.ref, selection.Keys)
	if err != nil {
		return o, fmt.Errorf("commit the keys: %w", err)
	}
	i.observe(revision)
	o.changed = changed
	return o, nil
}

func (i *issuer) begin() *flight {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.flight == nil {
		i.flight = &flight{done: make(chan struct{})}
	}
	i.flight.began = time.Now()
	i.status.LastAttempt = i.flight.began
	return i.flight
}

// end takes note of how a fetch ended and plans the next.
func (i *issuer) end(f *flight, o outcome, err error) {
	result := resultUnchanged
	i.mu.Lock()
	now, failures := time.Now(), i.failures
	if o.uri != "" {
		i.status.URI, i.status.Skipped = o.uri, skippedOf(o.skipped)
	}
	if err != nil {
		result = resultFailed
		i.failures++
		i.status.LastError = err.Error()
		i.next = now.Add(backoff(failures))
	} else {
		i.failures, i.fetched = 0, f.began
		i.status.LastError, i.status.LastSuccess = "", f.began
		i.next = now.Add(refreshAfter(o.fresh))
	}
	if o.changed {
		result = resultChanged
	}
	f.err, i.flight = err, nil
	i.mu.Unlock()
	close(f.done)
	i.keeper.metrics.fetches.WithLabelValues(i.ref.Name, result).Inc()
	i.log(failures, o, err)
}

// log tells of the first failure and of the recovery, not of each retry.
func (i *issuer) log(failures int, o outcome, err error) {
	logger := i.keeper.o.Logger.With("issuer", i.ref.Name)
	switch {
	case err != nil && failures == 0:
		logger.Warn("the keys of an issuer could not be fetched; those that are known stay in force", "error", err)
	case err == nil && failures > 0:
		logger.Info("the keys of an issuer are fetched again", "failures", failures)
	}
	if err != nil || !o.changed {
		return
	}
	for _, k := range o.skipped {
		if k.Flawed {
			logger.Warn("a key of an issuer is not used", "key", reason(k))
		}
	}
}

// expire removes keys whose time is over.
func (i *issuer) expire(ctx context.Context) {
	revision, committed, err := i.keeper.o.Directory.ExpireIssuerKeys(ctx, i.ref)
	switch {
	case errors.Is(err, directory.ErrNotFound):
		i.pauseUntilObserved(ctx)
	case err != nil && ctx.Err() == nil:
		i.keeper.o.Logger.Error("removing keys of an issuer", "issuer", i.ref.Name, "error", err)
		pause(ctx, firstRetry)
	case err == nil:
		i.observe(revision)
		if !committed { // somebody else did it, or the directory's clock is behind
			pause(ctx, time.Second)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// backoff returns how long to wait after a failure that others preceded.
func backoff(failures int) time.Duration {
	return jitter(min(lastRetry, firstRetry<<min(failures, 10)), 0.8, 1.2)
}

// refreshAfter returns when to ask again for what is good for a while: ahead of
// its end, and not at the same time as all other hosts.
func refreshAfter(fresh time.Duration) time.Duration { return jitter(fresh, 0.75, 0.9) }

func jitter(d time.Duration, low, high float64) time.Duration {
	return time.Duration(float64(d) * (low + (high-low)*rand.Float64()))
}

// report returns the status with the keys that are committed.
func (i *issuer) report() Status {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := i.status
	s.Source, s.Keys = i.ref.Source, keysOf(i.keys)
	s.NextRefresh = second(i.next)
	s.LastAttempt, s.LastSuccess = second(s.LastAttempt), second(s.LastSuccess)
	return s
}

// second drops what nobody wants to read of a time.
func second(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Second)
}
