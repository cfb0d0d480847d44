package storetest

import (
	"context"
	"errors"

	"sallyport/host/internal/store"
)

// ErrTorn is returned by a Torn store that has done its last write.
var ErrTorn = errors.New("the process died here")

// Torn is a store without transactions whose process dies: each write is there
// at once, and from one on they fail. It is no store of package store: it is
// what a directory must survive where a store breaks its promise.
type Torn struct {
	store.Store
	Left int // writes that still succeed; below 0: all
}

// Update runs fn, each of whose writes is an update of its own.
func (s *Torn) Update(ctx context.Context, fn func(store.Tx) error) error {
	return fn(&tornTx{ctx, s})
}

type tornTx struct {
	ctx  context.Context
	torn *Torn
}

func (t *tornTx) Get(key string) (value []byte, err error) {
	err = t.torn.View(t.ctx, func(r store.Reader) error {
		value, err = r.Get(key)
		return err
	})
	return value, err
}

func (t *tornTx) Scan(prefix, from string, limit int) (pairs []store.Pair, err error) {
	err = t.torn.View(t.ctx, func(r store.Reader) error {
		pairs, err = r.Scan(prefix, from, limit)
		return err
	})
	return pairs, err
}

func (t *tornTx) Put(key string, value []byte) error {
	return t.write(func(tx store.Tx) error { return tx.Put(key, value) })
}

func (t *tornTx) Delete(key string) error {
	return t.write(func(tx store.Tx) error { return tx.Delete(key) })
}

func (t *tornTx) write(fn func(store.Tx) error) error {
	if t.torn.Left == 0 {
		return ErrTorn
	}
	t.torn.Left--
	return t.torn.Store.Update(t.ctx, fn)
}
