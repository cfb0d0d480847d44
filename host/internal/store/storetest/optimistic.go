package storetest

import (
	"context"
	"maps"
	"strings"
	"sync"

	"sallyport/host/internal/store"
)

// Optimistic is a store in memory that promises as little as a networked one
// can: an Update reads one revision, and what it wrote is committed if the keys
// that it got are still of the revisions that it saw (a transaction of compares
// and puts, as etcd has it). What it scanned is not compared. If a key is not,
// the closure runs again, and now and then it does so for no reason.
type Optimistic struct {
	mu       sync.Mutex
	data     map[string]versioned // guarded by mu; replaced, never modified
	revision int64                // guarded by mu
	updates  int                  // guarded by mu
	retries  int                  // guarded by mu
	closed   bool                 // guarded by mu
}

type versioned struct {
	value    []byte
	revision int64 // of the write
}

var _ store.Store = (*Optimistic)(nil)

// NewOptimistic returns an empty store.
func NewOptimistic() *Optimistic { return &Optimistic{data: map[string]versioned{}} }

// Retries returns how often a closure was run again.
func (o *Optimistic) Retries() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.retries
}

func (o *Optimistic) begin(ctx context.Context) (*optimisticTx, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil, store.ErrClosed
	}
	return &optimisticTx{seen: o.data, got: map[string]int64{}, writes: map[string][]byte{}}, nil
}

// View implements store.Store.
func (o *Optimistic) View(ctx context.Context, fn func(store.Reader) error) error {
	t, err := o.begin(ctx)
	if err != nil {
		return err
	}
	defer t.end()
	return fn(t)
}

// Update implements store.Store.
func (o *Optimistic) Update(ctx context.Context, fn func(store.Tx) error) error {
	for {
		t, err := o.begin(ctx)
		if err != nil {
			return err
		}
		if err := t.run(fn); err != nil {
			return err
		}
		if o.commit(t) {
			return nil
		}
	}
}

func (t *optimisticTx) run(fn func(store.Tx) error) error {
	defer t.end()
	return fn(t)
}

// everyOther is how often a commit fails for no reason.
const everyOther = 3

func (o *Optimistic) commit(t *optimisticTx) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.updates++
	for key, revision := range t.got {
		if o.data[key].revision != revision {
			o.retries++
			return false
		}
	}
	if o.updates%everyOther == 0 {
		o.retries++
		return false
	}
	o.revision++
	next := maps.Clone(o.data)
	for key, value := range t.writes {
		if value == nil {
			delete(next, key)
			continue
		}
		next[key] = versioned{value, o.revision}
	}
	o.data = next
	return true
}

// Close implements store.Store.
func (o *Optimistic) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	return nil
}

// optimisticTx is one run of a closure; seen is nil when it is over.
type optimisticTx struct {
	seen   map[string]versioned
	got    map[string]int64  // the revisions of the keys that were got; 0: there was none
	writes map[string][]byte // nil: deleted
}

func (t *optimisticTx) end() { t.seen = nil }

func (t *optimisticTx) Get(key string) ([]byte, error) {
	if t.seen == nil {
		return nil, store.ErrDone
	}
	value, written := t.writes[key]
	if !written {
		v := t.seen[key]
		t.got[key], value = v.revision, v.value
	}
	if value == nil {
		return nil, store.ErrNotFound
	}
	return value, nil
}

func (t *optimisticTx) Scan(prefix, from string, limit int) ([]store.Pair, error) {
	if t.seen == nil {
		return nil, store.ErrDone
	}
	merged := map[string][]byte{}
	for key, v := range t.seen {
		merged[key] = v.value
	}
	maps.Copy(merged, t.writes)
	var pairs []store.Pair
	for key, value := range merged {
		if value != nil && strings.HasPrefix(key, prefix) && key >= from {
			pairs = append(pairs, store.Pair{Key: key, Value: value})
		}
	}
	return store.InOrder(pairs, limit), nil
}

func (t *optimisticTx) Put(key string, value []byte) error {
	if t.seen == nil {
		return store.ErrDone
	}
	if key == "" {
		return store.ErrEmptyKey
	}
	t.writes[key] = append([]byte{}, value...)
	return nil
}

func (t *optimisticTx) Delete(key string) error {
	if t.seen == nil {
		return store.ErrDone
	}
	t.writes[key] = nil
	return nil
}
