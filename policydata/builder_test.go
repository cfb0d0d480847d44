package policydata_test

import (
	"bytes"
	"testing"

	"sallyport/policydata"
	"sallyport/policydata/decidetest"
)

// Hosts on one store build the same bytes, whatever each of them built before.
func TestBuilderForgetsWhatItBuilt(t *testing.T) {
	const large = 50 // more of everything than a random source has
	var b policydata.Builder
	for seed := range uint64(300) {
		src := decidetest.NewRandom(seed, 7).Source()
		if seed%10 == 0 {
			src = policydata.LiteralRules(large)
		}
		if seed%7 == 0 {
			bad := src
			bad.Groups = append([]policydata.Group{{Name: "z", Members: []string{"nobody"}}}, src.Groups...)
			if body, err := b.Build(bad); err == nil || body != nil {
				t.Fatal("a member that nobody is was built")
			}
		}
		want, err := policydata.Build(src)
		if err != nil {
			t.Fatal(err)
		}
		got, err := b.Build(src)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("seed %d: the bytes depend on what was built before", seed)
		}
	}
}

// A snapshot that was built stays as it is while the next one is built.
func TestBuilderLetsGoOfBodies(t *testing.T) {
	var b policydata.Builder
	first, err := b.Build(policydata.LiteralRules(5))
	if err != nil {
		t.Fatal(err)
	}
	before := bytes.Clone(first)
	if _, err := b.Build(policydata.SharedPath(20)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, before) {
		t.Error("building changed the body before")
	}
}
