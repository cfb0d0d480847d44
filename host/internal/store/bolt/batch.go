package bolt

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"sallyport/host/internal/store"
)

// Bounds on a batch: the first of its Updates waits for the last.
const (
	maxBatch    = 64
	maxBatchAge = 10 * time.Millisecond
)

// writers lets Updates that come at the same time share one commit, since what a
// commit costs is waiting for the disk. They run one after the other in one
// transaction of the file, each with what those before it wrote; the last in
// line commits, so that nobody waits for others to come.
type writers struct {
	maxAge  time.Duration // of a batch that others may join
	waiting atomic.Int64  // Updates that are about to lock mu
	mu      sync.Mutex
	open    *batch // guarded by mu; nil: none
}

// batch is a transaction of the file that Updates share.
type batch struct {
	tx    *bbolt.Tx
	began time.Time
	size  int           // Updates that ran in it
	dirty bool          // one of them wrote
	err   error         // why it can't be, or was not, committed
	done  chan struct{} // closed when it has ended; the fields stay as they are from then on
}

// Update implements store.Store. When it returns nil, what fn wrote is on the
// disk.
func (s *Store) Update(ctx context.Context, fn func(store.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b, refused := s.join(fn, false)
	if b != nil && b.err != nil && b.size > 1 {
		// What failed may have been another's, and what fn was refused for, too.
		b, refused = s.join(fn, true)
	}
	if refused != nil {
		return refused // whatever its words are, it is none of the disk's
	}
	return translate(b.err)
}

// join runs fn in a batch, of its own if alone, and waits until that has ended.
// The error is fn's, or why there is no batch. What fn was refused for may be
// what the batch has written so far: that, too, counts only once it is committed.
func (s *Store) join(fn func(store.Tx) error, alone bool) (*batch, error) {
	s.writers.waiting.Add(1)
	s.writers.mu.Lock()
	s.writers.waiting.Add(-1)
	b, err := s.run(fn, alone)
	if b != nil {
		<-b.done
	}
	return b, err
}

// run runs fn in the open batch, or in a new one, and ends it unless another
// Update is about to join. It unlocks writers.mu.
func (s *Store) run(fn func(store.Tx) error, alone bool) (*batch, error) {
	w := &s.writers
	defer w.mu.Unlock()
	if alone && w.open != nil {
		w.end()
	}
	if w.open == nil {
		btx, err := s.db.Begin(true)
		if err != nil {
			return nil, translate(err)
		}
		w.open = &batch{tx: btx, began: time.Now(), done: make(chan struct{})}
	}
	b := w.open
	defer func() { // also if fn panics
		if b.size++; alone || b.err != nil || w.waiting.Load() == 0 || b.size >= maxBatch || time.Since(b.began) > w.maxAge {
			w.end()
		}
	}()
	t := &tx{bucket: b.tx.Bucket(bucketName)}
	defer t.end()
	if err := fn(t); err != nil {
		return b, err
	}
	b.dirty = b.dirty || len(t.pending) > 0
	b.err = t.flush() // an error leaves half of it in the transaction
	return b, nil
}

// end commits the open batch. It is called with mu locked.
func (w *writers) end() {
	b := w.open
	w.open = nil
	defer close(b.done)
	defer func() {
		// After a commit this does nothing.
		if err := b.tx.Rollback(); err != nil && !errors.Is(err, bbolterrors.ErrTxClosed) {
			b.err = errors.Join(b.err, err)
		}
	}()
	if b.err != nil || !b.dirty {
		return
	}
	b.err = errors.New("the commit was broken off") // if it panics
	b.err = b.tx.Commit()
}
