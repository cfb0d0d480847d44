package mem

import (
	"context"
	"maps"
	"strings"
	"sync"

	"sallyport/host/internal/store"
)

// Store is a store in memory. Use New to make one.
type Store struct {
	mu     sync.RWMutex      // held by a transaction for as long as it runs
	data   map[string][]byte // guarded by mu
	closed bool              // guarded by mu
}

var _ store.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store { return &Store{data: map[string][]byte{}} }

// View implements store.Store.
func (s *Store) View(ctx context.Context, fn func(store.Reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return store.ErrClosed
	}
	t := &tx{data: s.data}
	defer t.end()
	return fn(t)
}

// Update implements store.Store.
func (s *Store) Update(ctx context.Context, fn func(store.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return store.ErrClosed
	}
	next := maps.Clone(s.data)
	t := &tx{data: next}
	defer t.end()
	if err := fn(t); err != nil {
		return err
	}
	s.data = next
	return nil
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// tx is one transaction; data is nil when it is over.
type tx struct {
	data map[string][]byte
}

func (t *tx) end() { t.data = nil }

func (t *tx) Get(key string) ([]byte, error) {
	if t.data == nil {
		return nil, store.ErrDone
	}
	v, ok := t.data[key]
	if !ok {
		return nil, store.ErrNotFound
	}
	return v, nil
}

func (t *tx) Scan(prefix, from string, limit int) ([]store.Pair, error) {
	if t.data == nil {
		return nil, store.ErrDone
	}
	var pairs []store.Pair
	for k, v := range t.data {
		if strings.HasPrefix(k, prefix) && k >= from {
			pairs = append(pairs, store.Pair{Key: k, Value: v})
		}
	}
	return store.InOrder(pairs, limit), nil
}

func (t *tx) Put(key string, value []byte) error {
	if t.data == nil {
		return store.ErrDone
	}
	if key == "" {
		return store.ErrEmptyKey
	}
	t.data[key] = append([]byte{}, value...)
	return nil
}

func (t *tx) Delete(key string) error {
	if t.data == nil {
		return store.ErrDone
	}
	delete(t.data, key)
	return nil
}
