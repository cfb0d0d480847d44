package store

import "errors"

var (
	// ErrNotFound is returned when a key that was asked for does not exist.
	ErrNotFound = errors.New("key not found")

	// ErrLocked is returned when the store's file is held by another process.
	ErrLocked = errors.New("store is in use by another process")

	// ErrNoSpace is returned when there is no room left for a write: nothing was
	// written, and reads go on.
	ErrNoSpace = errors.New("there is no space left for the store")

	// ErrReadOnly is returned when the store's file can't be written to.
	ErrReadOnly = errors.New("the store can't be written to")

	// ErrDamaged is returned when what was stored is not what is read. The error
	// around it names the first record that is affected.
	ErrDamaged = errors.New("the store is damaged: restore a backup")

	// ErrClosed is returned when a store is used after Close.
	ErrClosed = errors.New("store is closed")

	// ErrDone is returned when a transaction is used after its closure has
	// returned.
	ErrDone = errors.New("transaction is over")

	// ErrEmptyKey is returned when a pair is put under the empty key.
	ErrEmptyKey = errors.New("empty key")
)
