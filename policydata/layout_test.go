package policydata

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
)

// Each field that Layout says refers to a section is one that Load checks to: a
// number beyond the section's records, or a range that leaves a gap, is refused.
func TestLayoutAgreesWithLoad(t *testing.T) {
	body, err := Build(goldenSource())
	if err != nil {
		t.Fatal(err)
	}
	s := mustLoad(t, body)
	for sec, l := range Layout() {
		for _, f := range l.Fields {
			t.Run(fmt.Sprintf("%d/%d", sec, f.Offset), func(t *testing.T) {
				changed := 0
				for i := range s.section[sec].count {
					at := s.at(sec, i)
					value := s.u32(at + f.Offset)
					if f.Ops != 0 && f.Ops>>body[at]&1 == 0 || value == none {
						continue
					}
					bad := s.section[f.Section].count
					if f.Range {
						bad = value + 1
					}
					changed++
					edited := slices.Clone(body)
					binary.LittleEndian.PutUint32(edited[at+f.Offset:], bad)
					if _, err := Load(AppendSignature(edited, "", nil), acceptAll); err == nil {
						t.Fatalf("record %d: Load takes %d for %d", i, bad, value)
					}
				}
				if changed == 0 {
					t.Error("the golden snapshot has no such field: the test shows nothing")
				}
			})
		}
	}
}

// Each string of the golden snapshot is one that a field of Layout refers to, and
// so is each section but those that nothing refers to. (A field that is missing
// would make deltas larger, not wrong.)
func TestLayoutHasAllReferences(t *testing.T) {
	used := map[uint32]bool{}
	s := load(t, goldenSource())
	for sec, l := range Layout() {
		for _, f := range l.Fields {
			for i := range s.section[sec].count {
				at := s.at(sec, i)
				if !f.Range && f.Section == secStrings && (f.Ops == 0 || f.Ops>>s.text[at]&1 != 0) {
					used[s.u32(at+f.Offset)] = true
				}
			}
		}
	}
	for i := range s.section[secStrings].count {
		if !used[i] {
			t.Errorf("no field of Layout refers to string %d, %q", i, s.str(i))
		}
	}
	owned := map[int]bool{}
	for _, l := range Layout() {
		for _, f := range l.Fields {
			owned[f.Section] = true
		}
	}
	for sec, l := range Layout() {
		if l.RecordBytes != recordBytes[sec] {
			t.Errorf("section %d: records of %d bytes", sec, l.RecordBytes)
		}
		free := sec == secIssuers || l.Identity == ByPlace || l.Identity == ByContent
		if owned[sec] == free {
			t.Errorf("section %d: that records of others refer to it is %t", sec, owned[sec])
		}
	}
}
