package delta

import (
	"encoding/binary"
	"fmt"

	"sallyport/policydata"
)

// Apply returns the snapshot that a signed delta makes of a base, both complete
// with their signatures. The delta's signature is verified first. What is
// returned is the target as far as its checksum tells; who uses it loads it by
// policydata.Load, which verifies the target's own signature.
//
// The error is policydata.ErrSignature, ErrBase or ErrResult (each wrapped), or
// says what is wrong with the bytes. Whatever it is: the full snapshot helps.
func Apply(base, delta []byte, verify policydata.VerifyFunc) ([]byte, error) {
	f, err := open(delta)
	if err != nil {
		return nil, err
	}
	if verify == nil {
		return nil, policydata.ErrSignature
	}
	if err := verify(f.signed, f.sig); err != nil {
		return nil, fmt.Errorf("%w: %w", policydata.ErrSignature, err)
	}
	return f.apply(base)
}

func (f *frame) apply(base []byte) ([]byte, error) {
	from, err := policydata.ParseFrame(base)
	if err != nil {
		return nil, fmt.Errorf("base: %w", err)
	}
	if have := versionOf(from); have != f.Base {
		return nil, fmt.Errorf("%w: it is for %v, not for %v", ErrBase, f.Base, have)
	}
	p, err := f.plan(newTransform(from.Sections))
	if err != nil {
		return nil, err
	}
	target := p.run(f)
	if checksum(target) != f.checksum {
		return nil, ErrResult
	}
	return target, nil
}

// operation is one step in making a section of the target.
type operation struct {
	kind  uint8
	count uint32 // of records
	from  uint32 // the base's record, or the offset in the delta of what is written
}

// plan is what a delta does, checked.
type plan struct {
	*transform
	ops   []operation
	of    [policydata.NumSections][2]int // the operations of a section
	bytes [policydata.NumSections]int    // the lengths of the target's sections
}

// plan reads all operations and checks that they stay within base, delta and
// target.
func (f *frame) plan(t *transform) (*plan, error) {
	p, r := &plan{transform: t}, &reader{b: f.signed, at: f.ops}
	referred := t.isReferred()
	size := uint64(policydata.HeaderBytes + tableBytes + len(f.block))
	for sec := range t.layout {
		first := len(p.ops)
		count := p.section(r, sec, referred[sec], uint64(f.TargetBytes)-size)
		bytes := uint64(count) * uint64(t.layout[sec].RecordBytes)
		if size += (bytes + 7) &^ 7; r.bad == "" && size > uint64(f.TargetBytes) {
			r.fail("sections are larger than the target")
		}
		if r.bad != "" {
			return nil, &FormatError{r.at, r.bad}
		}
		p.of[sec], p.bytes[sec] = [2]int{first, len(p.ops)}, int(bytes)
	}
	if r.at != len(r.b) || size != uint64(f.TargetBytes) {
		return nil, &FormatError{r.at, "the target has another size"}
	}
	return p, nil
}

// section reads the operations of one section of at most limit bytes, and returns
// how many records it gets.
func (p *plan) section(r *reader, sec int, referred bool, limit uint64) uint32 {
	size, have, count := uint64(p.layout[sec].RecordBytes), uint64(p.count(sec)), r.number()
	if count > limit/size {
		r.fail("section is larger than the target")
	}
	numbers := numbering{count: uint32(have)}
	for at, cursor := uint64(0), uint64(0); at < count && r.bad == ""; {
		kind, n := r.operation()
		switch {
		case kind == opSeek:
			cursor = r.seek(cursor, n, have)
			continue
		case n == 0 || n > count-at || kind != opInsert && n > have-cursor:
			r.fail("number of records out of range")
			continue
		}
		op := operation{kind: kind, count: uint32(n), from: uint32(cursor)}
		if kind != opCopy {
			op.from = r.skip(n * size)
		}
		if kind != opInsert {
			if referred {
				numbers.set(uint32(cursor), uint32(at), uint32(n))
			}
			cursor += n
		}
		p.ops = append(p.ops, op)
		at += n
	}
	p.maps[sec] = numbers.m
	return uint32(count)
}

// run makes the target. Nothing can go wrong any more.
func (p *plan) run(f *frame) []byte {
	out := make([]byte, 0, f.TargetBytes)
	out = append(out, f.header...)
	out = policydata.AppendSectionTable(out, p.bytes)
	for sec := range p.layout {
		for _, op := range p.ops[p.of[sec][0]:p.of[sec][1]] {
			n := int(op.count * p.layout[sec].RecordBytes)
			dst := out[len(out):][:n]
			if op.kind == opCopy {
				p.records(dst, sec, op.from)
			} else {
				copy(dst, f.signed[op.from:])
				p.wrote(sec, dst)
			}
			out = out[:len(out)+n]
		}
		out = out[:(len(out)+7)&^7] // zeroes between
	}
	return append(out, f.block...)
}

// reader reads the operations; bad says what is wrong, and then all reads are 0.
type reader struct {
	b   []byte
	at  int
	bad string
}

func (r *reader) fail(reason string) {
	if r.bad == "" {
		r.bad = reason
	}
}

func (r *reader) number() uint64 {
	if r.bad != "" {
		return 0
	}
	v, n := binary.Uvarint(r.b[r.at:])
	if n <= 0 || v > 1<<40 {
		r.fail("malformed number")
		return 0
	}
	r.at += n
	return v
}

func (r *reader) operation() (kind uint8, n uint64) {
	v := r.number()
	return uint8(v & (1<<opBits - 1)), v >> opBits
}

// seek returns the record, of the have that there are or behind them, to which n
// leads: a signed number, its sign in the lowest bit.
func (r *reader) seek(from, n, have uint64) uint64 {
	to := from + (n>>1 ^ -(n & 1))
	if to > have {
		r.fail("record out of range")
		return 0
	}
	return to
}

// skip goes behind n bytes and returns where they are.
func (r *reader) skip(n uint64) (at uint32) {
	if n > uint64(len(r.b)-r.at) {
		r.fail("truncated")
		return 0
	}
	at = uint32(r.at)
	r.at += int(n)
	return at
}
