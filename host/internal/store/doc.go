// Package store is the host's key-value store: an ordered map from string keys
// to byte values with atomic transactions. It knows nothing of users or
// policies; what is kept, and under which keys, is package directory's matter.
//
// # What an implementation promises
//
//   - Update is atomic and durable when it returns nil. If something else wrote
//     a key that its closure got, or found missing, it has no effect or comes
//     wholly behind that write. Of what the closure scanned this is not promised:
//     Updates that each get one common key and write it are serializable, as if
//     one had run after the other.
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
// listing safe everywhere. Compares are of keys, not of ranges, whose deletions
// a compare does not see; so a caller guards its writes with one key, as package
// directory does with the generation. Type Optimistic of package storetest is
// such a store with nothing more promised.
//
// A limit on the size of a transaction is the implementation's to overcome: what
// one Update may write is not bounded here.
//
// Every implementation runs the suite of package storetest.
package store
