package store

import "errors"

var (
	// ErrNotFound is returned when a key that was asked for does not exist.
	ErrNotFound = errors.New("key not found")

	// ErrLocked is returned when the store's file is held by another process.
	ErrLocked = errors.New("store is in use by another process")

	// ErrClosed is returned when a store is used after Close.
	ErrClosed = errors.New("store is closed")

	// ErrDone is returned when a transaction is used after its closure has
	// returned.
	ErrDone = errors.New("transaction is over")

	// ErrEmptyKey is returned when a pair is put under the empty key.
	ErrEmptyKey = errors.New("empty key")
)
