package poll

import (
	"bytes"
	"compress/gzip"
	"sync"

	"sallyport/policydata/pushapi"
)

// file is a snapshot as it is sent. What is made of it is made once, by whoever
// needs it first; the others wait for that.
type file struct {
	version pushapi.Version
	etag    string
	bytes   []byte
	gzipped func() []byte

	mu     sync.Mutex
	deltas map[string]func() *delta // guarded by mu; by the entity tag of their base
}

// delta is what makes a snapshot of an older one.
type delta struct {
	bytes   []byte
	gzipped []byte // nil: no smaller
}

func newFile(v pushapi.Version, etag string, b []byte) *file {
	return &file{
		version: v, etag: etag, bytes: b,
		gzipped: sync.OnceValue(func() []byte { return compressed(b) }),
		deltas:  map[string]func() *delta{},
	}
}

// compressed returns b in gzip (RFC 1952), nil if that is no smaller.
func compressed(b []byte) []byte {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		return nil // there is that level
	}
	if _, err := w.Write(b); err != nil {
		return nil // a buffer takes all
	}
	if err := w.Close(); err != nil || out.Len() >= len(b) {
		return nil
	}
	return out.Bytes()
}

// deltaFrom returns the delta from a base, nil if there is none.
func (f *file) deltaFrom(base *file, compute func(base, target []byte) []byte) *delta {
	f.mu.Lock()
	once, ok := f.deltas[base.etag]
	if !ok {
		once = sync.OnceValue(func() *delta {
			b := compute(base.bytes, f.bytes)
			if b == nil {
				return nil
			}
			return &delta{b, compressed(b)}
		})
		f.deltas[base.etag] = once
	}
	f.mu.Unlock()
	return once()
}

// encoded returns what of two forms a poller is sent.
func encoded(plain, gzipped []byte, takesGzip bool) (body []byte, isGzip bool) {
	if takesGzip && gzipped != nil {
		return gzipped, true
	}
	return plain, false
}

const (
	// smallShare of a whole snapshot is so small that no compressed snapshot is
	// smaller: who is sent so small a delta need not wait for the whole to be
	// compressed.
	smallShare = 32
	// A delta costs a filter a copy more than the whole does, so it has to be
	// worth that.
	worthNumerator, worthDenominator = 3, 4
)

// answer returns what to send to who asks for f.
func (f *file) answer(q *Request, base *file, compute func(base, target []byte) []byte) *Answer {
	a := &Answer{ETag: f.etag, Type: pushapi.SnapshotType}
	if base != nil {
		if d := f.deltaFrom(base, compute); d != nil {
			body, isGzip := encoded(d.bytes, d.gzipped, q.Gzip)
			if len(body) <= len(f.bytes)/smallShare || worth(body, f, q.Gzip) {
				a.Body, a.Gzip, a.Base, a.Type = body, isGzip, base.etag, pushapi.DeltaType
				return a
			}
		}
	}
	if q.Gzip {
		a.Body, a.Gzip = encoded(f.bytes, f.gzipped(), true)
		return a
	}
	a.Body = f.bytes
	return a
}

func worth(body []byte, f *file, takesGzip bool) bool {
	whole := f.bytes
	if takesGzip {
		whole, _ = encoded(f.bytes, f.gzipped(), true)
	}
	return len(body) <= len(whole)/worthDenominator*worthNumerator
}
