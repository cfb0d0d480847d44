package poll

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/policydata"
	"sallyport/policydata/pluginconfig"
	"sallyport/policydata/pushapi"
)

func TestUpdates(t *testing.T) {
	fl := newFleet(t, 3, nil)
	fl.keep("0.0", 100*time.Millisecond)
	fl.publish(generation(t, fl.f, 1, 7))
	t.Logf("the first snapshot after %v", fl.enforce("1.7"))
	for n := uint64(8); n < 12; n++ {
		fl.publish(generation(t, fl.f, 1, n))
		t.Logf("the next after %v", fl.enforce(pushapi.Version{Epoch: 1, Generation: n}.String()))
	}
	if polled, shared := fl.metric("snapshots_polled"), fl.metric("snapshots_shared"); polled != 5 || shared != 10 {
		t.Errorf("%d snapshots from the host and %d from shared data, want 5 and 10", polled, shared)
	}
	for _, r := range fl.asked() {
		if r.Header.Get("Authorization") != "Bearer "+token {
			t.Errorf("a poll without the token: %v", r.Header)
		}
	}
	workers := fl.reported("all", 3, func(r *report) bool { return r.Enforced == "1.11" })
	for _, r := range workers {
		if r.Instance != "edge-1" || r.Plugin != "sallyport" || r.Push != "poll" || r.Process != workers[0].Process || len(r.Process) != 32 || r.Mark == "" {
			t.Errorf("%+v", r)
		}
	}
}

// Workers come and go; whoever led before, another does so soon.
func TestLeadersThatGo(t *testing.T) {
	t.Parallel()
	fl := newFleet(t, 2, nil)
	for n := uint64(7); n < 11; n++ {
		fl.publish(generation(t, fl.f, 1, n))
		t.Logf("after %v", fl.enforce(pushapi.Version{Epoch: 1, Generation: n}.String()))
		fl.start(nil)
		fl.kill(0)
	}
	if fl.metric("leads") < 2 {
		t.Error("no other worker led")
	}
}

func TestHostThatIsAway(t *testing.T) {
	t.Parallel()
	t.Run("with nothing to begin with", func(t *testing.T) {
		fl := prepare(t)
		fl.stop()
		fl.start(nil)
		fl.start(nil)
		fl.keep("0.0", 300*time.Millisecond)
		fl.restart()
		fl.publish(generation(t, fl.f, 1, 7))
		fl.enforce("1.7")
	})
	t.Run("with a snapshot in the configuration", func(t *testing.T) {
		fl := prepare(t)
		fl.stop()
		for range 2 {
			fl.start(func(c *pluginconfig.Config) { c.Snapshot = generation(t, fl.f, 1, 6) })
		}
		fl.keep("1.6", 300*time.Millisecond)
		fl.restart()
		fl.publish(generation(t, fl.f, 1, 7))
		fl.enforce("1.7")

		// One that begins anew enforces at once what the others do.
		fl.stop()
		in := fl.start(func(c *pluginconfig.Config) { c.Snapshot = generation(t, fl.f, 1, 6) })
		if got := fl.decide(in); got != wanted("1.7") {
			t.Errorf("a new worker begins with %s", got)
		}
		// So does one that is configured anew, with something that is old.
		if err := in.Reconfigure(fl.config(func(c *pluginconfig.Config) { c.Snapshot = generation(t, fl.f, 1, 6) })); err != nil {
			t.Fatal(err)
		}
		fl.keep("1.7", 300*time.Millisecond)
		fl.restart()
		fl.publish(generation(t, fl.f, 1, 8))
		fl.enforce("1.8")
	})
}

// A configuration of the same settings goes on where the one before was.
func TestNewConfigurations(t *testing.T) {
	fl := newFleet(t, 2, nil)
	for n := uint64(7); n < 10; n++ {
		fl.publish(generation(t, fl.f, 1, n))
		t.Logf("after %v", fl.enforce(pushapi.Version{Epoch: 1, Generation: n}.String()))
		for _, in := range fl.workers {
			if err := in.Reconfigure(fl.config(func(c *pluginconfig.Config) { c.RemoveToken = n%2 == 0 })); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := fl.metric("leads"); n != 1 {
		t.Errorf("%d workers led", n)
	}
}

// What the host must not send changes nothing, is told to it, and does not come
// again.
func TestSnapshotsThatAreRefused(t *testing.T) {
	t.Parallel()
	fl := newFleet(t, 2, nil)
	good := func(epoch, n uint64) []byte { return generation(t, fl.f, epoch, n) }
	foreign := func(epoch, n uint64) []byte { return fl.f.ForeignConfig(t, false, at(epoch, n)).Snapshot }
	flipped := func(epoch, n uint64) []byte {
		b := good(epoch, n)
		b[len(b)/2] ^= 1
		return b
	}
	const next = 10 // of each case
	for i, tt := range []struct {
		name     string
		epoch, n uint64 // of what is refused
		make     func(epoch, n uint64) []byte
		reason   string
	}{
		{"an older generation", 2, next - 1, good, "older"},
		{"an older epoch", 1, 99, good, "older"},
		{"signed by another", 2, next + 1, foreign, "signature"},
		{"a bit flipped", 2, next + 1, flipped, "signature"},
		{"a feature that is not known", 2, next + 1, func(epoch, n uint64) []byte { return resigned(fl, epoch, n) }, "bad snapshot"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			current, n := version(2, next*uint64(i+1)), tt.n
			if tt.epoch == 2 {
				n += next * uint64(i)
			}
			fl.publish(generation(t, fl.f, 2, next*uint64(i+1)))
			fl.enforce(current)
			fl.reported("recovered", 2, func(r *report) bool { return r.Enforced == current && r.Refused == "" && r.Reason == "" })
			before, bad := fl.metric("snapshots_refused"), version(tt.epoch, n)
			fl.set(func() { fl.snapshot, fl.version = tt.make(tt.epoch, n), parse(t, bad) })
			for _, r := range fl.reported("refused", 1, func(r *report) bool { return r.Refused == bad && strings.Contains(r.Reason, tt.reason) }) {
				if r.Enforced != current {
					t.Errorf("%+v", r)
				}
			}
			fl.await("told", func() error {
				all := fl.asked()
				if got := all[len(all)-1].FormValue("refused"); got != bad && !slices.ContainsFunc(all[len(all)-3:], func(r *http.Request) bool { return r.FormValue("refused") == bad }) {
					return fmt.Errorf("refused=%s", got)
				}
				return nil
			})
			fl.keep(current, 500*time.Millisecond)
			if n := fl.metric("snapshots_refused") - before; n != 1 {
				t.Errorf("refused %d times", n)
			}
		})
	}
	fl.publish(generation(t, fl.f, 3, 1))
	fl.enforce("3.1")
}

func resigned(fl *fleet, epoch, n uint64) []byte {
	src := fl.f.Source(fl.t)
	at(epoch, n)(&src)
	return fl.f.Resign(fl.t, src, func(body []byte) { body[16] |= 0x80 })
}

func parse(t *testing.T, text string) pushapi.Version {
	t.Helper()
	v, ok := pushapi.ParseVersion(text)
	if !ok {
		t.Fatal(text)
	}
	return v
}

// Whatever is wrong with answers, what is in force stays, and the filter does not
// ask without a pause.
func TestAnswersThatAreNone(t *testing.T) {
	t.Parallel()
	fl := newFleet(t, 2, nil)
	fl.publish(generation(t, fl.f, 1, 7))
	fl.enforce("1.7")
	next := generation(t, fl.f, 1, 8)
	mark, _ := policydata.Mark(next)
	etag := pushapi.Version{Epoch: 1, Generation: 8}.ETag(mark)
	zipped := zip(next)
	bomb := zip(make([]byte, policydata.MaxSnapshotBytes+1))
	liar := bytes.Clone(zipped)
	binary.LittleEndian.PutUint32(liar[len(liar)-4:], 1<<31)
	status := func(code int, headers ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			w.WriteHeader(code)
		}
	}
	body := func(kind, coding string, b []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if coding != "" {
				w.Header().Set("Content-Encoding", coding)
			}
			send(w, kind, etag, b, false)
		}
	}
	for name, answer := range map[string]http.HandlerFunc{
		"304 at once":             status(304),
		"401":                     status(401),
		"403":                     status(403),
		"429":                     status(429, "Retry-After", "1"),
		"429 with a strange time": status(429, "Retry-After", "-1"),
		"500":                     status(500),
		"503":                     status(503, "Retry-After", "Thu, 01 Jan 1970 00:00:00 GMT"),
		"204":                     status(204),
		"200 with nothing":        status(200, "Content-Type", pushapi.SnapshotType, "ETag", etag),
		"another type":            body("text/plain", "", next),
		"another coding":          body(pushapi.SnapshotType, "br", next),
		"gzip that is none":       body(pushapi.SnapshotType, "gzip", next),
		"half of gzip":            body(pushapi.SnapshotType, "gzip", zipped[:len(zipped)/2]),
		"gzip with more behind":   body(pushapi.SnapshotType, "gzip", append(bytes.Clone(zipped), 0)),
		"a bomb":                  body(pushapi.SnapshotType, "gzip", bomb),
		"gzip that lies":          body(pushapi.SnapshotType, "gzip", liar),
		"garbage without a tag": func(w http.ResponseWriter, _ *http.Request) {
			send(w, pushapi.SnapshotType, "", []byte("garbage"), false)
		},
		"garbage with a strange tag": func(w http.ResponseWriter, _ *http.Request) {
			send(w, pushapi.SnapshotType, strings.Repeat("x", 1000), []byte("garbage"), false)
		},
		"half of an answer": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(next)))
			send(w, pushapi.SnapshotType, etag, next[:len(next)/2], false)
			panic(http.ErrAbortHandler)
		},
		"a delta that is none": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("IM", pushapi.DeltaManipulation)
			w.Header().Set("Delta-Base", r.Header.Get("If-None-Match"))
			w.Header().Set("Content-Type", pushapi.DeltaType)
			w.Header().Set("ETag", etag)
			w.WriteHeader(226)
			_, _ = w.Write([]byte("garbage"))
		},
		"no answer": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			// Whatever was before does not count: the pauses begin anew.
			fl.ahead.Add(int64(10 * time.Second))
			again := generation(t, fl.f, 1, 7)
			mark, _ := policydata.Mark(again)
			fl.publish(again)
			fl.reported("begin", 2, func(r *report) bool { return r.Mark == mark })
			before := len(fl.asked())
			fl.answers(answer)
			fl.await("polls", func() error {
				if len(fl.asked()) < before+3 {
					return errors.New("too few")
				}
				return nil
			})
			fl.keep("1.7", 300*time.Millisecond)
			if n := len(fl.asked()) - before; n > 30 {
				t.Errorf("asked %d times", n)
			}
			fl.answers(nil)
		})
	}
	fl.ahead.Add(int64(2 * time.Minute)) // some answers are remembered for a minute
	fl.publish(generation(t, fl.f, 1, 9))
	fl.enforce("1.9")
}

// The same version, made anew, reaches everybody, by the host alone: shared data
// can't say which of the two is the last.
func TestSameVersionMadeAnew(t *testing.T) {
	t.Parallel()
	fl := newFleet(t, 3, nil)
	expired := fl.f.Config(t, func(s *policydata.Source) { at(1, 7)(s); s.Expires = s.Created + 1; s.Created -= 100 }).Snapshot
	fl.publish(expired)
	fl.await("stale", func() error {
		for _, in := range fl.workers {
			if got := fl.decide(in); got != "stale_snapshot 7" {
				return errors.New(got)
			}
		}
		return nil
	})
	again := generation(t, fl.f, 1, 7)
	mark, _ := policydata.Mark(again)
	fl.publish(again)
	fl.enforce("1.7")
	fl.reported("the new mark", 3, func(r *report) bool { return r.Mark == mark })
	if n := fl.metric("snapshots_polled"); n < 4 {
		t.Errorf("%d snapshots from the host", n)
	}
}

// Two hosts behind one name, of which each has another key of those that are
// trusted: each answer is of the same version, and never what was asked for.
func TestHostsThatDisagree(t *testing.T) {
	t.Parallel()
	fl := newFleet(t, 1, nil)
	one, other := generation(t, fl.f, 1, 7), generation(t, fl.f, 1, 7)
	fl.publish(one)
	fl.enforce("1.7")
	tag := func(snapshot []byte) string {
		mark, _ := policydata.Mark(snapshot)
		return pushapi.Version{Epoch: 1, Generation: 7}.ETag(mark)
	}
	if tag(one) == tag(other) {
		t.Fatal("both are signed alike")
	}
	before := len(fl.asked())
	fl.answers(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") == tag(one) {
			send(w, pushapi.SnapshotType, tag(other), other, false)
			return
		}
		send(w, pushapi.SnapshotType, tag(one), one, false)
	})
	fl.await("polls", func() error {
		if len(fl.asked()) < before+3 {
			return errors.New("too few")
		}
		return nil
	})
	fl.keep("1.7", 500*time.Millisecond)
	if n := len(fl.asked()) - before; n > 10 {
		t.Errorf("asked %d times", n)
	}
	fl.answers(nil)
	fl.publish(generation(t, fl.f, 1, 8))
	fl.enforce("1.8")
}
