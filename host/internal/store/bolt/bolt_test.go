package bolt_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/host/internal/store"
	"sallyport/host/internal/store/bolt"
	"sallyport/host/internal/store/storetest"
)

func open(t *testing.T, dir string) *bolt.Store {
	t.Helper()
	s, err := bolt.Open(dir, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, t.TempDir()) })
}

func TestOpenNamesTheLockedFile(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	_, err := bolt.Open(dir, time.Millisecond)
	if !errors.Is(err, store.ErrLocked) {
		t.Fatalf("got %v, want ErrLocked", err)
	}
	if path := filepath.Join(dir, bolt.FileName); !strings.Contains(err.Error(), path) {
		t.Errorf("%q does not name %s", err, path)
	}
}

func TestContentSurvivesReopening(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "by", "open")
	s := open(t, dir)
	if err := s.Update(t.Context(), func(tx store.Tx) error { return tx.Put("a", []byte("1")) }); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	err := open(t, dir).View(t.Context(), func(r store.Reader) error {
		v, err := r.Get("a")
		if string(v) != "1" {
			t.Errorf("got %q, want 1", v)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestFileIsPrivate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, bolt.FileName)
	check := func(when string) {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != 0o600 {
			t.Errorf("%s: mode %o, want 600", when, got)
		}
	}
	s := open(t, dir)
	check("new")
	if err := errors.Join(s.Close(), os.Chmod(path, 0o644)); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	check("opened again with wider permissions")
}

func TestOpenRefusesWhatIsNoStore(t *testing.T) {
	for name, content := range map[string][]byte{
		"text":  bytes.Repeat([]byte("not a store\n"), 2000),
		"short": []byte("x"),
		"zeros": make([]byte, 1<<16),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, bolt.FileName)
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := bolt.Open(dir, time.Second)
			if err == nil || !strings.Contains(err.Error(), path) {
				t.Fatalf("got %v, want an error that names %s", err, path)
			}
			after, readErr := os.ReadFile(path)
			if readErr != nil || !bytes.Equal(content, after) {
				t.Errorf("the file was changed (%v)", readErr)
			}
		})
	}
}
