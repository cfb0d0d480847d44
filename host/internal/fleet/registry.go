package fleet

import (
	"cmp"
	"container/list"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"sallyport/policydata/pushapi"
)

// Bounds on how many workers are known.
const (
	MaxWorkers = 20_000
	// MaxWorkersOfProxy bounds the workers of an identity that is of one proxy
	// alone: threads, plugins, and the same again while it restarts.
	MaxWorkersOfProxy = 1024
	// maxWorkersOfFleet bounds those of any other identity, so that none fills the
	// registry alone.
	maxWorkersOfFleet = MaxWorkers - MaxWorkers/4
)

// ErrFull is returned when no further worker can be known.
var ErrFull = errors.New("too many workers report")

// Key is what makes a worker one.
type Key struct {
	Identity string // of who reports, see package proxyauth
	Instance string
	Process  string
	Worker   string
	Plugin   string
}

func (k Key) compare(other Key) int {
	return cmp.Or(
		strings.Compare(k.Instance, other.Instance), strings.Compare(k.Identity, other.Identity),
		strings.Compare(k.Process, other.Process), strings.Compare(k.Plugin, other.Plugin),
		strings.Compare(k.Worker, other.Worker),
	)
}

// Worker is what a worker has said last.
type Worker struct {
	Identity string
	pushapi.Report
	First time.Time // when it was heard of first
	Seen  time.Time // and last

	next time.Time // see take
}

func (w *Worker) key() Key { return Key{w.Identity, w.Instance, w.Process, w.Worker, w.Plugin} }

// Registry knows workers. It is safe for concurrent use.
type Registry struct {
	now   func() time.Time // with a monotonic reading
	begun time.Time

	mu      sync.Mutex
	workers map[Key]*list.Element // guarded by mu
	order   *list.List            // guarded by mu; of *Worker, who was silent the longest first
	of      map[string]int        // guarded by mu; workers by identity
	reports uint64                // guarded by mu
	// admitted has for each identity that reports what take wants; guarded by mu.
	admitted map[string]time.Time
	refused  uint64    // guarded by mu
	missed   string    // guarded by mu; why the last report was refused, "": none was
	since    time.Time // guarded by mu; when that was
}

// New returns a Registry that knows nobody. now is a clock such as time.Now.
func New(now func() time.Time) *Registry {
	return &Registry{
		now: now, begun: now(), workers: map[Key]*list.Element{}, order: list.New(), of: map[string]int{}, admitted: map[string]time.Time{},
	}
}

// Incomplete says why there may be workers that are not known, "" if all that
// there are had the time to report: for a lease after the host has begun, and
// after a report of theirs was refused.
func (r *Registry) Incomplete() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	switch {
	case now.Sub(r.begun) < pushapi.Lease:
		return fmt.Sprintf("the host started less than %s ago", pushapi.Lease)
	case r.missed != "" && now.Sub(r.since) < pushapi.Lease:
		return r.missed
	}
	return ""
}

// Missed notes that a report of an identity was refused, so that a worker may be
// unknown that enforces something.
func (r *Registry) Missed(identity string, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reports++
	r.miss(identity, why, r.now())
}

// miss is Missed with mu locked.
func (r *Registry) miss(identity string, why error, now time.Time) {
	r.refused++
	of := ""
	if identity != "" {
		of = " of " + identity
	}
	r.missed, r.since = "a report"+of+" was refused: "+pushapi.Clip(why.Error(), pushapi.MaxReasonBytes), now
}

// Report takes in what a worker of an identity says; alone says that this is of
// one proxy. The error is ErrFull or a *LimitedError.
func (r *Registry) Report(identity string, alone bool, report pushapi.Report) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	r.forget(now)
	r.reports++
	w := &Worker{Identity: identity, Report: report, First: now, Seen: now}
	if e, ok := r.workers[w.key()]; ok {
		before := e.Value.(*Worker)
		next, err := take(before.next, now, pushapi.MinReportInterval)
		if err != nil {
			r.refused++
			return err
		}
		w.First, w.next = before.First, next
		e.Value = w // never changed in place: Live hands them out
		r.order.MoveToBack(e)
		return nil
	}
	most := maxWorkersOfFleet
	if alone {
		most = MaxWorkersOfProxy
	}
	if r.order.Len() >= MaxWorkers || r.of[identity] >= most {
		r.miss(identity, ErrFull, now)
		return ErrFull
	}
	r.workers[w.key()] = r.order.PushBack(w)
	r.of[identity]++
	return nil
}

// forget drops who was silent for a lease.
func (r *Registry) forget(now time.Time) {
	for e := r.order.Front(); e != nil && now.Sub(e.Value.(*Worker).Seen) >= pushapi.Lease; e = r.order.Front() {
		w := r.order.Remove(e).(*Worker)
		delete(r.workers, w.key())
		if r.of[w.Identity]--; r.of[w.Identity] == 0 {
			delete(r.of, w.Identity)
		}
	}
}

// Live returns the workers whose leases have not ended, ordered by instance,
// identity, process, plugin and worker. They are not to be changed.
func (r *Registry) Live() []*Worker {
	r.mu.Lock()
	r.forget(r.now())
	live := make([]*Worker, 0, r.order.Len())
	for e := r.order.Front(); e != nil; e = e.Next() {
		live = append(live, e.Value.(*Worker))
	}
	r.mu.Unlock()
	slices.SortFunc(live, func(a, b *Worker) int { return a.key().compare(b.key()) })
	return live
}

// counts returns how many reports came and were refused.
func (r *Registry) counts() (reports, refused uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reports, r.refused
}
