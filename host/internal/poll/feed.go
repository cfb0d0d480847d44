package poll

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"sallyport/policydata"
	"sallyport/policydata/pushapi"
)

// Bounds on what is kept.
const (
	MaxBases     = 16       // snapshots that deltas begin from
	MaxBaseBytes = 64 << 20 // of them together, beside the last one
)

var (
	// ErrNothingNew is returned when nothing came in time.
	ErrNothingNew = errors.New("nothing newer came in time")

	// ErrNothing is returned when nothing is published.
	ErrNothing = errors.New("nothing is published")

	// ErrStopping is returned when the host stops.
	ErrStopping = errors.New("the host stops")
)

// Options configures a Feed.
type Options struct {
	// Delta makes a signed delta of two signed snapshots; nil: there are none.
	// An error has the whole sent.
	Delta func(base, target []byte) ([]byte, error)
	// Failed is told of errors of Delta; nil: nobody is.
	Failed func(err error)
}

// Feed is what was published, for who polls. It is safe for concurrent use.
type Feed struct {
	o      Options
	making chan struct{} // a place for each delta that is made

	mu      sync.Mutex
	files   []*file       // guarded by mu, and never changed in place; the last is the newest
	changed chan struct{} // guarded by mu; closed and replaced when files is
	stopped chan struct{} // closed by Stop
	stop    func()
}

// New returns a Feed of nothing.
func New(o Options) *Feed {
	f := &Feed{o: o, making: make(chan struct{}, mostMade()), changed: make(chan struct{}), stopped: make(chan struct{})}
	f.stop = sync.OnceFunc(func() { close(f.stopped) })
	return f
}

// Answer is a snapshot or a delta on its way to a poller. Its body is shared by
// all pollers.
type Answer struct {
	Type string // media type
	ETag string // of the snapshot, or of what the delta makes
	Base string // entity tag of what the delta builds on; "": no delta
	Gzip bool
	Body []byte
}

// Set makes a signed snapshot what pollers get.
func (f *Feed) Set(v pushapi.Version, snapshot []byte) error {
	mark, ok := policydata.Mark(snapshot)
	if !ok {
		return fmt.Errorf("snapshot %s: it is not signed", v)
	}
	next := newFile(v, v.ETag(mark), snapshot)
	f.mu.Lock()
	defer f.mu.Unlock()
	files := slices.Clone(f.files)
	if n := len(files); n > 0 {
		last := files[n-1]
		if last.etag == next.etag {
			return nil
		}
		// A base needs nothing of what was made of it to be sent.
		files[n-1] = newFile(last.version, last.etag, last.bytes)
	}
	f.files = bounded(append(files, next))
	close(f.changed)
	f.changed = make(chan struct{})
	return nil
}

// bounded returns the last of files that may be kept.
func bounded(files []*file) []*file {
	keep, size := 1, 0
	for keep <= min(MaxBases, len(files)-1) {
		if size += len(files[len(files)-1-keep].bytes); size > MaxBaseBytes {
			break
		}
		keep++
	}
	return slices.Clone(files[len(files)-keep:])
}

// Stop ends all polls, and those to come.
func (f *Feed) Stop() { f.stop() }

// Await returns what a poller is to get as soon as there is something. The error
// is ErrNothingNew, ErrNothing, ErrStopping, or the cause of ctx's end.
func (f *Feed) Await(ctx context.Context, q *Request) (*Answer, error) {
	var end <-chan time.Time
	if q.Wait > 0 {
		timer := time.NewTimer(q.Wait)
		defer timer.Stop()
		end = timer.C
	}
	for {
		files, changed := f.current()
		if a := f.offer(files, q); a != nil {
			return a, nil
		}
		if q.Wait == 0 {
			return nil, nothingIn(files)
		}
		select {
		case <-changed:
		case <-end:
			return nil, nothingIn(files)
		case <-f.stopped:
			return nil, ErrStopping
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func nothingIn(files []*file) error {
	if len(files) == 0 {
		return ErrNothing
	}
	return ErrNothingNew
}

func (f *Feed) current() ([]*file, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.files, f.changed
}

// offer returns what of files a poller is to get, nil if nothing.
func (f *Feed) offer(files []*file, q *Request) *Answer {
	if len(files) == 0 {
		return nil
	}
	last := files[len(files)-1]
	order := last.version.Compare(q.After)
	switch {
	case order < 0, slices.Contains(q.Has, last.etag), q.Refused != (pushapi.Version{}) && q.Refused == last.version:
		return nil
	case order == 0 && len(q.Has) == 0: // it does not say that it has another one
		return nil
	}
	var base *file
	if q.Delta && f.o.Delta != nil {
		if i := slices.IndexFunc(files, func(b *file) bool { return slices.Contains(q.Has, b.etag) }); i >= 0 {
			base = files[i]
		}
	}
	return last.answer(q, base, f.delta)
}

// mostMade returns how many deltas are made at once: with each snapshot one may be
// wanted from every base, and the host has other things to do.
func mostMade() int { return max(1, runtime.GOMAXPROCS(0)/2) }

// delta returns a delta, nil if there can be none.
func (f *Feed) delta(base, target []byte) []byte {
	f.making <- struct{}{}
	defer func() { <-f.making }()
	d, err := f.o.Delta(base, target)
	if err != nil {
		if f.o.Failed != nil {
			f.o.Failed(err)
		}
		return nil
	}
	return d
}
