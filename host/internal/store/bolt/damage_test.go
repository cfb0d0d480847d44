package bolt_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"sallyport/host/internal/store"
	"sallyport/host/internal/store/bolt"
)

// filled returns the bytes of a store's file with some records, and where.
func filled(t *testing.T) (path string, content []byte) {
	t.Helper()
	dir := t.TempDir()
	s, err := bolt.Open(dir, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Update(t.Context(), func(tx store.Tx) error {
		for i := range 200 {
			if err := tx.Put(fmt.Sprintf("key/%03d", i), fmt.Appendf(nil, "<value %03d>", i)); err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, bolt.FileName)
	content, err = os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, content
}

func wantDamaged(t *testing.T, path string, content []byte, named string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), filepath.Base(path)) // where bbolt panics it keeps its lock
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := bolt.Open(filepath.Dir(path), time.Second)
	if err == nil {
		err = errors.Join(errors.New("was opened"), s.Close())
	}
	if !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), named) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want ErrDamaged that names %s", err, named)
	}
}

func TestOpenNamesTheDamagedRecord(t *testing.T) {
	path, content := filled(t)
	flipped := 0
	for _, record := range []string{"<value 000>", "<value 137>", "<value 199>"} {
		number := record[len("<value ") : len(record)-1]
		for from := 0; ; {
			i := bytes.Index(content[from:], []byte(record))
			if i < 0 {
				break
			}
			from += i + 1
			damaged := bytes.Clone(content)
			damaged[from+3] ^= 0x20
			wantDamaged(t, path, damaged, `"key/`+number+`"`)
			flipped++
		}
	}
	if flipped < 3 {
		t.Errorf("only %d records were found in the file", flipped)
	}
}

func TestOpenRefusesAFileThatWasCutShort(t *testing.T) {
	path, content := filled(t)
	used := bytes.LastIndex(content, []byte("<value"))
	for _, size := range []int{used, used / 2 &^ 4095} {
		wantDamaged(t, path, content[:size], "")
	}
}

func TestOpenAdoptsTheFirstLayout(t *testing.T) {
	dir := t.TempDir()
	db, err := bbolt.Open(filepath.Join(dir, bolt.FileName), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte("sallyport"))
		return errors.Join(err, b.Put([]byte("a"), []byte("1")))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s, err := bolt.Open(dir, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		err = s.View(t.Context(), func(r store.Reader) error {
			v, err := r.Get("a")
			if string(v) != "1" {
				t.Errorf("got %q, want 1", v)
			}
			return err
		})
		if err := errors.Join(err, s.Close()); err != nil {
			t.Error(err)
		}
	}
}
