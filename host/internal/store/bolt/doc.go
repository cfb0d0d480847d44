// Package bolt implements store.Store on bbolt: one file in the data directory,
// owned by one process at a time.
package bolt
