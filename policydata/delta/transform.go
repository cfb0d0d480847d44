package delta

import (
	"encoding/binary"

	"sallyport/policydata"
)

// sections are the sections of a snapshot.
type sections = [policydata.NumSections][]byte

// transform turns records of the base into those of the target: the numbers of
// records that they refer to change where records came or went before these.
type transform struct {
	layout [policydata.NumSections]policydata.Section
	base   sections
	// maps have, by section, the number in the target of each record of the base.
	// nil: all stay.
	maps [policydata.NumSections][]uint32
	// next is where, by section, the next range begins.
	next [policydata.NumSections]uint32
}

func newTransform(base sections) *transform {
	return &transform{layout: policydata.Layout(), base: base}
}

// count returns how many records a section of the base has.
func (t *transform) count(sec int) uint32 {
	return uint32(len(t.base[sec])) / t.layout[sec].RecordBytes
}

// isReferred reports for each section whether records of others hold numbers of
// its records, beside ranges.
func (t *transform) isReferred() (referred [policydata.NumSections]bool) {
	for sec := range t.layout {
		for _, f := range t.layout[sec].Fields {
			if !f.Range {
				referred[f.Section] = true
			}
		}
	}
	return referred
}

// records fills dst with records of the base, from one on, as they are in the
// target where the section has got so far.
func (t *transform) records(dst []byte, sec int, from uint32) {
	size := t.layout[sec].RecordBytes
	src := t.base[sec][from*size:][:len(dst)]
	copy(dst, src)
	t.remap(dst, sec)
	for _, f := range t.layout[sec].Fields {
		if f.Range {
			// All ranges in the run moved by as much as the first did.
			shift := t.next[f.Section] - binary.LittleEndian.Uint32(src[t.firstRange(sec, f.Section):])
			move(dst, size, f.Offset, shift)
		}
	}
	t.wrote(sec, dst)
}

// firstRange returns the first field of a section's records that is a range of
// another section.
func (t *transform) firstRange(sec, of int) uint32 {
	for _, f := range t.layout[sec].Fields {
		if f.Range && f.Section == of {
			return f.Offset
		}
	}
	return 0
}

// remap changes the numbers of records in the records of a section.
func (t *transform) remap(recs []byte, sec int) {
	size := t.layout[sec].RecordBytes
	for _, f := range t.layout[sec].Fields {
		switch m := t.maps[f.Section]; {
		case f.Range || m == nil:
		case f.Ops != 0:
			remapOperands(recs, size, f, m)
		default:
			remapField(recs, size, f.Offset, m)
		}
	}
}

// remapField changes one field of all records. What is no number of a record, as
// none is, stays.
func remapField(recs []byte, size, offset uint32, m []uint32) {
	for ; uint32(len(recs)) >= size; recs = recs[size:] {
		field := recs[offset:][:u32Bytes]
		if v := binary.LittleEndian.Uint32(field); v < uint32(len(m)) {
			binary.LittleEndian.PutUint32(field, m[v])
		}
	}
}

// remapOperands does that for a field that only some operators have.
func remapOperands(recs []byte, size uint32, f policydata.Field, m []uint32) {
	for ; uint32(len(recs)) >= size; recs = recs[size:] {
		if f.Ops>>recs[0]&1 != 0 {
			remapField(recs[:size], size, f.Offset, m)
		}
	}
}

// move adds to one field of all records.
func move(recs []byte, size, offset, shift uint32) {
	if shift == 0 {
		return
	}
	for ; uint32(len(recs)) >= size; recs = recs[size:] {
		field := recs[offset:][:u32Bytes]
		binary.LittleEndian.PutUint32(field, binary.LittleEndian.Uint32(field)+shift)
	}
}

// wrote notes where the next ranges begin, behind records of the target.
func (t *transform) wrote(sec int, recs []byte) {
	size := int(t.layout[sec].RecordBytes)
	last := recs[len(recs)-size:]
	for _, f := range t.layout[sec].Fields {
		if f.Range {
			t.next[f.Section] = binary.LittleEndian.Uint32(last[f.Offset:]) + binary.LittleEndian.Uint32(last[f.Offset+u32Bytes:])
		}
	}
}

// numbering notes that records of the base have numbers in the target, from which
// the map of a section is made.
type numbering struct {
	count uint32 // of the base's records
	m     []uint32
}

// set notes that n records of the base, from one on, stand at a number in the
// target. As long as all keep theirs there is no map.
func (r *numbering) set(from, at, n uint32) {
	if r.m == nil {
		if from == at {
			return
		}
		r.m = make([]uint32, r.count)
		for i := range r.m {
			r.m[i] = uint32(i)
		}
	}
	for i := range n {
		r.m[from+i] = at + i
	}
}
