package fleet

import (
	"fmt"
	"time"

	"sallyport/policydata/pushapi"
)

// How many reports are taken: of a worker, and, before they are read, of an
// identity, by how many workers it has. Each may use up at once what it would have
// had in limitWindow.
const (
	limitWindow = time.Second
	// leastRate is how many reports a second an identity has that is not known to
	// have workers: each worker that it reports raises that, so that a whole fleet
	// is known again within seconds of the host's start.
	leastRate = 200
)

// LimitedError is returned when a worker or an identity reports too often.
type LimitedError struct{ After time.Duration }

func (e *LimitedError) Error() string {
	return fmt.Sprintf("too many reports; come again in %s", e.After.Round(time.Millisecond))
}

// take takes one place of a rate whose next free one is at next, and returns the
// one behind it; or how long there is none (a leaky bucket).
func take(next, now time.Time, every time.Duration) (time.Time, error) {
	if next.Before(now) {
		next = now
	}
	if ahead := next.Sub(now); ahead > limitWindow-every {
		return next, &LimitedError{After: ahead - (limitWindow - every)}
	}
	return next.Add(every), nil
}

// Admit says whether a further report of an identity is to be read. The error is a
// *LimitedError.
func (r *Registry) Admit(identity string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	r.forget(now)
	perWorker := int(time.Second / pushapi.MinReportInterval)
	rate := max(leastRate, perWorker*r.of[identity])
	next, err := take(r.admitted[identity], now, time.Second/time.Duration(rate))
	if err != nil {
		r.reports++
		r.miss(identity, err, now) // of whom is not read, so it may be somebody's first
		return err
	}
	if len(r.admitted) >= maxAdmitted {
		clear(r.admitted) // identities are few: this is not their number any more
	}
	r.admitted[identity] = next
	return nil
}

// maxAdmitted bounds the identities of which it is known how often they report.
const maxAdmitted = MaxWorkers
