package server

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	// MinMaxAge is the least maximum age of snapshots: a third of it must be
	// enough for a push, and the whole for a restart of the host.
	MinMaxAge = 30 * time.Second

	// renewFraction is the part of its age at which a snapshot is renewed at the
	// latest, and renewJitter by how much earlier that is done, so that of
	// several hosts one is the first.
	renewFraction = 3
	renewJitter   = 12

	// lookEvery is how often a host looks whether to renew. It goes by the
	// clock's time and not by a timer of a third of the age: clocks jump, and
	// machines sleep.
	lookEvery = 2 * time.Second
)

// checkMaxAge refuses an age that no host could keep to.
func checkMaxAge(age time.Duration) error {
	if age != 0 && (age < MinMaxAge || age%time.Second != 0) {
		return fmt.Errorf("snapshot maximum age %s: want whole seconds, %s or more: the host renews at a third of it, "+
			"and who restarts it must be done before proxies refuse all requests; 0 is none", age, MinMaxAge)
	}
	return nil
}

// freshness keeps snapshots from becoming stale while a host runs.
type freshness struct {
	server *Server
	jitter float64 // 0 to 1
	set    bool    // the configured age is committed
}

func (s *Server) newFreshness() *freshness { return &freshness{server: s, jitter: rand.Float64()} }

// after returns how old a snapshot gets before it is renewed.
func (f *freshness) after(maxAge time.Duration) time.Duration {
	return maxAge/renewFraction - time.Duration(f.jitter*float64(maxAge/renewJitter))
}

// look renews where that is due. An error is logged: the next tick tries again.
//
// The age is set once in a host's life. Of hosts on one store that were started
// with different ages the last one's counts, and they don't quarrel.
func (f *freshness) look(ctx context.Context) {
	s := f.server
	var err error
	if !f.set {
		err = s.directory.SetMaxAge(ctx, s.config.SnapshotMaxAge)
		f.set = err == nil
	}
	if err == nil {
		var renewed bool
		if renewed, err = s.directory.Renew(ctx, f.after); renewed {
			s.metrics.renewals.WithLabelValues("renewed").Inc()
		}
	}
	if err != nil && ctx.Err() == nil {
		s.metrics.renewals.WithLabelValues("failed").Inc()
		s.config.Logger.Error("renewing the snapshot, which proxies refuse when it is too old", "error", err)
	}
}

// run looks on each tick until ctx is done.
func (f *freshness) run(ctx context.Context, tick <-chan time.Time) {
	for {
		select {
		case <-tick:
			f.look(ctx)
		case <-ctx.Done():
			return
		}
	}
}
