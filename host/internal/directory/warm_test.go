package directory_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
	"sallyport/host/internal/store"
	"sallyport/host/internal/store/bolt"
	"sallyport/host/internal/store/mem"
)

// counting counts the scans of a store, which loading it needs.
type counting struct {
	store.Store
	scans atomic.Int64
}

func (c *counting) View(ctx context.Context, fn func(store.Reader) error) error {
	return c.Store.View(ctx, func(r store.Reader) error { return fn(countingReader{r, c}) })
}

func (c *counting) Update(ctx context.Context, fn func(store.Tx) error) error {
	return c.Store.Update(ctx, func(tx store.Tx) error { return fn(countingTx{tx, c}) })
}

type countingReader struct {
	store.Reader
	counter *counting
}

func (r countingReader) Scan(prefix, from string, limit int) ([]store.Pair, error) {
	r.counter.scans.Add(1)
	return r.Reader.Scan(prefix, from, limit)
}

type countingTx struct {
	store.Tx
	counter *counting
}

func (t countingTx) Scan(prefix, from string, limit int) ([]store.Pair, error) {
	t.counter.scans.Add(1)
	return t.Tx.Scan(prefix, from, limit)
}

// TestTheStoreIsLoadedOnce has writers and readers at the same time: whoever
// comes right behind a commit, also one that several writes share, must not read
// the whole store for it.
func TestTheStoreIsLoadedOnce(t *testing.T) {
	file, err := bolt.Open(t.TempDir(), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("mem", func(t *testing.T) { testLoadedOnce(t, mem.New(), 4, 50) })
	t.Run("bolt", func(t *testing.T) { testLoadedOnce(t, file, 40, 5) })
}

func testLoadedOnce(t *testing.T, in store.Store, writers, writes int) {
	s := &counting{Store: in}
	d := reopen(s)
	apply(t, d, library)
	before := s.scans.Load()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range writes {
				u := &model.User{Metadata: model.Metadata{Name: fmt.Sprintf("u%d", w), Description: fmt.Sprint(i)}}
				if _, err := d.Apply(t.Context(), []model.Entity{u}, directory.Options{}); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 4 * writes {
				if _, err := d.Load(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := s.scans.Load() - before; n > 0 {
		t.Errorf("the store was scanned %d times", n)
	}
	if got, want := load(t, d).Generation, uint64(1+writers*writes); got != want {
		t.Errorf("generation %d, want %d: each write has its own", got, want)
	}
}
