package poll

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/plugin/filtertest"
	"sallyport/policydata"
	"sallyport/policydata/pushapi"
)

const token = "proxy-token-of-this-test"

// report is a report as the host reads it.
type report struct {
	Instance, Process, Worker, Plugin, Push, Enforced, Mark, Refused, Reason string
	Age, Held                                                                int64
	Decisions                                                                map[string]uint64
}

// host speaks pushapi. It publishes what it is told to; a test may replace its
// answers.
type host struct {
	t        testing.TB
	listener net.Listener
	server   *httptest.Server

	mu        sync.Mutex // guards all below
	snapshot  []byte
	version   pushapi.Version
	changed   chan struct{}    // closed at the next change
	plain     bool             // no gzip
	answer    http.HandlerFunc // instead of a snapshot
	polls     []*http.Request
	reports   map[string]report // the last of each worker
	all       []report
	accepting int // the status of answers to reports; 0: 204
}

func newHost(t testing.TB) *host {
	t.Helper()
	h := &host{t: t, changed: make(chan struct{}), reports: map[string]report{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.serve(l)
	t.Cleanup(func() { h.stop() })
	return h
}

func (h *host) serve(l net.Listener) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pushapi.SnapshotPath, h.poll)
	mux.HandleFunc("POST "+pushapi.ReportPath, h.report)
	h.listener = l
	h.server = &httptest.Server{Listener: l, Config: &http.Server{Handler: mux}}
	h.server.Start()
}

// stop ends the host at once, as a crash does.
func (h *host) stop() {
	if h.server == nil {
		return
	}
	h.server.CloseClientConnections()
	h.server.Config.Close()
	h.server = nil
}

// restart starts a host that was stopped, where it was.
func (h *host) restart() {
	h.t.Helper()
	l, err := net.Listen("tcp", h.listener.Addr().String())
	if err != nil {
		h.t.Fatal(err)
	}
	h.serve(l)
}

// publish publishes a snapshot.
func (h *host) publish(snapshot []byte) {
	h.t.Helper()
	s, err := policydata.Load(snapshot, func(_, _ []byte) error { return nil })
	if err != nil {
		h.t.Fatal(err)
	}
	h.set(func() {
		h.snapshot, h.version = snapshot, pushapi.Version{Epoch: s.Epoch(), Generation: s.Generation()}
	})
}

// answers makes the host answer all polls so; nil: as a host does.
func (h *host) answers(f http.HandlerFunc) { h.set(func() { h.answer = f }) }

// set changes something, which open polls notice.
func (h *host) set(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *host) etag() string {
	mark, _ := policydata.Mark(h.snapshot)
	return h.version.ETag(mark)
}

func (h *host) poll(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	h.polls = append(h.polls, r)
	h.mu.Unlock()
	wait, _ := time.ParseDuration(r.FormValue("wait"))
	deadline := time.After(wait)
	for {
		h.mu.Lock()
		answer, changed, snapshot, version, plain := h.answer, h.changed, h.snapshot, h.version, h.plain
		etag := h.etag()
		h.mu.Unlock()
		if answer != nil {
			answer(w, r)
			return
		}
		refused := r.FormValue("refused") == version.String()
		if snapshot != nil && r.Header.Get("If-None-Match") != etag && !refused {
			send(w, pushapi.SnapshotType, etag, snapshot, !plain && r.Header.Get("Accept-Encoding") == "gzip")
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		case <-deadline:
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
}

func send(w http.ResponseWriter, kind, etag string, body []byte, zipped bool) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("ETag", etag)
	if zipped {
		w.Header().Set("Content-Encoding", "gzip")
		body = zip(body)
	}
	_, _ = w.Write(body)
}

func zip(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b)
	_ = w.Close()
	return out.Bytes()
}

func (h *host) report(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var got report
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(body))
		d.DisallowUnknownFields()
		err = d.Decode(&got)
	}
	if err != nil || r.Header.Get("Content-Type") != "application/json" || len(body) > pushapi.MaxReportBytes {
		h.t.Errorf("report %s: %v", body, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, got)
	h.reports[got.Worker+" "+got.Plugin] = got
	if h.accepting != 0 {
		w.WriteHeader(h.accepting)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// asked returns the polls so far.
func (h *host) asked() []*http.Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]*http.Request(nil), h.polls...)
}

// reported wants n workers to report something, and returns their reports.
func (h *host) reported(what string, n int, is func(*report) bool) []report {
	h.t.Helper()
	var found []report
	h.await(what, func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		found = nil
		for _, r := range h.reports {
			if is(&r) {
				found = append(found, r)
			}
		}
		if len(found) < n {
			return fmt.Errorf("%d of %d: %+v", len(found), n, h.reports)
		}
		return nil
	})
	return found
}

// await waits until there is no error.
func (h *host) await(what string, check func() error) {
	h.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// generation is a snapshot of a generation. /healthz is public where it is odd.
func generation(t testing.TB, f *filtertest.Fixture, epoch, n uint64) []byte {
	t.Helper()
	return f.Config(t, at(epoch, n)).Snapshot
}

func at(epoch, n uint64) func(*policydata.Source) {
	return func(s *policydata.Source) {
		s.Epoch, s.Generation = epoch, n
		if n%2 == 0 {
			s.Groups = s.Groups[:1]
		}
	}
}

// wanted is what a worker's decision about /healthz says.
func wanted(version string) string {
	reason := "no_token"
	switch {
	case version == "0.0":
		return "no_snapshot 0"
	case strings.HasSuffix(version, "1"), strings.HasSuffix(version, "3"), strings.HasSuffix(version, "5"), strings.HasSuffix(version, "7"), strings.HasSuffix(version, "9"):
		reason = "allowed"
	}
	_, n, _ := strings.Cut(version, ".")
	return reason + " " + n
}
