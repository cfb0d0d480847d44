package store

import (
	"context"
	"slices"
	"strings"
)

// Store is an ordered key-value store. It is safe for concurrent use.
type Store interface {
	// View calls fn with a consistent, read-only state of the store.
	View(ctx context.Context, fn func(Reader) error) error

	// Update calls fn and commits what it wrote if it returns nil; otherwise
	// nothing changes and its error is returned, wrapped at most. A store may
	// call fn again after a conflict, so fn must have no other effects. An
	// Update must not be started within a View or an Update.
	Update(ctx context.Context, fn func(Tx) error) error

	// Close waits for open transactions and releases the store. Closing twice
	// is no error.
	Close() error
}

// Reader reads within a transaction. It must not be used by several goroutines
// at once, nor after the closure that it was given to has returned.
type Reader interface {
	// Get returns the value of key, or ErrNotFound. The value is valid until
	// the transaction ends and must not be modified.
	Get(key string) ([]byte, error)

	// Scan returns in order the pairs whose keys begin with prefix and are not
	// below from; limit bounds their number, 0 means all. The values are valid
	// until the transaction ends and must not be modified.
	Scan(prefix, from string, limit int) ([]Pair, error)
}

// Tx reads and writes within an Update.
type Tx interface {
	Reader

	// Put sets the value of key, which must not be empty. It takes a copy.
	Put(key string, value []byte) error

	// Delete removes key. Deleting a key that does not exist is no error.
	Delete(key string) error
}

// Pair is a key with its value.
type Pair struct {
	Key   string
	Value []byte
}

// InOrder returns the first limit of pairs in the order of their keys, all if
// limit is 0: what Scan returns, for stores whose keys are in no order.
func InOrder(pairs []Pair, limit int) []Pair {
	slices.SortFunc(pairs, func(a, b Pair) int { return strings.Compare(a.Key, b.Key) })
	if limit > 0 && len(pairs) > limit {
		return pairs[:limit]
	}
	return pairs
}
