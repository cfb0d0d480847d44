package proxyauth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/logins"
)

var (
	// ErrNoProof is returned when a proxy has to prove who it is and does not.
	ErrNoProof = errors.New("this is for proxies, which show a proxy's token or a client certificate")

	// ErrBadProof is returned when what a proxy shows is not good, or no longer.
	ErrBadProof = errors.New("this is no token of a proxy, or it was revoked, or it or the certificate has expired")
)

// LimitedError is a refusal after too many others.
type LimitedError struct{ After time.Duration }

func (e *LimitedError) Error() string {
	return fmt.Sprintf("too many bad tokens from this address; come again in %s", e.After.Round(time.Second))
}

// Unwrap says that it is a bad proof as well.
func (e *LimitedError) Unwrap() error { return ErrBadProof }

// CheckEvery is how long what a token began can outlive it at most.
const CheckEvery = time.Second

// Options configures a Guard.
type Options struct {
	Directory *directory.Directory
	Logger    *slog.Logger
	Now       func() time.Time
}

// Guard authenticates proxies, and ends what they began when that may no longer
// be. It is safe for concurrent use. It is a prometheus.Collector.
type Guard struct {
	o        Options
	failures *logins.Limiter
	refused  *prometheus.CounterVec

	mu   sync.Mutex
	open map[*session]struct{} // guarded by mu
}

// session is something that goes on for as long as its principal is good.
type session struct {
	principal Principal
	end       context.CancelCauseFunc
}

// New returns a Guard, which ends nothing before Run.
func New(o Options) *Guard {
	return &Guard{
		o: o, failures: logins.New(o.Now), open: map[*session]struct{}{},
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_proxy_auth_failures_total",
			Help: "Proxies that showed no good token or certificate, and what they were answered: refused (401) or limited (429).",
		}, []string{"answer"}),
	}
}

// Describe implements prometheus.Collector.
func (g *Guard) Describe(ch chan<- *prometheus.Desc) { g.refused.Describe(ch) }

// Collect implements prometheus.Collector.
func (g *Guard) Collect(ch chan<- prometheus.Metric) { g.refused.Collect(ch) }

// Proof is what a proxy shows.
type Proof struct {
	Authorization []string             // the values of that header
	TLS           *tls.ConnectionState // nil: plain text
	RemoteAddr    string
}

// Authenticate returns who it is that shows a proof; where none is needed, who
// shows none is anonymous. The error is or wraps ErrNoProof, ErrBadProof or a
// *LimitedError, or it is the store's.
func (g *Guard) Authenticate(ctx context.Context, proof Proof, needed bool) (Principal, error) {
	p, id, err := g.principal(ctx, &proof, needed)
	if !errors.Is(err, ErrNoProof) && !errors.Is(err, ErrBadProof) {
		return p, err
	}
	// As with logins, who proves who it is is let in at all times: see package
	// logins.
	wait := g.failures.Failed(id, proof.RemoteAddr)
	if wait > 0 {
		g.refused.WithLabelValues("limited").Inc()
		return Principal{}, &LimitedError{wait}
	}
	g.refused.WithLabelValues("refused").Inc()
	g.o.Logger.Warn("a proxy did not prove who it is", "address", proof.RemoteAddr, "token", id, "error", err)
	return Principal{}, err
}

// principal returns who shows a proof, and the id of the token that is shown, be
// it good or not.
func (g *Guard) principal(ctx context.Context, proof *Proof, needed bool) (p Principal, id string, err error) {
	text, isToken := bearer(proof.Authorization)
	switch cert := Certificate(proof.TLS); {
	case !isToken:
		return p, "", ErrBadProof
	case text != "":
		id = directory.ProxyTokenID(text)
		t, err := g.o.Directory.AuthenticateProxy(ctx, text)
		if errors.Is(err, directory.ErrBadCredentials) {
			err = ErrBadProof
		}
		if err != nil {
			return p, id, err
		}
		return ofToken(t), id, nil
	case cert != nil:
		if p = ofCertificate(cert); g.expired(p) {
			return Principal{}, "", ErrBadProof
		}
		return p, "", nil
	case needed:
		return p, "", ErrNoProof
	}
	return p, "", nil
}

func (g *Guard) expired(p Principal) bool { return !p.expires.IsZero() && g.o.Now().After(p.expires) }

// Check returns ErrBadProof if a principal is good no more.
func (g *Guard) Check(ctx context.Context, p Principal) error {
	if g.expired(p) {
		return ErrBadProof
	}
	if p.token == "" {
		return nil
	}
	good, err := g.o.Directory.GoodProxyTokens(ctx, []string{p.token})
	if err == nil && !good[p.token] {
		err = ErrBadProof
	}
	return err
}

// Begin returns a context that ends, by ErrBadProof, when a principal is good no
// more. done must be called when what it is for has ended.
func (g *Guard) Begin(ctx context.Context, p Principal) (_ context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	if p.token == "" && p.expires.IsZero() {
		return ctx, func() { cancel(nil) }
	}
	s := &session{p, cancel}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open[s] = struct{}{}
	return ctx, func() {
		cancel(nil)
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.open, s)
	}
}

// Run ends what may no longer be, until ctx is done.
func (g *Guard) Run(ctx context.Context) {
	ticker := time.NewTicker(CheckEvery)
	defer ticker.Stop()
	for {
		changed := g.o.Directory.Changed() // before looking, so that no commit falls between
		if err := g.sweep(ctx); err != nil && ctx.Err() == nil {
			g.o.Logger.Error("looking for revoked tokens of proxies", "error", err)
		}
		select {
		case <-changed:
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// sweep ends the sessions of who is good no more.
func (g *Guard) sweep(ctx context.Context) error {
	sessions := g.sessions()
	var ids []string
	for _, s := range sessions {
		if s.principal.token != "" {
			ids = append(ids, s.principal.token)
		}
	}
	slices.Sort(ids)
	good := map[string]bool{}
	var err error
	if len(ids) > 0 {
		if good, err = g.o.Directory.GoodProxyTokens(ctx, slices.Compact(ids)); err != nil {
			return err
		}
	}
	for _, s := range sessions {
		if g.expired(s.principal) || s.principal.token != "" && !good[s.principal.token] {
			s.end(ErrBadProof)
		}
	}
	return nil
}

func (g *Guard) sessions() []*session {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := make([]*session, 0, len(g.open))
	for s := range g.open {
		list = append(list, s)
	}
	return list
}
