package policydata

import (
	"bytes"
	"errors"
	"testing"
)

// A frame taken apart and put together is the snapshot.
func TestParseFrame(t *testing.T) {
	body, err := Build(goldenSource())
	if err != nil {
		t.Fatal(err)
	}
	file := AppendSignature(body, "key-1", []byte("0123456789abcdef"))
	f, err := ParseFrame(file)
	if err != nil {
		t.Fatal(err)
	}
	var lengths [NumSections]int
	for id, section := range f.Sections {
		lengths[id] = len(section)
	}
	again := AppendSectionTable(bytes.Clone(f.Header), lengths)
	for _, section := range f.Sections {
		again = append(again, section...)
		again = append(again, make([]byte, align(len(again))-len(again))...)
	}
	if again = append(again, f.Signature...); !bytes.Equal(again, file) {
		t.Error("put together it is another snapshot")
	}
	if f.Epoch != 1 || f.Generation != 7 {
		t.Errorf("epoch %d, generation %d", f.Epoch, f.Generation)
	}
	for n := range len(file) + 1 {
		epoch, generation, ok := ClaimedVersion(file[:n])
		if ok != (n >= HeaderBytes) || ok && (epoch != 1 || generation != 7) {
			t.Fatalf("the first %d bytes claim %d.%d, %t", n, epoch, generation, ok)
		}
	}
	for at := range 12 { // magic and version of the format
		spoilt := bytes.Clone(file)
		spoilt[at] ^= 1
		if _, _, ok := ClaimedVersion(spoilt); ok {
			t.Errorf("byte %d: what is of another format has a version", at)
		}
	}
	for n := range file {
		var format *FormatError
		if _, err := ParseFrame(file[:n]); !errors.As(err, &format) {
			t.Fatalf("the first %d bytes: %v", n, err)
		}
	}
}

// The mark is the end of the signature, however it is asked for.
func TestMark(t *testing.T) {
	body, err := Build(example())
	if err != nil {
		t.Fatal(err)
	}
	file := AppendSignature(body, "key-1", []byte("a signature: 0123456789abcdef"))
	const want = "30313233343536373839616263646566"
	s, err := Load(file, acceptAll)
	if err != nil {
		t.Fatal(err)
	}
	f, err := ParseFrame(file)
	if err != nil {
		t.Fatal(err)
	}
	mark, ok := Mark(file)
	if !ok || mark != want || s.Mark() != want || f.Mark != want {
		t.Errorf("marks %q %t, %q, %q", mark, ok, s.Mark(), f.Mark)
	}
	for name, b := range map[string][]byte{"nothing": nil, "a_body": body, "cut": file[:len(file)-1], "a_short_signature": AppendSignature(body, "key-1", []byte("fifteen bytes.."))} {
		if mark, ok := Mark(b); ok || mark != "" {
			t.Errorf("%s has the mark %q", name, mark)
		}
	}
}
