package delta_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sallyport/policydata"
	"sallyport/policydata/delta"
)

var update = flag.Bool("update", false, "write the golden files of the newest format version anew")

// Deltas of version 1 that are out there must apply as ever.
func TestGolden(t *testing.T) {
	names := []string{"base_v1.bin", "target_v1.bin", "delta_v1.bin"}
	if *update {
		src := goldenSource()
		base := build(t, src)
		changeGolden(&src)
		target := build(t, src)
		body, err := delta.Make(base, target)
		if err != nil {
			t.Fatal(err)
		}
		for i, content := range [][]byte{base, target, seal(body)} {
			if err := os.WriteFile(filepath.Join("testdata", names[i]), content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	var files [3][]byte
	for i, name := range names {
		content, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		files[i] = content
	}
	got, err := delta.Apply(files[0], files[2], acceptAll)
	if err != nil || !bytes.Equal(got, files[1]) {
		t.Fatalf("%d bytes of %d, %v", len(got), len(files[1]), err)
	}
	if body, err := delta.Make(files[0], files[1]); err != nil || !bytes.Equal(seal(body), files[2]) {
		t.Errorf("Make gives %d bytes, the golden file has %d; %v", len(body), len(files[2]), err)
	}
}

// goldenSource has records of every section.
func goldenSource() policydata.Source {
	str := func(s string) *policydata.Expr { return &policydata.Expr{Op: policydata.OpString, Str: s} }
	claims := &policydata.Expr{Op: policydata.OpVar, Int: int64(policydata.VarTokenClaims)}
	when := &policydata.Expr{Op: policydata.OpEq, Args: []*policydata.Expr{
		{Op: policydata.OpField, Str: "tenant", Args: []*policydata.Expr{claims}}, str("a"),
	}}
	conditional := allow("p1", "/a/{x}/b")
	conditional.Rules[0].When, conditional.Rules[0].Text = when, `token.claims.tenant == "a"`
	conditional.Rules[0].Hosts, conditional.Rules[0].Methods = []string{"*.example.org", "{h}.example"}, []string{"PURGE"}
	return policydata.Source{
		Epoch: 3, Generation: 7, Created: 1_800_000_000,
		Policies: []policydata.Policy{conditional, allow("p3", "/c/**"), allow("p5", "/a/d")},
		Users:    []policydata.User{{Name: "eric", Policies: []string{"p3"}}, {Name: "sean"}},
		Groups: []policydata.Group{
			{Name: policydata.GroupAuthenticated, Policies: []string{"p5"}}, {Name: "g", Members: []string{"eric", "sean"}, Policies: []string{"p1"}},
		},
		Roles: []policydata.Role{
			{Name: "r", Users: []string{"eric"}, Groups: []string{"g"}, Policies: []string{"p1", "p5"}, Claims: []string{"c"}},
			{Name: "gov", Governing: true, Policies: []string{"p3"}},
		},
		Services: []policydata.Service{{
			Name: "svc", Role: "r", Identities: []policydata.ServiceIdentity{{Issuer: "kc", Client: "c", Subject: "s"}},
			Delegation: []policydata.Delegation{{Role: "gov", Users: []string{"eric"}, Groups: []string{"g"}}},
		}},
		Issuers: []policydata.Issuer{{
			Name: "kc", Issuer: "https://kc", Audiences: []string{"a"}, Algorithms: []string{"RS256"},
			UsernameClaims: [][]string{{"sub"}}, MaxTokenLifetime: 3600,
		}},
		Revoked: []policydata.RevokedToken{{Issuer: "kc", ID: "t5", Expires: 1_800_000_500}},
	}
}

// changeGolden changes something in most sections.
func changeGolden(src *policydata.Source) {
	src.Generation++
	src.Policies = append(src.Policies, allow("p2", "/a/{y}/c/{z}"), allow("p0", "/c/**"))
	src.Policies[2].Rules[0].Methods = []string{"GET"}
	src.Users = append(slices.Clone(src.Users), policydata.User{Name: "inga", Policies: []string{"p0", "p5"}})
	src.Users[1].Disabled = true
	src.Groups[1].Members = []string{"inga", "sean"}
	src.Roles[0].Claims = []string{"b", "c"}
	src.Services[0].Delegation[0].Users = []string{"*", "sean"}
	src.Issuers[0].Audiences = []string{"a", "b"}
	src.Revoked = append(src.Revoked, policydata.RevokedToken{Issuer: "kc", ID: "t1", Expires: 1_800_000_600})
}

// The golden base has records in every section, or the files would not hold their
// layout fast.
func TestGoldenIsComplete(t *testing.T) {
	content, err := os.ReadFile("testdata/base_v1.bin")
	if err != nil {
		t.Fatal(err)
	}
	f, err := policydata.ParseFrame(content)
	if err != nil {
		t.Fatal(err)
	}
	for id, section := range f.Sections {
		if len(section) == 0 {
			t.Errorf("section %d is empty", id)
		}
	}
}

// example are the snapshots of the worked example: that of policydata's, and
// where a user came.
func example(t testing.TB) (base, target []byte) {
	src := policydata.Source{
		Epoch: 1, Generation: 7, Created: 1_800_000_000,
		Policies: []policydata.Policy{{Name: "read", Rules: []policydata.Rule{{
			Effect: policydata.EffectAllow, Methods: []string{policydata.MethodsRead}, Paths: []string{"/docs/{page}"},
		}}}},
		Groups: []policydata.Group{{Name: policydata.GroupAuthenticated, Policies: []string{"read"}}},
	}
	base = build(t, src)
	src.Generation, src.Created = 8, src.Created+1
	src.Users = []policydata.User{{Name: "eric"}}
	return base, build(t, src)
}

// The documentation's worked example is what Make writes, byte for byte, and it
// applies. Its lines begin with an offset in hexadecimal.
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
	base, target := example(t)
	body, err := delta.Make(base, target)
	if err != nil {
		t.Fatal(err)
	}
	if want := seal(body); !bytes.Equal(got, want) {
		t.Fatalf("the documentation has %d bytes:\n%s\nMake gives %d:\n%s", len(got), hex.Dump(got), len(want), hex.Dump(want))
	}
	if result, err := delta.Apply(base, got, acceptAll); err != nil || !bytes.Equal(result, target) {
		t.Errorf("%d bytes of %d, %v", len(result), len(target), err)
	}
}
