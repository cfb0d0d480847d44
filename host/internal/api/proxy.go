package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sallyport/host/internal/fleet"
	"sallyport/host/internal/poll"
	"sallyport/host/internal/proxyauth"
	"sallyport/policydata/pushapi"
)

// MaxPollers bounds the requests for snapshots that are held at once.
const MaxPollers = 4096

// Proxies is what the API knows of proxies, and has for them.
type Proxies struct {
	Guard *proxyauth.Guard
	Proof bool // proxies must prove who they are
	Feed  *poll.Feed
	Fleet *fleet.Registry
	// Streams are the streams of xDS; nil: there are none.
	Streams Streams
}

// Bounds on how long a proxy may take.
const (
	// pollSlack is what a poll may take beside the time that it is held.
	pollSlack = 30 * time.Second
	// sendTimeout bounds how long a snapshot may take to be sent.
	sendTimeout = 2 * time.Minute
	// turnedAway is how long who is one too many stays away at least.
	turnedAway = 2 * time.Second
)

// forProxy is a handler of what a proxy asks.
type forProxy func(w http.ResponseWriter, r *http.Request, p proxyauth.Principal)

// proxies serves h to proxies.
func (a *api) proxies(h forProxy) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		proof := proxyauth.Proof{Authorization: r.Header.Values("Authorization"), TLS: r.TLS, RemoteAddr: r.RemoteAddr}
		p, err := a.Proxies.Guard.Authenticate(r.Context(), proof, a.Proxies.Proof)
		if err != nil {
			a.failProxy(w, err)
			return
		}
		h(w, r, p)
	}
}

// failProxy answers a proxy that gets nothing.
func (a *api) failProxy(w http.ResponseWriter, err error) {
	var limited *proxyauth.LimitedError
	var often *fleet.LimitedError
	switch {
	case errors.As(err, &limited):
		retryAfter(w, limited.After)
		fail(w, http.StatusTooManyRequests, err.Error())
	case errors.As(err, &often):
		retryAfter(w, often.After)
		fail(w, http.StatusTooManyRequests, err.Error())
	case errors.Is(err, proxyauth.ErrNoProof), errors.Is(err, proxyauth.ErrBadProof):
		w.Header().Set("WWW-Authenticate", `Bearer realm="sallyport proxies"`)
		fail(w, http.StatusUnauthorized, err.Error())
	case errors.Is(err, proxyauth.ErrTooMany), errors.Is(err, fleet.ErrFull):
		retryAfter(w, later(turnedAway))
		fail(w, http.StatusTooManyRequests, err.Error())
	case errors.Is(err, poll.ErrNothing), errors.Is(err, poll.ErrStopping):
		retryAfter(w, later(time.Second))
		fail(w, http.StatusServiceUnavailable, err.Error())
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		// Nobody is there any more to read an answer.
		fail(w, http.StatusServiceUnavailable, "")
	default:
		a.Logger.Error("answering a proxy", "error", err)
		retryAfter(w, later(time.Second))
		fail(w, http.StatusServiceUnavailable, "")
	}
}

// later returns when one of many who are turned away is to come again: each at
// another time, so that they don't come together.
func later(least time.Duration) time.Duration {
	return least + time.Duration(rand.Int64N(int64(2*least)))
}

// snapshot answers a poll, see package pushapi.
func (a *api) snapshot(w http.ResponseWriter, r *http.Request, p proxyauth.Principal) {
	q, err := poll.Parse(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	leave, err := a.pollers.Enter(p)
	if err != nil {
		a.polls.WithLabelValues("refused").Inc()
		a.failProxy(w, err)
		return
	}
	defer leave()
	// The server's limit for reading a request would end a poll that is held; not
	// all writers have one.
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(q.Wait + pollSlack))
	ctx, done := a.Proxies.Guard.Begin(r.Context(), p)
	defer done()
	answer, err := a.Proxies.Feed.Await(ctx, &q)
	if err == nil {
		err = a.Proxies.Guard.Check(ctx, p)
	}
	switch {
	case err == nil:
		a.sendSnapshot(w, control, answer)
	case errors.Is(err, poll.ErrNothingNew):
		a.polls.WithLabelValues("unchanged").Inc()
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNotModified)
	default:
		a.polls.WithLabelValues("refused").Inc()
		a.failProxy(w, err)
	}
}

// sendSnapshot sends bytes that all pollers share.
func (a *api) sendSnapshot(w http.ResponseWriter, control *http.ResponseController, answer *poll.Answer) {
	h, status, kind := w.Header(), http.StatusOK, "full"
	h.Set("Content-Type", answer.Type)
	h.Set("ETag", answer.ETag)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(answer.Body)))
	if answer.Gzip {
		h.Set("Content-Encoding", "gzip")
	}
	if answer.Base != "" {
		status, kind = http.StatusIMUsed, "delta"
		h.Set("IM", pushapi.DeltaManipulation)
		h.Set("Delta-Base", answer.Base)
	}
	a.polls.WithLabelValues(kind).Inc()
	a.polledBytes.Add(float64(len(answer.Body)))
	// Whoever reads slowly keeps a place no longer than this.
	_ = control.SetWriteDeadline(time.Now().Add(sendTimeout))
	w.WriteHeader(status)
	_, _ = w.Write(answer.Body) // a client that went away is no error of ours
}

// report takes in what a worker says of itself, see package pushapi.
func (a *api) report(w http.ResponseWriter, r *http.Request, p proxyauth.Principal) {
	if err := a.Proxies.Fleet.Admit(p.Identity); err != nil {
		a.failProxy(w, err)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, pushapi.MaxReportBytes))
	if err != nil {
		failBody(w, err)
		return
	}
	report, err := fleet.Parse(body)
	if err != nil {
		a.Proxies.Fleet.Missed(p.Identity, err)
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	if !p.SpeaksFor(report.Instance) {
		err := fmt.Errorf("this token is of the instance %q alone", p.Instance)
		a.Proxies.Fleet.Missed(p.Identity, err)
		fail(w, http.StatusForbidden, err.Error())
		return
	}
	if p.Instance != "" {
		report.Instance = p.Instance
	}
	if err := a.Proxies.Fleet.Report(p.Identity, p.Instance != "", report); err != nil {
		a.failProxy(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// proxyMetrics adds the metrics of what proxies ask for.
func (a *api) proxyMetrics() {
	a.polls = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sallyport_polls_total", Help: "Requests of proxies for snapshots by answer: full, delta, unchanged or refused.",
	}, []string{"answer"})
	a.polledBytes = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "sallyport_polled_bytes_total", Help: "Bytes of snapshots and deltas that were sent to who polls.",
	})
	a.Registry.MustRegister(a.polls, a.polledBytes, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "sallyport_pollers", Help: "Requests of proxies for snapshots that are held.",
	}, func() float64 { return float64(a.pollers.Held()) }),
		fleet.Metrics{Registry: a.Proxies.Fleet, Published: a.published})
	if a.Proxies.Guard != nil {
		a.Registry.MustRegister(a.Proxies.Guard)
	}
}

// published returns the version that is published; zero: none is.
func (a *api) published() pushapi.Version {
	if a.Publisher == nil {
		return pushapi.Version{}
	}
	current, _ := a.Publisher.Current()
	if current == nil {
		return pushapi.Version{}
	}
	return pushapi.Version{Epoch: current.Version.Epoch, Generation: current.Version.Generation}
}
