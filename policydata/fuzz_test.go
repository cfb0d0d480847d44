package policydata

import (
	"bytes"
	"strings"
	"testing"
)

// FuzzLoad takes any bytes for what a host signed: loading refuses them, or
// deciding by them neither panics nor runs for ever.
func FuzzLoad(f *testing.F) {
	for _, src := range []Source{{}, story(), example(), goldenSource(), templateRule(3), literalRules(3), conditionedRules(2)} {
		body, err := Build(src)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	e := NewEvaluator()
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		s, err := Load(AppendSignature(body, "", nil), acceptAll)
		if err != nil {
			return
		}
		exercise(e, s)
		_, _, _ = s.Counts(), s.TokensNotBefore("root"), s.RevokedUntil("kc", "a")
		if !bytes.Equal(body, before) {
			t.Fatal("reading changed the snapshot")
		}
	})
}

// FuzzLoadFields changes fields of a good body, so that more of them get past
// the section table: each edit is the place of a u32 as u16, and its value.
func FuzzLoadFields(f *testing.F) {
	var bodies [][]byte
	for _, src := range []Source{story(), example(), conditionedRules(2), goldenSource()} {
		body, err := Build(src)
		if err != nil {
			f.Fatal(err)
		}
		bodies = append(bodies, body)
	}
	f.Add(uint8(0), []byte{120, 0, 1, 0, 0, 0})
	f.Add(uint8(1), []byte{200, 0, 0xFF, 0xFF, 0xFF, 0xFF, 90, 0, 2, 0, 0, 0})
	e := NewEvaluator()
	f.Fuzz(func(t *testing.T, which uint8, edits []byte) {
		body := bytes.Clone(bodies[int(which)%len(bodies)])
		for ; len(edits) >= 6; edits = edits[6:] {
			at := 4 * (int(edits[0]) | int(edits[1])<<8)
			if at+4 <= len(body) {
				copy(body[at:], edits[2:6])
			}
		}
		if s, err := Load(AppendSignature(body, "", nil), acceptAll); err == nil {
			exercise(e, s)
		}
	})
}

func FuzzCanonicalPath(f *testing.F) {
	for _, raw := range []string{
		"/", "/a/b?c", "/%41%zz", "/a//b", "/%2e%2e/", "/caf%C3%A9", "/%25%32%65", "/a%20b/..", "/100%25", "/.%2e/x", "/%c0%ae", "/x#y", "/a;b", "/%",
	} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		path, ok := CanonicalPath(raw)
		if !ok {
			if path != "" {
				t.Fatalf("%q is refused, with %q", raw, path)
			}
			return
		}
		checkCanonical(t, raw, path)
		cut, _, _ := strings.Cut(raw, "?")
		if again, ok := CanonicalPath(cut); !ok || again != path {
			t.Fatalf("%q: the query decides on the path", raw)
		}
	})
}

func FuzzCanonicalHost(f *testing.F) {
	for _, a := range []string{"", "a.b", "A.b.:80", "[::1]:8", "a..b", "\u212A", "a:b", "system:api"} {
		f.Add(a)
	}
	f.Fuzz(func(t *testing.T, authority string) {
		host, ok := CanonicalHost(authority)
		if !ok {
			return
		}
		if again, ok := CanonicalHost(host); !ok || again != host {
			t.Fatalf("%q becomes %q, which becomes %q, %t", authority, host, again, ok)
		}
		for i := range len(host) {
			if c := host[i]; c <= 0x20 || c >= 0x7F || 'A' <= c && c <= 'Z' || strings.IndexByte("/?#@%\\,*{}", c) >= 0 {
				t.Fatalf("%q becomes %q", authority, host)
			}
		}
		for host != "" { // as deciding takes it apart
			label, rest, more := lastLabel(host)
			if label == "" || more != (rest != "") {
				t.Fatalf("%q: an empty label", authority)
			}
			host = rest
		}
	})
}
