package delta

import (
	"bytes"
	"encoding/binary"

	"sallyport/policydata"
)

// none stands for no record.
const none = 0xFFFFFFFF

// matcher finds for the records of the target those of the base that they stand
// for. A wrong guess makes a delta larger, never wrong.
type matcher struct {
	*transform
	target sections
	// found has, by section, the base's record for each of the target, or none.
	found [policydata.NumSections][]uint32
}

// matchAll goes through the sections in their order: records refer to those of
// sections before, or are of the same.
func (m *matcher) matchAll() {
	referred := m.isReferred()
	for sec := range m.layout {
		m.found[sec] = m.match(sec)
		if !referred[sec] {
			continue
		}
		numbers := numbering{count: m.count(sec)}
		for i, from := range m.found[sec] {
			if from != none {
				numbers.set(from, uint32(i), 1)
			}
		}
		m.maps[sec] = numbers.m
	}
}

func (m *matcher) match(sec int) []uint32 {
	found := make([]uint32, m.targetCount(sec))
	for i := range found {
		found[i] = none
	}
	switch m.layout[sec].Identity {
	case policydata.ByText:
		base, target := texts(m.base), texts(m.target)
		sequence(found, m.count(sec), base, func(i uint32) (string, bool) { return target(i), true })
	case policydata.ByName:
		m.byName(sec, found)
	case policydata.ByPath:
		m.byPath(found)
	case policydata.ByContent:
		m.owned(sec, found).middle(span{0, m.count(sec)}, span{0, uint32(len(found))})
	case policydata.ByPlace:
		if m.count(sec) == uint32(len(found)) {
			for i := range found {
				found[i] = uint32(i)
			}
		}
	case policydata.ByOwner:
		m.byOwner(sec, found)
	}
	return found
}

func (m *matcher) targetCount(sec int) uint32 {
	return uint32(len(m.target[sec])) / m.layout[sec].RecordBytes
}

// field reads a u32 of a record.
func (m *matcher) field(of *sections, sec int, i, offset uint32) uint32 {
	return binary.LittleEndian.Uint32(of[sec][i*m.layout[sec].RecordBytes+offset:])
}

// texts returns a function that returns strings by their numbers.
func texts(of sections) func(i uint32) string {
	records, text := of[policydata.SectionStrings], string(of[policydata.SectionText])
	return func(i uint32) string {
		first, n := uint64(binary.LittleEndian.Uint32(records[8*i:])), uint64(binary.LittleEndian.Uint32(records[8*i+u32Bytes:]))
		if first+n > uint64(len(text)) {
			return ""
		}
		return text[first : first+n]
	}
}

// sequence finds each of the target's keys among those of the base. Most stand
// behind the one before; an index is made only if one doesn't.
func sequence[K comparable](found []uint32, count uint32, base func(i uint32) K, target func(i uint32) (K, bool)) {
	var index map[K]uint32
	next := uint32(0)
	for i := range found {
		key, ok := target(uint32(i))
		if !ok {
			continue
		}
		if next < count && base(next) == key {
			found[i] = next
			next++
			continue
		}
		if index == nil {
			index = make(map[K]uint32, count)
			for j := range count {
				index[base(j)] = j
			}
		}
		if j, ok := index[key]; ok {
			found[i] = j
			next = j + 1
		}
	}
}

// byName finds records by the strings of their names.
func (m *matcher) byName(sec int, found []uint32) {
	byString := make([]uint32, m.count(policydata.SectionStrings))
	for i := range byString {
		byString[i] = none
	}
	for i := range m.count(sec) {
		if name := m.field(&m.base, sec, i, 0); name < uint32(len(byString)) {
			byString[name] = i
		}
	}
	for i := range found {
		if name := m.stringOfBase(m.field(&m.target, sec, uint32(i), 0)); name != none {
			found[i] = byString[name]
		}
	}
}

// stringOfBase returns the base's number of a string of the target, or none.
func (m *matcher) stringOfBase(s uint32) uint32 {
	if strings := m.found[policydata.SectionStrings]; s < uint32(len(strings)) {
		return strings[s]
	}
	return none
}

// origin is how a node is reached: from another by a literal's string, or by none
// for a wildcard. Nothing leads to the root.
type origin struct{ parent, text uint32 }

// byPath finds nodes by how they are reached.
func (m *matcher) byPath(found []uint32) {
	base := m.origins(&m.base, m.count(policydata.SectionNodes))
	target := m.origins(&m.target, uint32(len(found)))
	sequence(found, uint32(len(base)), func(i uint32) origin { return base[i] }, func(i uint32) (origin, bool) {
		o := target[i]
		if o.parent == none {
			return o, true
		}
		if o.text != none {
			o.text = m.stringOfBase(o.text)
			if o.text == none {
				return o, false
			}
		}
		if o.parent >= i { // in no snapshot that Build made
			return o, false
		}
		o.parent = found[o.parent]
		return o, o.parent != none
	})
}

// origins returns how each of count nodes is reached.
func (m *matcher) origins(of *sections, count uint32) []origin {
	const nodes, edges = policydata.SectionNodes, policydata.SectionEdges
	out := make([]origin, count)
	for i := range out {
		out[i] = origin{none, none}
	}
	for i := range count {
		if child := m.field(of, nodes, i, policydata.NodeWild); child < count {
			out[child] = origin{i, none}
		}
	}
	for i := range uint32(len(of[edges])) / m.layout[edges].RecordBytes {
		if child := m.field(of, edges, i, policydata.EdgeChild); child < count {
			out[child] = origin{m.field(of, edges, i, policydata.EdgeParent), m.field(of, edges, i, policydata.EdgeText)}
		}
	}
	return out
}

// byOwner finds records in the ranges of owners that were found; where a section
// has no owners its whole is one range.
func (m *matcher) byOwner(sec int, found []uint32) {
	o, hasOwners := m.owned(sec, found), false
	for owner := range m.layout {
		for _, f := range m.layout[owner].Fields {
			if !f.Range || f.Section != sec {
				continue
			}
			hasOwners = true
			for i, from := range m.found[owner] {
				if from != none {
					o.align(m.span(&m.base, owner, from, f.Offset), m.span(&m.target, owner, uint32(i), f.Offset))
				}
			}
		}
	}
	if !hasOwners {
		o.align(span{0, m.count(sec)}, span{0, uint32(len(found))})
	}
}

// span is a range of records.
type span struct{ first, count uint32 }

func (m *matcher) span(of *sections, sec int, i, offset uint32) span {
	return span{m.field(of, sec, i, offset), m.field(of, sec, i, offset+u32Bytes)}
}

// owned are the records of a section, comparable: with the numbers of the target,
// and without where their own ranges begin.
type owned struct {
	size         uint32
	base, target []byte
	found        []uint32
}

func (m *matcher) owned(sec int, found []uint32) *owned {
	o := &owned{m.layout[sec].RecordBytes, m.base[sec], m.target[sec], found}
	if len(m.layout[sec].Fields) == 0 {
		return o
	}
	o.base, o.target = bytes.Clone(o.base), bytes.Clone(o.target)
	m.remap(o.base, sec)
	for _, f := range m.layout[sec].Fields {
		if f.Range {
			clearField(o.base, o.size, f.Offset)
			clearField(o.target, o.size, f.Offset)
		}
	}
	return o
}

func clearField(recs []byte, size, offset uint32) {
	for ; uint32(len(recs)) >= size; recs = recs[size:] {
		clear(recs[offset:][:u32Bytes])
	}
}

func (o *owned) ofBase(i uint32) []byte   { return o.base[i*o.size:][:o.size] }
func (o *owned) ofTarget(i uint32) []byte { return o.target[i*o.size:][:o.size] }

// align finds the records of a range of the target in one of the base: those that
// are equal at its begin and its end, and then those between.
func (o *owned) align(base, target span) {
	if !base.within(o.base, o.size) || !target.within(o.target, o.size) {
		return // in no snapshot that Build made
	}
	if base.count == target.count && bytes.Equal(base.of(o.base, o.size), target.of(o.target, o.size)) {
		for i := range base.count {
			o.found[target.first+i] = base.first + i
		}
		return
	}
	same := func(b, t uint32) bool { return bytes.Equal(o.ofBase(b), o.ofTarget(t)) }
	for base.count > 0 && target.count > 0 && same(base.first, target.first) {
		o.found[target.first] = base.first
		base, target = span{base.first + 1, base.count - 1}, span{target.first + 1, target.count - 1}
	}
	for base.count > 0 && target.count > 0 && same(base.first+base.count-1, target.first+target.count-1) {
		base.count--
		target.count--
		o.found[target.first+target.count] = base.first + base.count
	}
	if base.count > 0 && target.count > 0 && o.size > 1 { // of bytes nothing more is to be won
		o.middle(base, target)
		o.fill(base, target)
	}
}

// of returns the records of a range.
func (s span) of(recs []byte, size uint32) []byte { return recs[s.first*size:][:s.count*size] }

func (s span) within(recs []byte, size uint32) bool {
	return uint64(s.first)+uint64(s.count) <= uint64(uint32(len(recs))/size)
}

// middle finds records that are equal.
func (o *owned) middle(base, target span) {
	found := o.found[target.first:][:target.count]
	text := string(base.of(o.base, o.size))
	sequence(
		found, base.count,
		func(i uint32) string { return text[i*o.size:][:o.size] },
		func(i uint32) (string, bool) { return string(o.ofTarget(target.first + i)), true },
	)
	for i := range found {
		if found[i] != none {
			found[i] += base.first
		}
	}
}

// fill takes records that were not found for those of the base between the ones
// that were found around them: they changed.
func (o *owned) fill(base, target span) {
	next, end := base.first, target.first+target.count
	for i := target.first; i < end; i++ {
		gap := i
		for i < end && o.found[i] == none {
			i++
		}
		limit := base.first + base.count
		if i < end {
			limit = o.found[i]
		}
		for ; gap < i && next < limit; gap++ {
			o.found[gap] = next
			next++
		}
		if i < end {
			next = o.found[i] + 1
		}
	}
}
