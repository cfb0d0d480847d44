package delta

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"sallyport/policydata"
)

// Make returns the body of the delta between two complete snapshots, signatures
// included, which policydata.AppendSignature completes: it is signed as snapshots
// are. It may be as large as the target, and then the full snapshot is better;
// that is seldom, but who sends one compares.
func Make(base, target []byte) ([]byte, error) {
	from, err := policydata.ParseFrame(base)
	if err != nil {
		return nil, fmt.Errorf("base: %w", err)
	}
	to, err := policydata.ParseFrame(target)
	if err != nil {
		return nil, fmt.Errorf("target: %w", err)
	}
	if from.Mark == "" || to.Mark == "" {
		return nil, errors.New("a signature is too short for a mark")
	}
	m := &matcher{transform: newTransform(from.Sections), target: to.Sections}
	m.matchAll()
	w := &writer{matcher: m, out: appendHeader(nil, from, to, target)}
	for sec := range m.layout {
		w.section(sec)
	}
	binary.LittleEndian.PutUint32(w.out[hdrLength:], uint32(len(w.out)))
	return w.out, check(base, w.out, target)
}

// check applies a delta that was made, so that none leaves which is wrong.
func check(base, body, target []byte) error {
	f, err := openBody(body)
	if err != nil {
		return err
	}
	got, err := f.apply(base)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, target) {
		return ErrResult
	}
	return nil
}

func appendHeader(out []byte, from, to *policydata.Frame, target []byte) []byte {
	le := binary.LittleEndian
	out = append(out, magic...)
	out = le.AppendUint32(out, version)
	out = le.AppendUint32(out, 0) // the length, when it is known
	out = le.AppendUint64(out, from.Epoch)
	out = le.AppendUint64(out, from.Generation)
	mark, _ := hex.DecodeString(from.Mark)
	out = append(out, mark...)
	out = le.AppendUint64(out, checksum(target))
	out = le.AppendUint32(out, uint32(len(target)))
	out = le.AppendUint32(out, uint32(len(to.Signature)))
	out = append(out, to.Header...)
	return append(out, to.Signature...)
}

// writer writes the operations.
type writer struct {
	*matcher
	out     []byte
	scratch []byte

	// What is not written yet: a run of records of the target.
	kind         uint64
	first, count uint32
}

// compareBytes is how much of a run is compared at once.
const compareBytes = 16 << 10

// section writes the operations of a section.
func (w *writer) section(sec int) {
	found, size := w.found[sec], w.layout[sec].RecordBytes
	w.out = binary.AppendUvarint(w.out, uint64(len(found)))
	cursor := uint32(0)
	for i := uint32(0); i < uint32(len(found)); {
		if found[i] == none {
			w.add(sec, opInsert, i, 1)
			w.wrote(sec, w.recordsOfTarget(sec, i, 1))
			i++
			continue
		}
		if found[i] != cursor {
			w.flush(sec)
			to := int64(found[i]) - int64(cursor)
			w.operation(opSeek, uint64(to<<1^to>>63))
			cursor = found[i]
		}
		n := uint32(1)
		for n < max(1, compareBytes/size) && i+n < uint32(len(found)) && found[i+n] == found[i]+n {
			n++
		}
		kind := uint64(opCopy)
		if n = w.equal(sec, found[i], i, n); n == 0 {
			kind, n = opReplace, 1
		}
		w.add(sec, kind, i, n)
		w.wrote(sec, w.recordsOfTarget(sec, i, n))
		i, cursor = i+n, cursor+n
	}
	w.flush(sec)
}

func (w *writer) recordsOfTarget(sec int, i, n uint32) []byte {
	size := w.layout[sec].RecordBytes
	return w.target[sec][i*size:][:n*size]
}

// equal returns how many of n records of the base, from one on, become those of
// the target at i.
func (w *writer) equal(sec int, from, i, n uint32) uint32 {
	size := w.layout[sec].RecordBytes
	if uint32(cap(w.scratch)) < n*size {
		w.scratch = make([]byte, max(n*size, compareBytes))
	}
	next := w.next
	got, want := w.scratch[:n*size], w.recordsOfTarget(sec, i, n)
	w.records(got, sec, from)
	w.next = next
	if bytes.Equal(got, want) {
		return n
	}
	same := uint32(0)
	for bytes.Equal(got[same*size:][:size], want[same*size:][:size]) {
		same++
	}
	return same
}

// add takes n records of the target at i to what is written next.
func (w *writer) add(sec int, kind uint64, i, n uint32) {
	if w.count == 0 || kind != w.kind {
		w.flush(sec)
		w.kind, w.first = kind, i
	}
	w.count += n
}

// flush writes what is not written yet.
func (w *writer) flush(sec int) {
	if w.count == 0 {
		return
	}
	w.operation(w.kind, uint64(w.count))
	if w.kind != opCopy {
		w.out = append(w.out, w.recordsOfTarget(sec, w.first, w.count)...)
	}
	w.count = 0
}

func (w *writer) operation(kind, n uint64) {
	w.out = binary.AppendUvarint(w.out, n<<opBits|kind)
}
