package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/host/internal/store"
)

// Run checks that the stores that newStore makes keep the promises of package
// store. Each call of newStore must return an empty store.
func Run(t *testing.T, newStore func(t *testing.T) store.Store) {
	tests := []struct {
		name string
		test func(*testing.T, store.Store)
	}{
		{"get of a missing key is ErrNotFound", testMissing},
		{"put get and delete", testPutGetDelete},
		{"put copies the value", testPutCopies},
		{"the empty key is refused", testEmptyKey},
		{"keys may hold any bytes", testAnyBytes},
		{"scan is ordered and bounded by prefix from and limit", testScan},
		{"an update reads its own writes", testReadOwnWrites},
		{"deleting while scanning deletes all", testDeleteWhileScanning},
		{"an update that errs changes nothing", testRollback},
		{"an update that panics changes nothing", testPanic},
		{"a view sees one state", testViewIsolation},
		{"updates are serializable", testSerializable},
		{"a transaction that is over is refused", testDone},
		{"a cancelled context starts nothing", testCancelled},
		{"a closed store is refused", testClosed},
		{"random operations equal a map", testRandom},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStore(t)
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			tt.test(t, s)
		})
	}
}

func update(t *testing.T, s store.Store, fn func(store.Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), fn); err != nil {
		t.Fatalf("update: %v", err)
	}
}

func put(t *testing.T, s store.Store, keys ...string) {
	t.Helper()
	update(t, s, func(tx store.Tx) error {
		for _, k := range keys {
			if err := tx.Put(k, []byte("v:"+k)); err != nil {
				return err
			}
		}
		return nil
	})
}

// dump returns all of the store as "key=value" lines.
func dump(t *testing.T, s store.Store) []string {
	t.Helper()
	var lines []string
	err := s.View(t.Context(), func(r store.Reader) error {
		pairs, err := r.Scan("", "", 0)
		lines = nil
		for _, p := range pairs {
			lines = append(lines, p.Key+"="+string(p.Value))
		}
		return err
	})
	if err != nil {
		t.Fatalf("view: %v", err)
	}
	return lines
}

func wantDump(t *testing.T, s store.Store, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, dump(t, s)); diff != "" {
		t.Errorf("content (-want +got):\n%s", diff)
	}
}

func testMissing(t *testing.T, s store.Store) {
	err := s.View(t.Context(), func(r store.Reader) error {
		_, err := r.Get("a")
		return err
	})
	if !errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	wantDump(t, s)
}

func testPutGetDelete(t *testing.T, s store.Store) {
	put(t, s, "a", "b")
	update(t, s, func(tx store.Tx) error {
		return errors.Join(tx.Put("a", []byte("new")), tx.Put("empty", nil), tx.Delete("b"), tx.Delete("never"))
	})
	wantDump(t, s, "a=new", "empty=")
	err := s.View(t.Context(), func(r store.Reader) error {
		v, err := r.Get("empty")
		if v == nil || len(v) != 0 {
			t.Errorf("empty value: got %v, want an empty slice", v)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func testPutCopies(t *testing.T, s store.Store) {
	update(t, s, func(tx store.Tx) error {
		v := []byte("one")
		err := tx.Put("a", v)
		copy(v, "two")
		return err
	})
	wantDump(t, s, "a=one")
}

func testEmptyKey(t *testing.T, s store.Store) {
	err := s.Update(t.Context(), func(tx store.Tx) error { return tx.Put("", []byte("x")) })
	if !errors.Is(err, store.ErrEmptyKey) {
		t.Errorf("got %v, want ErrEmptyKey", err)
	}
}

func testAnyBytes(t *testing.T, s store.Store) {
	keys := []string{"\x00", "a\x00b", "ä/ö", "\xff\xfe", strings.Repeat("k", 1024)}
	slices.Sort(keys)
	put(t, s, keys...)
	var want []string
	for _, k := range keys {
		want = append(want, k+"=v:"+k)
	}
	wantDump(t, s, want...)
}

func testScan(t *testing.T, s store.Store) {
	put(t, s, "a", "a/1", "a/2", "a/3", "a0", "b", "b/1")
	tests := []struct {
		prefix, from string
		limit        int
		want         string
	}{
		{"", "", 0, "a a/1 a/2 a/3 a0 b b/1"},
		{"a/", "", 0, "a/1 a/2 a/3"},
		{"a", "", 0, "a a/1 a/2 a/3 a0"},
		{"a/", "a/2", 0, "a/2 a/3"},
		{"a/", "a/2\x00", 0, "a/3"},
		{"a/", "a", 0, "a/1 a/2 a/3"},
		{"a/", "b", 0, ""},
		{"a/", "", 2, "a/1 a/2"},
		{"a/", "a/2", 1, "a/2"},
		{"a/", "", 9, "a/1 a/2 a/3"},
		{"c", "", 0, ""},
		{"", "b", 0, "b b/1"},
	}
	for _, tt := range tests {
		name := fmt.Sprintf("prefix %q from %q limit %d", tt.prefix, tt.from, tt.limit)
		err := s.View(t.Context(), func(r store.Reader) error {
			pairs, err := r.Scan(tt.prefix, tt.from, tt.limit)
			var keys []string
			for _, p := range pairs {
				keys = append(keys, p.Key)
				if string(p.Value) != "v:"+p.Key {
					t.Errorf("%s: value of %q is %q", name, p.Key, p.Value)
				}
			}
			if got := strings.Join(keys, " "); got != tt.want {
				t.Errorf("%s: got %q, want %q", name, got, tt.want)
			}
			return err
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func testReadOwnWrites(t *testing.T, s store.Store) {
	put(t, s, "a", "b")
	update(t, s, func(tx store.Tx) error {
		if err := errors.Join(tx.Delete("a"), tx.Put("c", []byte("C"))); err != nil {
			return err
		}
		if _, err := tx.Get("a"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("deleted key: got %v, want ErrNotFound", err)
		}
		v, err := tx.Get("c")
		if string(v) != "C" {
			t.Errorf("new key: got %q, want C", v)
		}
		pairs, scanErr := tx.Scan("", "", 0)
		if len(pairs) != 2 || pairs[0].Key != "b" || pairs[1].Key != "c" {
			t.Errorf("scan: got %v, want b and c", pairs)
		}
		return errors.Join(err, scanErr)
	})
}

func testDeleteWhileScanning(t *testing.T, s store.Store) {
	var keys []string
	for i := range 500 {
		keys = append(keys, fmt.Sprintf("k/%04d", i))
	}
	put(t, s, append(keys, "other")...)
	update(t, s, func(tx store.Tx) error {
		pairs, err := tx.Scan("k/", "", 0)
		for _, p := range pairs {
			err = errors.Join(err, tx.Delete(p.Key))
		}
		return err
	})
	wantDump(t, s, "other=v:other")
}

func testRollback(t *testing.T, s store.Store) {
	put(t, s, "a")
	sentinel := errors.New("no")
	err := s.Update(t.Context(), func(tx store.Tx) error {
		return errors.Join(tx.Put("a", []byte("x")), tx.Put("b", nil), sentinel)
	})
	if !errors.Is(err, sentinel) {
		t.Errorf("got %v, want the closure's error", err)
	}
	wantDump(t, s, "a=v:a")
}

func testPanic(t *testing.T, s store.Store) {
	put(t, s, "a")
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = s.Update(t.Context(), func(tx store.Tx) error {
			if err := tx.Delete("a"); err != nil {
				t.Errorf("delete: %v", err)
			}
			panic("boom")
		})
	}()
	wantDump(t, s, "a=v:a")
	put(t, s, "b") // the panic must not leave a lock behind
	wantDump(t, s, "a=v:a", "b=v:b")
}

// testViewIsolation runs a writer that keeps two keys equal beside readers that
// want to see them equal.
func testViewIsolation(t *testing.T, s store.Store) {
	const rounds = 100
	write := func(i int) error {
		return s.Update(t.Context(), func(tx store.Tx) error {
			v := []byte(strconv.Itoa(i))
			return errors.Join(tx.Put("x", v), tx.Put("y", v))
		})
	}
	if err := write(0); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range rounds {
			if err := write(i); err != nil {
				t.Errorf("write: %v", err)
			}
		}
	})
	for range 2 {
		wg.Go(func() {
			for range rounds {
				if err := s.View(t.Context(), wantEqual("x", "y")); err != nil {
					t.Errorf("view: %v", err)
				}
			}
		})
	}
	wg.Wait()
}

func wantEqual(a, b string) func(store.Reader) error {
	return func(r store.Reader) error {
		x, errX := r.Get(a)
		y, errY := r.Get(b)
		if string(x) != string(y) {
			return fmt.Errorf("%s is %s but %s is %s", a, x, b, y)
		}
		return errors.Join(errX, errY)
	}
}

func testSerializable(t *testing.T, s store.Store) {
	const writers, rounds = 4, 25
	update(t, s, func(tx store.Tx) error { return tx.Put("n", []byte("0")) })
	increment := func(tx store.Tx) error {
		v, err := tx.Get("n")
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(string(v))
		if err != nil {
			return err
		}
		return tx.Put("n", []byte(strconv.Itoa(n+1)))
	}
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range rounds {
				if err := s.Update(t.Context(), increment); err != nil {
					t.Errorf("update: %v", err)
				}
			}
		})
	}
	wg.Wait()
	wantDump(t, s, fmt.Sprintf("n=%d", writers*rounds))
}

func testDone(t *testing.T, s store.Store) {
	put(t, s, "a")
	var kept store.Tx
	update(t, s, func(tx store.Tx) error { kept = tx; return nil })
	var keptReader store.Reader
	if err := s.View(t.Context(), func(r store.Reader) error { keptReader = r; return nil }); err != nil {
		t.Fatal(err)
	}
	for name, use := range map[string]func() error{
		"get":         func() error { _, err := kept.Get("a"); return err },
		"scan":        func() error { _, err := kept.Scan("", "", 0); return err },
		"put":         func() error { return kept.Put("a", nil) },
		"delete":      func() error { return kept.Delete("a") },
		"get in view": func() error { _, err := keptReader.Get("a"); return err },
	} {
		if err := use(); !errors.Is(err, store.ErrDone) {
			t.Errorf("%s: got %v, want ErrDone", name, err)
		}
	}
	wantDump(t, s, "a=v:a")
}

func testCancelled(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := s.Update(ctx, func(store.Tx) error { t.Error("update ran"); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("update: got %v, want context.Canceled", err)
	}
	err = s.View(ctx, func(store.Reader) error { t.Error("view ran"); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("view: got %v, want context.Canceled", err)
	}
}

func testClosed(t *testing.T, s store.Store) {
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	err := s.Update(t.Context(), func(store.Tx) error { return nil })
	if !errors.Is(err, store.ErrClosed) {
		t.Errorf("update: got %v, want ErrClosed", err)
	}
	err = s.View(t.Context(), func(store.Reader) error { return nil })
	if !errors.Is(err, store.ErrClosed) {
		t.Errorf("view: got %v, want ErrClosed", err)
	}
}

// testRandom runs random transactions, some of which fail, against a map.
func testRandom(t *testing.T, s store.Store) {
	rng := rand.New(rand.NewPCG(1, 2))
	abort := errors.New("abort")
	want := map[string]string{}
	for range 100 {
		next := map[string]string{}
		err := s.Update(t.Context(), func(tx store.Tx) error {
			clear(next)
			for k, v := range want {
				next[k] = v
			}
			for range 1 + rng.IntN(8) {
				if err := randomWrite(rng, tx, next); err != nil {
					return err
				}
			}
			if rng.IntN(4) == 0 {
				return abort
			}
			return nil
		})
		switch {
		case err == nil:
			want = next
		case !errors.Is(err, abort):
			t.Fatalf("update: %v", err)
		}
		var lines []string
		for k, v := range want {
			lines = append(lines, k+"="+v)
		}
		slices.Sort(lines)
		wantDump(t, s, lines...)
	}
}

func randomWrite(rng *rand.Rand, tx store.Tx, model map[string]string) error {
	key := fmt.Sprintf("%c/%d", 'a'+rng.IntN(3), rng.IntN(10))
	if rng.IntN(3) == 0 {
		delete(model, key)
		return tx.Delete(key)
	}
	value := strconv.Itoa(rng.IntN(1000))
	model[key] = value
	return tx.Put(key, []byte(value))
}
