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
func Build(src Source) ([]byte, error) {
	b := newBuilder()
	if err := b.addAll(src); err != nil {
		return nil, fmt.Errorf("policydata: %w", err)
	}
	body, err := b.encode(src)
	if err != nil {
		return nil, fmt.Errorf("policydata: %w", err)
	}
	return body, nil
}

// builder collects the sections of one snapshot.
type builder struct {
	sections [numSections][]byte
	strings  map[string]uint32

	policies map[string]uint32 // name to index
	users    map[string]uint32
	groups   map[string]uint32
	roles    map[string]uint32
	services map[string]uint32

	governing []bool // of roles, by index

	trie     []trieNode
	edges    []trieEdge           // by child
	captures [][2]uint32          // of terminals: name, segment
	children map[[2]uint32]uint32 // node and text of a literal edge to its child
	seeds    [numSeeds]uint32
}

func newBuilder() *builder {
	return &builder{
		strings:  map[string]uint32{},
		policies: map[string]uint32{},
		users:    map[string]uint32{},
		groups:   map[string]uint32{},
		roles:    map[string]uint32{},
		services: map[string]uint32{},
		trie:     []trieNode{{wild: none}},
		children: map[[2]uint32]uint32{},
	}
}

func (b *builder) addAll(src Source) error {
	policies := sortedBy(src.Policies, func(p Policy) string { return p.Name })
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

// sortedBy returns a copy of s ordered by its elements' names.
func sortedBy[T any](s []T, name func(T) string) []T {
	out := slices.Clone(s)
	slices.SortStableFunc(out, func(x, y T) int { return cmp.Compare(name(x), name(y)) })
	return out
}

// encode lays out header, section table and sections.
func (b *builder) encode(src Source) ([]byte, error) {
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
func (b *builder) str(s string) uint32 {
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
func (b *builder) put(sec int, fields ...uint32) {
	for _, f := range fields {
		b.sections[sec] = binary.LittleEndian.AppendUint32(b.sections[sec], f)
	}
}

// count returns how many records a section has so far.
func (b *builder) count(sec int) uint32 {
	return uint32(len(b.sections[sec])) / recordBytes[sec]
}

// list appends ids to a pool of lists and returns the range: first and count.
func (b *builder) list(pool int, ids []uint32) (first, count uint32) {
	first = b.count(pool)
	b.put(pool, ids...)
	return first, uint32(len(ids))
}

// resolve returns the sorted, distinct indexes of names in known.
func resolve(what string, names []string, known map[string]uint32) ([]uint32, error) {
	ids := make([]uint32, 0, len(names))
	for _, n := range names {
		id, ok := known[n]
		if !ok {
			return nil, fmt.Errorf("unknown %s %q", what, n)
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// index gives each name its place in the order of names, refusing duplicates.
func index(what string, names []string, into map[string]uint32) error {
	for i, n := range names {
		if _, dup := into[n]; dup {
			return fmt.Errorf("%s %q stands twice", what, n)
		}
		into[n] = uint32(i)
	}
	return nil
}
