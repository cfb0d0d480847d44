package policydata

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// Build compiles src into the body of a snapshot, which AppendSignature
// completes. The order of src's slices does not matter, except that of a
// policy's rules and of what a rule lists. An error names the entity and what
// is wrong with it: an unknown reference, a bad name, pattern or condition, or
// a limit that is exceeded.
func Build(src Source) ([]byte, error) { return new(Builder).Build(src) }

// Builder builds one snapshot after the other in the same memory, which is for
// whoever builds each generation of a store. The zero Builder is ready; it must
// not be used by several goroutines at once.
type Builder struct {
	sections [numSections][]byte
	strings  map[string]uint32

	policies, users, groups, roles named

	governing []bool // of roles, by index

	trie     []trieNode
	edges    []trieEdge           // by child
	captures [][2]uint32          // of terminals: name, segment
	children map[[2]uint32]uint32 // node and text of a literal edge to its child
	seeds    [numSeeds]uint32

	ids   []uint32 // of the list that is being resolved
	slots []uint32 // of the hash table that is being made
}

// Build is what the function Build is: what was built before makes no
// difference.
func (b *Builder) Build(src Source) ([]byte, error) {
	b.reset()
	if err := b.addAll(src); err != nil {
		return nil, fmt.Errorf("policydata: %w", err)
	}
	body, err := b.encode(src)
	if err != nil {
		return nil, fmt.Errorf("policydata: %w", err)
	}
	return body, nil
}

// reset empties b and keeps its memory.
func (b *Builder) reset() {
	for i, sec := range b.sections {
		b.sections[i] = sec[:0]
	}
	if b.strings == nil {
		b.strings, b.children = map[string]uint32{}, map[[2]uint32]uint32{}
	}
	clear(b.strings)
	clear(b.children)
	for _, n := range []*named{&b.policies, &b.users, &b.groups, &b.roles} {
		n.names, n.places = n.names[:0], n.places[:0]
	}
	b.governing, b.edges, b.captures = b.governing[:0], b.edges[:0], b.captures[:0]
	b.trie = b.trie[:0]
	b.addNode() // the root
}

func (b *Builder) addAll(src Source) error {
	policies := sortedBy(src.Policies, func(p *Policy) string { return p.Name })
	for i := range policies {
		if err := b.addPolicy(&policies[i]); err != nil {
			return fmt.Errorf("policy %q: %w", policies[i].Name, err)
		}
	}
	if err := b.addPrincipals(src); err != nil {
		return err
	}
	if err := b.addServices(src); err != nil {
		return err
	}
	if err := b.addIssuers(src.Issuers); err != nil {
		return err
	}
	return b.addRevoked(src.Revoked, src.Issuers)
}

// sortedBy returns s ordered by its elements' names: s itself where it is.
func sortedBy[T any](s []T, name func(*T) string) []T {
	for i := 1; i < len(s); i++ {
		if name(&s[i-1]) > name(&s[i]) {
			s = slices.Clone(s)
			slices.SortStableFunc(s, func(x, y T) int { return cmp.Compare(name(&x), name(&y)) })
			return s
		}
	}
	return s
}

// encode lays out header, section table and sections.
func (b *Builder) encode(src Source) ([]byte, error) {
	if err := b.encodeTrie(); err != nil {
		return nil, err
	}
	b.put(secSeeds, b.seeds[:]...)
	size := uint64(headerBytes + numSections*sectionEntryBytes)
	var lengths [NumSections]int
	for id, sec := range b.sections {
		lengths[id] = len(sec)
		size += uint64(align(len(sec)))
	}
	if size > MaxSnapshotBytes-maxSignatureBytes-maxKeyIDBytes {
		return nil, fmt.Errorf("the snapshot would have %d bytes, more than the limit of %d", size, MaxSnapshotBytes)
	}
	out := make([]byte, 0, size)
	le := binary.LittleEndian
	out = append(out, snapshotMagic...)
	out = le.AppendUint32(out, snapshotVersion)
	out = le.AppendUint32(out, numSections)
	out = le.AppendUint64(out, 0)
	out = le.AppendUint64(out, src.Epoch)
	out = le.AppendUint64(out, src.Generation)
	out = le.AppendUint64(out, uint64(src.Created))
	out = le.AppendUint64(out, uint64(src.Expires))
	out = le.AppendUint32(out, uint32(size))
	out = le.AppendUint32(out, 0)
	out = AppendSectionTable(out, lengths)
	for _, sec := range b.sections {
		out = append(out, sec...)
		out = append(out, make([]byte, align(len(sec))-len(sec))...)
	}
	return out, nil
}

// align rounds n up to the 8 bytes at which each section begins.
func align(n int) int { return (n + 7) &^ 7 }

// str returns the id of s, which it adds at its first use.
func (b *Builder) str(s string) uint32 {
	if id, ok := b.strings[s]; ok {
		return id
	}
	id := uint32(len(b.strings))
	b.strings[s] = id
	b.put(secStrings, uint32(len(b.sections[secText])), uint32(len(s)))
	b.sections[secText] = append(b.sections[secText], s...)
	return id
}

// put appends u32 fields to a section.
func (b *Builder) put(sec int, fields ...uint32) {
	for _, f := range fields {
		b.sections[sec] = binary.LittleEndian.AppendUint32(b.sections[sec], f)
	}
}

// count returns how many records a section has so far.
func (b *Builder) count(sec int) uint32 {
	return uint32(len(b.sections[sec])) / recordBytes[sec]
}

// list appends ids to a pool of lists and returns the range: first and count.
func (b *Builder) list(pool int, ids []uint32) (first, count uint32) {
	first = b.count(pool)
	b.put(pool, ids...)
	return first, uint32(len(ids))
}

// named are the records of a kind, in the order of their names.
type named struct {
	names  []uint32 // string ids, by index
	places []uint32 // indexes by string id; none, or too short, where no record has the name
}

// add adds the next record. It is false where there is one of that name.
func (n *named) add(name uint32) bool {
	if n.place(name) != none {
		return false
	}
	for uint32(len(n.places)) <= name {
		n.places = append(n.places, none)
	}
	n.places[name] = uint32(len(n.names))
	n.names = append(n.names, name)
	return true
}

// place returns the index of the record with a name, or none.
func (n *named) place(name uint32) uint32 {
	if name >= uint32(len(n.places)) {
		return none
	}
	return n.places[name]
}

// find returns the index of the record of a kind that has a name, or none.
func (b *Builder) find(name string, among *named) uint32 {
	if id, ok := b.strings[name]; ok {
		return among.place(id)
	}
	return none
}

// addNames gives each of records, which are sorted, its index, refusing
// duplicates.
func addNames[T any](b *Builder, what string, records []T, name func(*T) string, to *named) error {
	for i := range records {
		if n := name(&records[i]); !to.add(b.str(n)) {
			return fmt.Errorf("%s %q stands twice", what, n)
		}
	}
	return nil
}

// distinct refuses a name that two records have.
func distinct[T any](what string, records []T, name func(*T) string) error {
	seen := make(map[string]bool, len(records))
	for i := range records {
		n := name(&records[i])
		if seen[n] {
			return fmt.Errorf("%s %q stands twice", what, n)
		}
		seen[n] = true
	}
	return nil
}

// resolve returns the sorted, distinct indexes of the records that have names.
// They are valid until the next call.
func (b *Builder) resolve(what string, names []string, among *named) ([]uint32, error) {
	b.ids = b.ids[:0]
	for _, n := range names {
		place := b.find(n, among)
		if place == none {
			return nil, fmt.Errorf("unknown %s %q", what, n)
		}
		b.ids = append(b.ids, place)
	}
	slices.Sort(b.ids)
	return slices.Compact(b.ids), nil
}
