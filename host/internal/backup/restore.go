package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
	"sallyport/host/internal/store"
	"sallyport/host/internal/store/bolt"
)

// ErrStoreExists is returned when there is a store where one would be made.
var ErrStoreExists = errors.New("there is a store already")

// replacedSuffix is of the file of a store that a restored one replaced.
const replacedSuffix = ".replaced"

// pairsPerUpdate bounds a transaction of a restoration.
const pairsPerUpdate = 10_000

// Restored says what was restored.
type Restored struct {
	directory.Revision
	Replaced string // where the store is that was there before; "": there was none
}

// Restore makes a store in the data directory dir of a backup, in a new epoch:
// what proxies have of a generation that the backup does not know must not be
// taken for a later one. A store that is there is an error, ErrStoreExists,
// unless it may be replaced; it is kept beside the new one. Before the new store
// is whole nothing is where a host would find it.
func Restore(ctx context.Context, in io.Reader, dir string, replace bool) (_ Restored, err error) {
	path := filepath.Join(dir, bolt.FileName)
	epoch, err := epochAt(ctx, path, replace)
	if err != nil {
		return Restored{}, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Restored{}, fmt.Errorf("make data directory: %w", err)
	}
	work, err := os.MkdirTemp(dir, ".restore-")
	if err != nil {
		return Restored{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	restored, err := build(ctx, in, work, epoch)
	if err != nil {
		return Restored{}, err
	}
	if _, err := os.Stat(path); err == nil {
		restored.Replaced = path + replacedSuffix
		if err := os.Rename(path, restored.Replaced); err != nil {
			return Restored{}, err
		}
	}
	if err := os.Rename(filepath.Join(work, bolt.FileName), path); err != nil {
		return Restored{}, err
	}
	return restored, syncDir(dir)
}

// epochAt returns the epoch of the store that is at path, 0 if there is none. One
// that can't be read has none that counts: it is what a backup is for.
func epochAt(ctx context.Context, path string, replace bool) (uint64, error) {
	switch _, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return 0, nil
	case err != nil:
		return 0, err
	case !replace:
		return 0, fmt.Errorf("%w: %s", ErrStoreExists, path)
	}
	s, err := bolt.Open(filepath.Dir(path), time.Second)
	if errors.Is(err, store.ErrLocked) {
		return 0, err
	}
	if err != nil {
		return 0, nil
	}
	revision, err := open(s).Load(ctx)
	if err := s.Close(); err != nil {
		return 0, err
	}
	if err != nil {
		return 0, nil
	}
	return revision.Epoch, nil
}

// open returns the directory in s, for what checks no documents.
func open(s store.Store) *directory.Directory {
	return directory.New(s, model.Checks{}, time.Now)
}

// build makes the store of a backup in dir.
func build(ctx context.Context, in io.Reader, dir string, epoch uint64) (r Restored, err error) {
	s, err := bolt.Open(dir, time.Second)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := fill(ctx, in, s); err != nil {
		return r, err
	}
	r.Revision, err = open(s).BeginEpoch(ctx, epoch+1)
	return r, err
}

func fill(ctx context.Context, in io.Reader, s store.Store) error {
	var waiting []store.Pair
	flush := func() error {
		err := s.Update(ctx, func(tx store.Tx) error {
			for _, p := range waiting {
				if err := tx.Put(p.Key, p.Value); err != nil {
					return err
				}
			}
			return nil
		})
		waiting = waiting[:0]
		return err
	}
	err := Read(in, func(p store.Pair) error {
		if waiting = append(waiting, p); len(waiting) < pairsPerUpdate {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	return flush()
}

// syncDir makes renamed files of a directory last.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
