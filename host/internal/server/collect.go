package server

import (
	"context"
	"time"
)

// collectEvery is how often what has expired is removed. Each time is a commit
// and a push, and what waits for it does no harm.
const collectEvery = 5 * time.Minute

// collect removes what has expired, on each tick until ctx is done. An error is
// logged: the next tick tries again.
func (s *Server) collect(ctx context.Context, tick <-chan time.Time) {
	for {
		select {
		case <-tick:
		case <-ctx.Done():
			return
		}
		for what, remove := range map[string]func(context.Context) (int, error){
			"revoked tokens that have expired":      s.directory.CollectRevoked,
			"tokens of proxies that have expired":   s.directory.CollectProxyTokens,
			"keys of what was deleted in the store": s.directory.Collect,
			"old audit records": func(ctx context.Context) (int, error) {
				return s.directory.TrimAudit(ctx, s.config.Audit)
			},
		} {
			switch removed, err := remove(ctx); {
			case err != nil && ctx.Err() == nil:
				s.config.Logger.Error("removing "+what, "error", err)
			case removed > 0:
				s.config.Logger.Info("removed "+what, "count", removed)
			}
		}
	}
}
