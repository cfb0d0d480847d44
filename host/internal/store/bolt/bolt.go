package bolt

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"sallyport/host/internal/store"
)

// FileName is the name of the store's file in the data directory.
const FileName = "sallyport.db"

// DefaultLockTimeout is how long Open waits for another process by default:
// enough for one that is just shutting down.
const DefaultLockTimeout = 2 * time.Second

// Store is a store in one file. Use Open to make one.
type Store struct {
	db      *bbolt.DB
	writers writers
}

var _ store.Store = (*Store)(nil)

// Open opens the store in the data directory dir and makes both if they don't
// exist. Other accounts get no access to the file. If another process holds it
// for longer than lockTimeout (0: DefaultLockTimeout), the error is
// store.ErrLocked and names the file.
func Open(dir string, lockTimeout time.Duration) (*Store, error) {
	if lockTimeout <= 0 {
		lockTimeout = DefaultLockTimeout
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", translate(err))
	}
	path := filepath.Join(dir, FileName)
	db, err := openFile(path, lockTimeout)
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%w: %s is locked; stop the other process, or use another data directory", store.ErrLocked, path)
	}
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, translate(err))
	}
	err = prepare(db, path)
	if err == nil {
		err = check(db)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open store %s: %w", path, translate(err)), db.Close())
	}
	return &Store{db: db, writers: writers{maxAge: maxBatchAge}}, nil
}

// openFile opens the file. bbolt panics on some damaged files while it reads
// the free list; that becomes an error, since the file is input here.
func openFile(path string, lockTimeout time.Duration) (db *bbolt.DB, err error) {
	defer func() {
		if r := recover(); r != nil {
			db, err = nil, fmt.Errorf("%w (%v)", store.ErrDamaged, r)
		}
	}()
	return bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:      lockTimeout,
		FreelistType: bbolt.FreelistMapType,
	})
}

func prepare(db *bbolt.DB, path string) error {
	// A file that was copied back from a backup may have come with wider
	// permissions than bbolt gives to a new one.
	if err := os.Chmod(path, 0o600); err != nil {
		return err
	}
	ready := false
	err := db.View(func(tx *bbolt.Tx) error {
		ready = tx.Bucket(bucketName) != nil && tx.Bucket(plainBucketName) == nil
		return nil
	})
	if err != nil || ready { // on a full disk, too, what there is can be read
		return err
	}
	return db.Update(func(tx *bbolt.Tx) error {
		bucket, err := tx.CreateBucketIfNotExists(bucketName)
		if err != nil {
			return err
		}
		return adopt(tx, bucket)
	})
}

// View implements store.Store.
func (s *Store) View(ctx context.Context, fn func(store.Reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return translate(s.db.View(func(btx *bbolt.Tx) error {
		t := &tx{bucket: btx.Bucket(bucketName)}
		defer t.end()
		return fn(t)
	}))
}

// Close implements store.Store.
func (s *Store) Close() error { return s.db.Close() }

func translate(err error) error {
	switch {
	case errors.Is(err, bbolterrors.ErrDatabaseNotOpen):
		return store.ErrClosed
	case causedBy(err, syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG):
		return fmt.Errorf("%w: %w", store.ErrNoSpace, err)
	case causedBy(err, syscall.EROFS, syscall.EACCES, syscall.EPERM):
		return fmt.Errorf("%w: %w", store.ErrReadOnly, err)
	}
	return err
}

// causedBy reports whether one of these is why err came. Of growing and syncing
// its file bbolt has the reason as text only.
func causedBy(err error, reasons ...syscall.Errno) bool {
	return err != nil && slices.ContainsFunc(reasons, func(reason syscall.Errno) bool {
		return errors.Is(err, reason) || strings.HasSuffix(err.Error(), ": "+reason.Error())
	})
}

// tx is one View or Update; bucket is nil when it is over, since bbolt's own
// behaviour after that point is undefined.
type tx struct {
	bucket *bbolt.Bucket
	// pending are the writes that the bucket does not have yet, nil for what is
	// deleted. It gets them at the end, if that is good: others share the bucket.
	// And bbolt keeps what a transaction puts between two keys in one list, into
	// which each insertion moves what is behind it: of many, in the order of keys,
	// none moves more than a page.
	pending map[string][]byte
	order   []string // the keys of pending, sorted; nil: not known
}

func (t *tx) end() { t.bucket = nil }

// flush makes the pending writes.
func (t *tx) flush() error {
	for _, key := range t.written() {
		record := t.pending[key]
		err := error(nil)
		if record == nil {
			err = t.bucket.Delete([]byte(key))
		} else {
			err = t.bucket.Put([]byte(key), record)
		}
		if err != nil {
			return fmt.Errorf("write %q: %w", key, err)
		}
	}
	return nil
}

func (t *tx) write(key string, record []byte) {
	if t.pending == nil {
		t.pending = map[string][]byte{}
	}
	if _, again := t.pending[key]; !again {
		t.order = nil
	}
	t.pending[key] = record
}

// written returns the keys of pending, sorted.
func (t *tx) written() []string {
	if t.order == nil {
		t.order = slices.Sorted(maps.Keys(t.pending))
	}
	return t.order
}

func (t *tx) Get(key string) ([]byte, error) {
	if t.bucket == nil {
		return nil, store.ErrDone
	}
	v, written := t.pending[key]
	if !written {
		v = t.bucket.Get([]byte(key))
	}
	if v == nil {
		return nil, store.ErrNotFound
	}
	return unsealed(key, v)
}

// Scan merges what is in the bucket with what is pending.
func (t *tx) Scan(prefix, from string, limit int) ([]store.Pair, error) {
	if t.bucket == nil {
		return nil, store.ErrDone
	}
	start := max(prefix, from)
	written := t.written()
	i, _ := slices.BinarySearch(written, start)
	written = written[i:]
	var pairs []store.Pair
	c := t.bucket.Cursor()
	k, v := c.Seek([]byte(start))
	for limit <= 0 || len(pairs) < limit {
		var key string
		var record []byte
		if len(written) > 0 && (k == nil || written[0] <= string(k)) {
			key, record = written[0], t.pending[written[0]]
			written = written[1:]
			if key == string(k) {
				k, v = c.Next()
			}
		} else if k != nil {
			key, record = string(k), v
			k, v = c.Next()
		}
		if key == "" || !strings.HasPrefix(key, prefix) {
			break
		}
		if record == nil {
			continue // deleted
		}
		value, err := unsealed(key, record)
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, store.Pair{Key: key, Value: value})
	}
	return pairs, nil
}

func (t *tx) Put(key string, value []byte) error {
	switch {
	case t.bucket == nil:
		return store.ErrDone
	case key == "":
		return store.ErrEmptyKey
	case len(key) > bbolt.MaxKeySize: // else the bucket would find it out, too late for others
		return fmt.Errorf("key of %d bytes: %w", len(key), bbolterrors.ErrKeyTooLarge)
	}
	t.write(key, sealed(key, value))
	return nil
}

func (t *tx) Delete(key string) error {
	if t.bucket == nil {
		return store.ErrDone
	}
	t.write(key, nil)
	return nil
}
