// Package store is the host's key-value store: an ordered map from string keys
// to byte values with atomic transactions. It knows nothing of users or
// policies; what is kept, and under which keys, is package directory's matter.
//
// # What an implementation promises
//
//   - Update is atomic, durable when it returns nil, and serializable: its
//     outcome is as if all Updates had run one after the other.
//   - View and Update read one consistent state. An Update reads its own writes.
//   - Keys are ordered by their bytes.
//
// # Room for networked stores
//
// A store whose transactions are optimistic (etcd: a Txn of compares and writes)
// runs the closure against a fixed revision, collects the writes, and commits
// them if what the closure read is unchanged; if not, it runs the closure again.
// Hence the closure may run more than once: it must have no effect outside of
// the transaction and must reset what it captured. Scan answers a slice, not a
// cursor, since that is one request there, and since it makes deleting while
// listing safe everywhere. To keep such a transaction's compares few, a caller
// that guards all its writes with one key (as package directory does with the
// generation) reads that key and little else.
//
// Every implementation runs the suite of package storetest.
package store
