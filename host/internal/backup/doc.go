// Package backup writes the content of a store to a file, and makes a store of
// it again.
//
// A backup is, compressed by gzip (RFC 1952), the line "sallyport-backup 1", then
// for each key in order its length, the key, the value's length and the value,
// then the length 0 (no key is empty), and then the SHA-256 of all that. Lengths
// are unsigned varints. It is of one state of the store, whichever store that
// is, and holds no more than the store: access keys as digests, and not the key
// that snapshots are signed with, which is a file beside the store.
package backup
