package policydata

import (
	"encoding/hex"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// example is the source of the worked example in the package documentation.
func example() Source {
	return Source{
		Epoch: 1, Generation: 7, Created: 1_800_000_000,
		Policies: []Policy{{Name: "read", Rules: []Rule{{
			Effect: EffectAllow, Methods: []string{MethodsRead}, Paths: []string{"/docs/{page}"},
		}}}},
		Groups: []Group{{Name: GroupAuthenticated, Policies: []string{"read"}}},
	}
}

// The documentation's worked example is what Build writes, byte for byte, and
// no byte of it is left out. Its lines begin with an offset in hexadecimal.
func TestDocumentedExample(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`^//\t([0-9a-f]{4})  ((?:[0-9a-f]{2} )*[0-9a-f]{2})(?:  .*)?$`)
	var got []byte
	for l := range strings.Lines(string(doc)) {
		m := line.FindStringSubmatch(strings.TrimRight(l, "\n"))
		if m == nil {
			continue
		}
		b, err := hex.DecodeString(strings.ReplaceAll(m[2], " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("%04x", len(got)); m[1] != want {
			t.Fatalf("offset %s, want %s", m[1], want)
		}
		got = append(got, b...)
	}
	body, err := Build(example())
	if err != nil {
		t.Fatal(err)
	}
	want := AppendSignature(body, "k1", []byte{0x30, 0x00})
	if string(got) != string(want) {
		t.Fatalf("the documentation has %d bytes:\n%s\nBuild gives %d:\n%s", len(got), hex.Dump(got), len(want), hex.Dump(want))
	}
	s, err := Load(got, acceptAll)
	if err != nil {
		t.Fatal(err)
	}
	d := NewEvaluator().Decide(s, &Request{Method: "GET", Path: "/docs/intro"}, &Identity{Authenticated: true, User: "eric"})
	if !d.Allowed() || d.Policy != "read" || d.Captures[0].Value != "intro" {
		t.Errorf("the example decides %+v", d)
	}
}

// The documentation names each section with the size of its records.
func TestDocumentedSections(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^//\t *(\d+) +([a-z ]+?) +(\d+)  `)
	rows := row.FindAllStringSubmatch(string(doc), -1)
	if len(rows) != numSections {
		t.Fatalf("%d sections are documented, there are %d", len(rows), numSections)
	}
	for id, r := range rows {
		if r[1] != fmt.Sprint(id) || r[3] != fmt.Sprint(recordBytes[id]) {
			t.Errorf("section %d has records of %d bytes; documented: %q", id, recordBytes[id], r[0])
		}
	}
}

// A snapshot can't hold what its source has no place for: no field of a source
// is a secret.
func TestSourceHasNoPlaceForSecrets(t *testing.T) {
	secret := regexp.MustCompile(`(?i)secret|password|private|credential|hash|symmetric|bearer|seed`)
	seen := map[reflect.Type]bool{}
	var visit func(typ reflect.Type)
	visit = func(typ reflect.Type) {
		for typ.Kind() == reflect.Slice || typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || seen[typ] {
			return
		}
		seen[typ] = true
		for i := range typ.NumField() {
			f := typ.Field(i)
			if secret.MatchString(f.Name) {
				t.Errorf("%v.%s", typ, f.Name)
			}
			visit(f.Type)
		}
	}
	visit(reflect.TypeFor[Source]())
	if !seen[reflect.TypeFor[Key]()] || !seen[reflect.TypeFor[Service]()] {
		t.Fatal("not all of the source was looked at")
	}
}
