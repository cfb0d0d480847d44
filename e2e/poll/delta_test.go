package poll

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"sallyport/policydata"
	"sallyport/policydata/pushapi"
)

// deltas makes the host answer with deltas to who can build on base, which is in
// force, and as a host does otherwise.
func (h *host) deltas(base, target []byte, delta []byte, change func(http.Header)) {
	h.t.Helper()
	etag := func(s []byte) string {
		loaded, err := policydata.Load(s, func(_, _ []byte) error { return nil })
		if err != nil {
			h.t.Fatal(err)
		}
		return pushapi.Version{Epoch: loaded.Epoch(), Generation: loaded.Generation()}.ETag(loaded.Mark())
	}
	from, to := etag(base), etag(target)
	h.answers(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		changed := h.changed
		h.mu.Unlock()
		switch {
		case r.Header.Get("If-None-Match") == to:
			select {
			case <-r.Context().Done():
			case <-changed:
				h.poll(w, r)
			}
		case r.Header.Get("If-None-Match") == from && r.Header.Get("A-IM") == pushapi.DeltaManipulation:
			w.Header().Set("IM", pushapi.DeltaManipulation)
			w.Header().Set("Delta-Base", from)
			w.Header().Set("Content-Type", pushapi.DeltaType)
			w.Header().Set("ETag", to)
			if change != nil {
				change(w.Header())
			}
			w.WriteHeader(http.StatusIMUsed)
			_, _ = w.Write(delta)
		default:
			send(w, pushapi.SnapshotType, to, target, true)
		}
	})
}

func TestDeltas(t *testing.T) {
	fl := newFleet(t, 2, nil)
	base := generation(t, fl.f, 1, 7)
	fl.publish(base)
	fl.enforce("1.7")
	for n := uint64(8); n < 12; n++ {
		target := generation(t, fl.f, 1, n)
		delta := fl.f.Delta(t, true, base, target)
		fl.deltas(base, target, delta, nil)
		t.Logf("a delta of %d bytes for %d: after %v", len(delta), len(target), fl.enforce(version(1, n)))
		base = target
	}
	if applied, failed := fl.metric("deltas_applied"), fl.metric("deltas_failed"); applied != 4 || failed != 0 {
		t.Errorf("%d deltas were applied and %d not", applied, failed)
	}
}

// Whatever is wrong with a delta, the whole snapshot comes next, and deltas
// after it.
func TestDeltasThatDoNotFit(t *testing.T) {
	fl := newFleet(t, 2, nil)
	base := generation(t, fl.f, 1, 7)
	fl.publish(base)
	fl.enforce("1.7")
	n := uint64(7)
	header := func(name, value string) func(http.Header) {
		return func(h http.Header) { h.Set(name, value) }
	}
	for _, tt := range []struct {
		name   string
		delta  func(target []byte) []byte
		change func(http.Header)
	}{
		{"signed by another", func(target []byte) []byte { return fl.f.Delta(t, false, base, target) }, nil},
		{"for another base", func(target []byte) []byte { return fl.f.Delta(t, true, generation(t, fl.f, 1, 3), target) }, nil},
		{"to what is older", func([]byte) []byte { return fl.f.Delta(t, true, base, generation(t, fl.f, 1, 3)) }, nil},
		{"to what another has signed", func([]byte) []byte {
			return fl.f.Delta(t, true, base, fl.f.ForeignConfig(t, false, at(1, n)).Snapshot)
		}, nil},
		{"cut", func(target []byte) []byte { d := fl.f.Delta(t, true, base, target); return d[:len(d)-1] }, nil},
		{"nothing", func([]byte) []byte { return nil }, nil},
		{"a snapshot", func(target []byte) []byte { return target }, nil},
		{"of another base by its header", func(target []byte) []byte { return fl.f.Delta(t, true, base, target) }, header("Delta-Base", `"1.1-x"`)},
		{"of another manipulation", func(target []byte) []byte { return fl.f.Delta(t, true, base, target) }, header("IM", "vcdiff")},
		{"of another type", func(target []byte) []byte { return fl.f.Delta(t, true, base, target) }, header("Content-Type", pushapi.SnapshotType)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n++
			target := generation(t, fl.f, 1, n)
			before, polls := fl.metric("deltas_failed"), len(fl.asked())
			fl.deltas(base, target, tt.delta(target), tt.change)
			t.Logf("after %v", fl.enforce(version(1, n)))
			if got := fl.metric("deltas_failed") - before; got != 1 {
				t.Errorf("%d deltas did not fit", got)
			}
			whole := func(r *http.Request) bool {
				return r.Header.Get("A-IM") == "" && strings.Contains(r.URL.RawQuery, "wait=")
			}
			if !slices.ContainsFunc(fl.asked()[polls:], whole) {
				t.Error("no whole snapshot was asked for")
			}
			base = target
		})
	}
	target := generation(t, fl.f, 1, n+1)
	fl.deltas(base, target, fl.f.Delta(t, true, base, target), nil)
	fl.enforce(version(1, n+1))
	if fl.metric("deltas_applied") != 1 {
		t.Error("no delta was taken any more")
	}
	for _, r := range fl.asked() {
		if r.FormValue("refused") != "" {
			t.Errorf("a delta that does not fit was refused: %s", r.URL)
		}
	}
}
