package delta_test

import (
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"testing"

	"sallyport/policydata"
	"sallyport/policydata/delta"
)

// signer signs as a host does.
type signer struct{ key *ecdsa.PrivateKey }

func newSigner(t testing.TB) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{key}
}

func (s signer) sign(t testing.TB, body []byte) []byte {
	t.Helper()
	sum := sha256.Sum256(body)
	sig, err := ecdsa.SignASN1(rand.Reader, s.key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return policydata.AppendSignature(body, "key-1", sig)
}

func (s signer) verify(signed, sig []byte) error {
	sum := sha256.Sum256(signed)
	if !ecdsa.VerifyASN1(&s.key.PublicKey, sum[:], sig) {
		return errors.New("the key did not make it")
	}
	return nil
}

func (s signer) build(t testing.TB, src policydata.Source) []byte {
	t.Helper()
	body, err := policydata.Build(src)
	if err != nil {
		t.Fatal(err)
	}
	return s.sign(t, body)
}

func team(i int) string { return fmt.Sprintf("team-%05d", i) }
func user(i int) string { return fmt.Sprintf("user-%05d", i) }

// allow is a policy of one rule.
func allow(name, path string) policydata.Policy {
	return policydata.Policy{Name: name, Rules: []policydata.Rule{{
		Effect: policydata.EffectAllow, Methods: []string{"*"}, Paths: []string{path},
	}}}
}

// fleet is n policies, whose paths are path's, and n users in a tenth as many
// groups.
func fleet(n int, path func(i int) string) policydata.Source {
	src := policydata.Source{Epoch: 1, Generation: 7, Created: 1_800_000_000}
	for i := range n {
		src.Policies = append(src.Policies, allow(team(i), path(i)))
		src.Users = append(src.Users, policydata.User{Name: user(i), Policies: []string{team(i)}})
	}
	for i := range n / 10 {
		g := policydata.Group{Name: team(i), Policies: []string{team(i)}}
		for j := range 10 {
			g.Members = append(g.Members, user(i+n/10*j))
		}
		src.Groups = append(src.Groups, g)
	}
	return src
}

// fleets differ in the paths of policies.
var fleets = []struct {
	name string
	path func(i int) string
}{
	{"template", func(int) string { return "/workspaces/{team}/**" }},
	{"literal", func(i int) string { return "/workspaces/" + team(i) + "/**" }},
	{"deep", func(i int) string { return fmt.Sprintf("/services/s%d/%s/items/{id}", i%100, team(i)) }},
}

// changes are what people do to a fleet of n policies; most is what a delta may
// have in bytes.
var changes = []struct {
	name string
	most int
	do   func(src *policydata.Source, n int, path func(i int) string)
}{
	{"nothing", 500, func(*policydata.Source, int, func(int) string) {}},
	{"user_added", 600, func(src *policydata.Source, n int, _ func(int) string) {
		src.Users = append(src.Users, policydata.User{Name: user(n/2) + "b", Policies: []string{team(17)}})
	}},
	{"user_removed", 600, func(src *policydata.Source, n int, _ func(int) string) {
		for i := range src.Groups {
			src.Groups[i].Members = slices.DeleteFunc(src.Groups[i].Members, func(m string) bool { return m == user(n/2) })
		}
		src.Users = slices.Delete(src.Users, n/2, n/2+1)
	}},
	{"member_added", 600, func(src *policydata.Source, n int, _ func(int) string) {
		src.Groups[n/20].Members = append(src.Groups[n/20].Members, user(n/2-1))
	}},
	{"policy_added_at_end", 800, func(src *policydata.Source, n int, path func(int) string) {
		src.Policies = append(src.Policies, allow(team(n), path(n)))
	}},
	{"policy_added_in_middle", 800, func(src *policydata.Source, n int, _ func(int) string) {
		src.Policies = append(src.Policies, allow(team(n/2)+"b", "/other/"+team(1)+"/**"))
	}},
	{"policy_added_at_begin", 800, func(src *policydata.Source, _ int, path func(int) string) {
		src.Policies = append(src.Policies, allow("a", path(3)))
	}},
	{"rule_changed", 600, func(src *policydata.Source, n int, _ func(int) string) {
		src.Policies[n/2].Rules[0].Methods = []string{"GET"}
	}},
	{"path_changed", 800, func(src *policydata.Source, n int, _ func(int) string) {
		src.Policies[n/2].Rules[0].Paths = []string{"/somewhere/else/*"}
	}},
	{"100_changes", 16_000, func(src *policydata.Source, n int, path func(int) string) {
		for i := range 25 {
			at := n/26*(i+1) - i%7
			src.Users = append(src.Users, policydata.User{Name: user(at) + "b", Policies: []string{team(i)}})
			src.Policies = append(src.Policies, allow(team(at-2)+"b", path(n+i)))
			src.Groups[at/10].Members = append(src.Groups[at/10].Members, user(at-1))
			src.Policies[at-5].Rules[0].Methods = []string{"GET"}
		}
	}},
}

// changed returns two snapshots: of a fleet, and after a change.
func changed(t testing.TB, s signer, n int, path func(i int) string, do func(*policydata.Source, int, func(int) string)) (base, target []byte) {
	t.Helper()
	src := fleet(n, path)
	base = s.build(t, src)
	do(&src, n, path)
	src.Generation++
	src.Created++
	return base, s.build(t, src)
}

// What a delta has grows with what has changed, not with what there is.
func TestDeltasAreSmall(t *testing.T) {
	s := newSigner(t)
	for _, f := range fleets {
		for _, c := range changes {
			t.Run(f.name+"/"+c.name, func(t *testing.T) {
				base, target := changed(t, s, 800, f.path, c.do) // so that no hash table grows
				body, err := delta.Make(base, target)
				if err != nil {
					t.Fatal(err)
				}
				signed := s.sign(t, body)
				got, err := delta.Apply(base, signed, s.verify)
				if err != nil || !bytes.Equal(got, target) {
					t.Fatalf("%d bytes of %d, %v", len(got), len(target), err)
				}
				if len(signed) > c.most {
					t.Errorf("%d bytes, more than %d, for a target of %d", len(signed), c.most, len(target))
				}
			})
		}
	}
}

const many = 10_000

func BenchmarkDelta(b *testing.B) {
	s := newSigner(b)
	for _, f := range fleets {
		for _, c := range changes {
			base, target := changed(b, s, many, f.path, c.do)
			body, err := delta.Make(base, target)
			if err != nil {
				b.Fatal(err)
			}
			signed := s.sign(b, body)
			b.Run("make/"+f.name+"/"+c.name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := delta.Make(base, target); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run("apply/"+f.name+"/"+c.name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := delta.Apply(base, signed, func(_, _ []byte) error { return nil }); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(len(signed)), "delta-B")
				b.ReportMetric(float64(len(target)), "full-B")
			})
		}
	}
}

func BenchmarkGzip(b *testing.B) {
	s := newSigner(b)
	for _, f := range fleets {
		full := s.build(b, fleet(many, f.path))
		b.Run(f.name, func(b *testing.B) {
			var out bytes.Buffer
			for b.Loop() {
				out.Reset()
				w := gzip.NewWriter(&out)
				if _, err := w.Write(full); err != nil {
					b.Fatal(err)
				}
				if err := w.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(full)), "full-B")
			b.ReportMetric(float64(out.Len()), "gzip-B")
		})
	}
}
