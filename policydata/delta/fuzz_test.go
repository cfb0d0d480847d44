package delta_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"sallyport/policydata"
	"sallyport/policydata/decidetest"
	"sallyport/policydata/delta"
)

// FuzzApply takes any bytes for the body of a delta that a host signed, and any
// for its base: what comes out is the target of its checksum or nothing.
func FuzzApply(f *testing.F) {
	base, target := example(f)
	body, err := delta.Make(base, target)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(base, body)
	src := goldenSource()
	base = build(f, src)
	changeGolden(&src)
	if body, err = delta.Make(base, build(f, src)); err != nil {
		f.Fatal(err)
	}
	f.Add(base, body)
	f.Fuzz(func(t *testing.T, base, body []byte) {
		before := bytes.Clone(base)
		body = bytes.Clone(body) // it may share the base's memory
		if len(body) > 16 {      // a length that fits gets further
			binary.LittleEndian.PutUint32(body[12:], uint32(len(body)))
		}
		signed := seal(body)
		info, parseErr := delta.Parse(signed)
		got, err := delta.Apply(base, signed, acceptAll)
		if err == nil && (parseErr != nil || len(got) != info.TargetBytes) {
			t.Errorf("%d bytes of %d, %v", len(got), info.TargetBytes, parseErr)
		}
		if !bytes.Equal(base, before) {
			t.Error("applying changed its base")
		}
	})
}

// FuzzOperations changes bytes of a good delta, so that more of them get past the
// first checks: each edit is a place, and its value.
func FuzzOperations(f *testing.F) {
	base, target := example(f)
	body, err := delta.Make(base, target)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{150, 0, 7, 160, 0, 3})
	f.Fuzz(func(t *testing.T, edits []byte) {
		bad := bytes.Clone(body)
		for ; len(edits) >= 3; edits = edits[3:] {
			at := int(edits[0]) | int(edits[1])<<8
			if at < len(bad) {
				bad[at] = edits[2]
			}
		}
		if got, err := delta.Apply(base, seal(bad), acceptAll); err == nil && binary.LittleEndian.Uint64(bad[48:]) == binary.LittleEndian.Uint64(body[48:]) && !bytes.Equal(got, target) {
			t.Error("another result with the target's checksum")
		}
	})
}

// FuzzRoundTrip makes deltas between random snapshots, of which fields may be
// damaged: Make never hands out a delta that does not give its target.
func FuzzRoundTrip(f *testing.F) {
	f.Add(uint64(1), []byte{})
	f.Add(uint64(2), []byte{200, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 1, 2, 0, 0, 0})
	f.Fuzz(func(t *testing.T, seed uint64, edits []byte) {
		r := decidetest.NewRandom(seed, 7)
		src, other := r.Source(), r.Source()
		files := [2][]byte{build(t, src), build(t, edited(r, src, other))}
		for i := 0; len(edits) >= 6; edits, i = edits[6:], i+1 {
			file := files[i%2]
			at := 4 * (int(edits[0]) | int(edits[1])<<8)
			if at >= policydata.HeaderBytes && at+4 <= len(file) {
				copy(file[at:], edits[2:6])
			}
		}
		before := [2][]byte{slices.Clone(files[0]), slices.Clone(files[1])}
		body, err := delta.Make(files[0], files[1])
		if err != nil {
			return
		}
		got, err := delta.Apply(files[0], seal(body), acceptAll)
		if err != nil || !bytes.Equal(got, files[1]) {
			t.Errorf("%d bytes of %d, %v", len(got), len(files[1]), err)
		}
		if !bytes.Equal(files[0], before[0]) || !bytes.Equal(files[1], before[1]) {
			t.Error("making changed what it was given")
		}
	})
}
