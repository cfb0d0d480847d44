package bolt_test

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"sallyport/host/internal/store"
	"sallyport/host/internal/store/bolt"
)

// queue runs updates that all wait until the first is in its closure, and
// returns their errors in their order.
func queue(t *testing.T, s *bolt.Store, updates ...func(store.Tx) error) []error {
	t.Helper()
	s.LetBatchesGrow()
	errs := make([]error, len(updates))
	inside, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var wg sync.WaitGroup
	run := func(i int, fn func(store.Tx) error) {
		wg.Go(func() {
			defer func() {
				if r := recover(); r != nil {
					errs[i] = fmt.Errorf("panic: %v", r)
				}
			}()
			errs[i] = s.Update(t.Context(), fn)
		})
	}
	run(0, func(tx store.Tx) error {
		once.Do(func() {
			close(inside)
			<-release
		})
		return updates[0](tx)
	})
	<-inside
	for i, fn := range updates[1:] {
		run(i+1, fn)
	}
	for s.Waiting() < int64(len(updates)-1) {
		runtime.Gosched()
	}
	close(release)
	wg.Wait()
	return errs
}

// increment counts at a key, and says in seen what it made of it.
func increment(tx store.Tx) error {
	v, err := tx.Get("count")
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return tx.Put("count", append(bytes.Clone(v), 'x'))
}

func wantCount(t *testing.T, s *bolt.Store, want int) {
	t.Helper()
	err := s.View(t.Context(), func(r store.Reader) error {
		v, err := r.Get("count")
		if len(v) != want {
			t.Errorf("counted %d, want %d", len(v), want)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestUpdatesThatWaitShareACommit(t *testing.T) {
	s := open(t, t.TempDir())
	before, err := s.Commits()
	if err != nil {
		t.Fatal(err)
	}
	const n = 20
	updates := make([]func(store.Tx) error, n)
	for i := range updates {
		updates[i] = increment
	}
	if err := errors.Join(queue(t, s, updates...)...); err != nil {
		t.Fatal(err)
	}
	after, err := s.Commits()
	if err != nil {
		t.Fatal(err)
	}
	if after-before >= n/2 {
		t.Errorf("%d commits of %d updates", after-before, n)
	}
	wantCount(t, s, n)
}

func TestWhatFailsInABatchFailsAlone(t *testing.T) {
	reason := errors.New("no")
	bad := map[string]struct {
		update func(store.Tx) error
		want   string
	}{
		"an error": {func(tx store.Tx) error {
			if err := increment(tx); err != nil {
				return err
			}
			if _, err := tx.Scan("", "", 0); err != nil {
				return err
			}
			return reason
		}, "no"},
		"a panic": {func(tx store.Tx) error {
			if err := increment(tx); err != nil {
				return err
			}
			panic("oh")
		}, "panic: oh"},
		"a key that is too long": {func(tx store.Tx) error {
			return errors.Join(increment(tx), tx.Put(strings.Repeat("k", 1<<16), nil))
		}, "key of 65536 bytes"},
	}
	for name, tt := range bad {
		for at := range 3 {
			t.Run(fmt.Sprint(name, " at ", at), func(t *testing.T) {
				s := open(t, t.TempDir())
				updates := []func(store.Tx) error{increment, increment, increment}
				updates[at] = tt.update
				for i, err := range queue(t, s, updates...) {
					switch {
					case i == at && (err == nil || !strings.Contains(err.Error(), tt.want)):
						t.Errorf("got %v, want %q", err, tt.want)
					case i != at && err != nil:
						t.Errorf("update %d: %v", i, err)
					}
				}
				wantCount(t, s, 2)
			})
		}
	}
}

// A commit that fails may be the fault of one, such as of what it has no space
// for: each tries again alone. Nobody's outcome may rest on what came to nothing.
func TestABatchThatCantBeCommittedIsTakenApart(t *testing.T) {
	for name, stays := range map[string]bool{"refused again": true, "not refused any more": false} {
		t.Run(name, func(t *testing.T) { takeApart(t, stays) })
	}
}

// takeApart breaks a batch in which an Update was refused, which stays so when it
// is asked again, or not.
func takeApart(t *testing.T, staysRefused bool) {
	s := open(t, t.TempDir())
	refused := errors.New("refused")
	var order []int // of the first runs
	asked := 0
	// Of two that wait, whichever comes first is refused, and the other breaks
	// what they share.
	waiting := func(i int) func(store.Tx) error {
		return func(tx store.Tx) error {
			first := !slices.Contains(order, i)
			if first {
				order = append(order, i)
			}
			if order[0] == i {
				if asked++; asked == 1 || staysRefused {
					return refused
				}
				return increment(tx)
			}
			if err := increment(tx); err != nil || !first {
				return err
			}
			return s.BreakBatch()
		}
	}
	errs := queue(t, s, increment, waiting(1), waiting(2))
	want, count := error(nil), 3
	if staysRefused {
		want, count = refused, 2
	}
	if errs[0] != nil || errs[order[1]] != nil || !errors.Is(errs[order[0]], want) {
		t.Errorf("got %v", errs)
	}
	if asked != 2 {
		t.Errorf("who was refused was asked %d times: what it was refused for came to nothing", asked)
	}
	wantCount(t, s, count)
}

// Who is alone with a commit that fails is told so.
func TestAWriteThatIsNotCommittedFails(t *testing.T) {
	s := open(t, t.TempDir())
	if err := s.Update(t.Context(), increment); err != nil {
		t.Fatal(err)
	}
	err := s.Update(t.Context(), func(tx store.Tx) error {
		return errors.Join(increment(tx), s.BreakBatch())
	})
	if err == nil {
		t.Error("it is acknowledged")
	}
	wantCount(t, s, 1)
}
