package backup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sallyport/host/internal/backup"
	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
	"sallyport/host/internal/store"
	"sallyport/host/internal/store/bolt"
	"sallyport/host/internal/store/mem"
)

func user(name, description string) model.Entity {
	return &model.User{Metadata: model.Metadata{Name: name, Description: description}}
}

func apply(t *testing.T, d *directory.Directory, docs ...model.Entity) directory.Result {
	t.Helper()
	r, err := d.Apply(t.Context(), docs, directory.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func open(t *testing.T, dir string) (*directory.Directory, *bolt.Store) {
	t.Helper()
	s, err := bolt.Open(dir, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return directory.New(s, model.Checks{}, time.Now), s
}

func take(t *testing.T, s store.Store) []byte {
	t.Helper()
	b, err := backup.Take(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestARestoredStoreSaysWhatTheBackupSaid(t *testing.T) {
	d, s := open(t, t.TempDir())
	creds, err := d.EnsureAdmin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	apply(t, d, user("eric", "1"))
	saved := take(t, s)
	apply(t, d, user("eric", "2"), user("sean", "later"))

	dir := filepath.Join(t.TempDir(), "new")
	before := time.Now().Unix()
	r, err := backup.Restore(t.Context(), bytes.NewReader(saved), dir, false)
	if err != nil || r.Epoch < uint64(before) || r.Generation != 3 || r.Replaced != "" {
		t.Fatalf("got %d.%d, replaced %q, and %v", r.Epoch, r.Generation, r.Replaced, err)
	}
	restored, _ := open(t, dir)
	revision, err := restored.Load(t.Context())
	if err != nil || len(revision.State.Users) != 2 || revision.State.Users[1].Description != "1" {
		t.Errorf("got %+v and %v", revision.State, err)
	}
	if owner, err := restored.Authenticate(t.Context(), creds.AccessKeyID, creds.Secret.Reveal()); owner.Name != "admin" || err != nil {
		t.Errorf("the access key: got %v and %v", owner, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".restore-*")); len(left) > 0 || err != nil {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestRestoreReplacesByForceOnly(t *testing.T) {
	dir := t.TempDir()
	d, s := open(t, dir)
	apply(t, d, user("eric", "old"))
	saved := take(t, s)
	restore := func(replace bool) (backup.Restored, error) {
		return backup.Restore(t.Context(), bytes.NewReader(saved), dir, replace)
	}
	if _, err := restore(false); !errors.Is(err, backup.ErrStoreExists) {
		t.Errorf("without force: got %v, want ErrStoreExists", err)
	}
	if _, err := restore(true); !errors.Is(err, store.ErrLocked) {
		t.Errorf("while a host runs: got %v, want ErrLocked", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	first, err := restore(true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(first.Replaced); err != nil {
		t.Errorf("the store that was there: %v", err)
	}
	// The clock of a second may stand still between two restorations.
	second, err := restore(true)
	if err != nil || second.Epoch <= first.Epoch {
		t.Errorf("epoch %d after %d, and %v", second.Epoch, first.Epoch, err)
	}
	if err := os.WriteFile(filepath.Join(dir, bolt.FileName), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := restore(true); err != nil {
		t.Errorf("over a damaged store: %v", err)
	}
}

func TestADamagedBackupIsRefusedAndChangesNothing(t *testing.T) {
	s := mem.New()
	d := directory.New(s, model.Checks{}, time.Now)
	apply(t, d, user("eric", ""))
	whole := take(t, s)
	dir := t.TempDir()
	check := func(name string, content []byte) {
		t.Helper()
		if _, err := backup.Restore(t.Context(), bytes.NewReader(content), dir, false); !errors.Is(err, backup.ErrMalformed) {
			t.Errorf("%s: got %v, want ErrMalformed", name, err)
		}
	}
	for n := 0; n < len(whole); n += 1 + len(whole)/20 {
		check(fmt.Sprintf("cut at %d", n), whole[:n])
	}
	const meaningless = 11 // gzip's time and flags, and bits that fill up a byte
	for i := meaningless; i < len(whole); i += 1 + len(whole)/40 {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 0x10
		check(fmt.Sprintf("byte %d", i), damaged)
	}
	check("nothing", nil)
	check("text", []byte("kind: User"))
	if left, err := os.ReadDir(dir); len(left) > 0 || err != nil {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestABackupOfNothingIsRefused(t *testing.T) {
	_, err := backup.Restore(t.Context(), bytes.NewReader(take(t, mem.New())), t.TempDir(), false)
	if !errors.Is(err, directory.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}

// TestABackupIsOfOneState takes backups while a writer keeps two keys equal.
func TestABackupIsOfOneState(t *testing.T) {
	_, s := open(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	started, done := make(chan struct{}), make(chan error)
	go func() {
		var err error
		for i := 0; err == nil && ctx.Err() == nil; i++ {
			err = s.Update(context.Background(), func(tx store.Tx) error {
				value := fmt.Appendf(nil, "%d", i)
				return errors.Join(tx.Put("a", value), tx.Put("z", value))
			})
			if i == 0 {
				close(started)
			}
		}
		done <- err
	}()
	<-started
	for range 20 {
		values := map[string]string{}
		err := backup.Read(bytes.NewReader(take(t, s)), func(p store.Pair) error {
			values[p.Key] = string(p.Value)
			return nil
		})
		if err != nil || values["a"] != values["z"] || values["a"] == "" {
			t.Errorf("got %v and %v", values, err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func FuzzRead(f *testing.F) {
	s := mem.New()
	if _, err := directory.New(s, model.Checks{}, time.Now).EnsureAdmin(f.Context()); err != nil {
		f.Fatal(err)
	}
	whole, err := backup.Take(f.Context(), s)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:40])
	f.Fuzz(func(t *testing.T, content []byte) {
		last := ""
		err := backup.Read(bytes.NewReader(content), func(p store.Pair) error {
			if p.Key <= last {
				t.Errorf("key %q behind %q", p.Key, last)
			}
			last = p.Key
			return nil
		})
		if err != nil && !errors.Is(err, backup.ErrMalformed) {
			t.Errorf("got %v", err)
		}
	})
}
