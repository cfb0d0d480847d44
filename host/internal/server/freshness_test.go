package server

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
	"sallyport/host/internal/store"
	"sallyport/host/internal/store/mem"
)

// full is a store that takes nothing while it is full.
type full struct {
	store.Store
	now atomic.Bool
}

func (s *full) Update(ctx context.Context, fn func(store.Tx) error) error {
	if s.now.Load() {
		return store.ErrNoSpace
	}
	return s.Store.Update(ctx, fn)
}

func TestLookingKeepsTheSnapshotFresh(t *testing.T) {
	const age = 10 * time.Minute
	start, disk := time.Now().Truncate(time.Second), &full{Store: mem.New()}
	var later atomic.Int64
	var log bytes.Buffer
	registry, m := newMetrics()
	s := &Server{metrics: m, config: Config{SnapshotMaxAge: age, Logger: slog.New(slog.NewTextHandler(&log, nil))}}
	s.directory = directory.New(disk, model.Checks{}, func() time.Time { return start.Add(time.Duration(later.Load())) })
	f := s.newFreshness()
	if after := f.after(age); after < age/4 || after > age/3 {
		t.Errorf("renewed after %s", after)
	}
	at := func(clock time.Duration, wantGeneration uint64) {
		t.Helper()
		later.Store(int64(clock))
		f.look(t.Context())
		r, err := s.directory.Load(t.Context())
		if err != nil || r.Generation != wantGeneration {
			t.Errorf("at %s: generation %d, %v; want %d", clock, r.Generation, err, wantGeneration)
		}
	}
	disk.now.Store(true)
	at(0, 0)
	disk.now.Store(false)
	at(0, 1) // the age is set as soon as that can be
	at(age/4-time.Second, 1)
	at(age/3, 2)
	at(age/3+time.Second, 2)
	disk.now.Store(true)
	at(age, 2)
	disk.now.Store(false)
	at(age, 3)
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{`renewals_total{result="renewed"} 2`, `renewals_total{result="failed"} 2`} {
		if !strings.Contains(w.Body.String(), "sallyport_snapshot_"+want) {
			t.Errorf("metrics have no %s", want)
		}
	}
	if !strings.Contains(log.String(), store.ErrNoSpace.Error()) {
		t.Errorf("log: %s", &log)
	}
}

func TestCheckMaxAge(t *testing.T) {
	for age, want := range map[time.Duration]string{
		0: "", MinMaxAge: "", 10 * time.Minute: "",
		-time.Second: "-1s", MinMaxAge - time.Second: "30s or more", time.Minute + 1: "whole seconds",
	} {
		err := checkMaxAge(age)
		if want == "" && err != nil || want != "" && !strings.Contains(errors.Join(err, errors.New("")).Error(), want) {
			t.Errorf("%s: got %v, want %q", age, err, want)
		}
	}
}
