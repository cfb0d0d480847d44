package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime/debug"

	"go.etcd.io/bbolt"

	"sallyport/host/internal/store"
)

var (
	// bucketName is the bucket of records: a value with its checksum behind it.
	bucketName = []byte("records")
	// plainBucketName is the bucket of the first layout, which had no checksums.
	plainBucketName = []byte("sallyport")
)

const checksumBytes = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum covers the key, so that a value is not taken for another key's.
func checksum(key string, value []byte) uint32 {
	return crc32.Update(crc32.Checksum([]byte(key), castagnoli), castagnoli, value)
}

// sealed returns a copy of value with its checksum. It is kept until the commit,
// and the caller may reuse its own.
func sealed(key string, value []byte) []byte {
	out := make([]byte, 0, len(value)+checksumBytes)
	return binary.LittleEndian.AppendUint32(append(out, value...), checksum(key, value))
}

// unsealed returns the value of a record. bbolt checks what it reads no further
// than its own structure, and a bit that flips in a policy could open a path.
func unsealed(key string, record []byte) ([]byte, error) {
	n := len(record) - checksumBytes
	if n < 0 || binary.LittleEndian.Uint32(record[n:]) != checksum(key, record[:n]) {
		return nil, fmt.Errorf("key %q: %w", key, store.ErrDamaged)
	}
	return record[:n:n], nil
}

// adopt moves the records of a file of the first layout to bucket.
func adopt(tx *bbolt.Tx, bucket *bbolt.Bucket) error {
	plain := tx.Bucket(plainBucketName)
	if plain == nil {
		return nil
	}
	err := plain.ForEach(func(k, v []byte) error { return bucket.Put(k, sealed(string(k), v)) })
	return errors.Join(err, tx.DeleteBucket(plainBucketName))
}

// check reads the whole file once, so that damage is found at the start and not
// when somebody needs what it hit.
func check(db *bbolt.DB) (err error) {
	last := ""
	// A file that was cut short faults where it is read.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("behind key %q: %w (%v)", last, store.ErrDamaged, r)
		}
	}()
	return db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketName).Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			key := string(k)
			if key <= last {
				return fmt.Errorf("key %q behind key %q: %w", key, last, store.ErrDamaged)
			}
			if _, err := unsealed(key, v); err != nil {
				return err
			}
			last = key
		}
		return nil
	})
}
