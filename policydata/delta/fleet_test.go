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

const many = 10_000

func team(i int) string { return fmt.Sprintf("team-%05d", i) }
func user(i int) string { return fmt.Sprintf("user-%05d", i) }

// allow is a policy of one rule.
func allow(name, path string) policydata.Policy {
	return policydata.Policy{Name: name, Rules: []policydata.Rule{{
		Effect: policydata.EffectAllow, Methods: []string{"*"}, Paths: []string{path},
	}}}
}

// fleet is 10,000 policies and 10,000 users in 1,000 groups; path is that of a
// policy.
func fleet(path func(i int) string) policydata.Source {
	src := policydata.Source{Epoch: 1, Generation: 7, Created: 1_800_000_000}
	for i := range many {
		src.Policies = append(src.Policies, allow(team(i), path(i)))
		src.Users = append(src.Users, policydata.User{Name: user(i), Policies: []string{team(i)}})
	}
	for i := range many / 10 {
		g := policydata.Group{Name: team(i), Policies: []string{team(i)}}
		for j := range 10 {
			g.Members = append(g.Members, user(i+1_000*j))
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

// changes are what people do to a fleet.
var changes = []struct {
	name string
	do   func(src *policydata.Source, path func(i int) string)
}{
	{"nothing", func(*policydata.Source, func(int) string) {}},
	{"user_added", func(src *policydata.Source, _ func(int) string) {
		src.Users = append(src.Users, policydata.User{Name: user(5_000) + "b", Policies: []string{team(17)}})
	}},
	{"user_removed", func(src *policydata.Source, _ func(int) string) {
		for i := range src.Groups {
			src.Groups[i].Members = slices.DeleteFunc(src.Groups[i].Members, func(m string) bool { return m == user(5_000) })
		}
		src.Users = slices.Delete(src.Users, 5_000, 5_001)
	}},
	{"member_added", func(src *policydata.Source, _ func(int) string) {
		src.Groups[500].Members = append(src.Groups[500].Members, user(4_321))
	}},
	{"policy_added_at_end", func(src *policydata.Source, path func(int) string) {
		src.Policies = append(src.Policies, allow(team(many), path(many)))
	}},
	{"policy_added_in_middle", func(src *policydata.Source, path func(int) string) {
		src.Policies = append(src.Policies, allow(team(5_000)+"b", path(5_000)), allow(team(5_000)+"c", "/other/"+team(1)+"/**"))
	}},
	{"policy_added_at_begin", func(src *policydata.Source, path func(int) string) {
		src.Policies = append(src.Policies, allow("a", path(3)))
	}},
	{"rule_changed", func(src *policydata.Source, _ func(int) string) {
		src.Policies[5_000].Rules[0].Methods = []string{"GET"}
	}},
	{"path_changed", func(src *policydata.Source, _ func(int) string) {
		src.Policies[5_000].Rules[0].Paths = []string{"/somewhere/else/*"}
	}},
	{"100_changes", func(src *policydata.Source, path func(int) string) {
		for i := range 25 {
			src.Users = append(src.Users, policydata.User{Name: user(i*391) + "b", Policies: []string{team(17 * i)}})
			src.Policies = append(src.Policies, allow(team(i*397)+"b", path(many+i)))
			src.Groups[i*29].Members = append(src.Groups[i*29].Members, user(4_321+i))
			src.Policies[i*353].Rules[0].Methods = []string{"GET"}
		}
	}},
}

// changed returns two snapshots: of a fleet, and after a change.
func changed(t testing.TB, s signer, path func(i int) string, do func(*policydata.Source, func(int) string)) (base, target []byte) {
	src := fleet(path)
	base = s.build(t, src)
	do(&src, path)
	src.Generation++
	src.Created++
	return base, s.build(t, src)
}

func TestFleets(t *testing.T) {
	s := newSigner(t)
	for _, f := range fleets {
		for _, c := range changes {
			t.Run(f.name+"/"+c.name, func(t *testing.T) {
				base, target := changed(t, s, f.path, c.do)
				body, err := delta.Make(base, target)
				if err != nil {
					t.Fatal(err)
				}
				got, err := delta.Apply(base, s.sign(t, body), s.verify)
				if err != nil || !bytes.Equal(got, target) {
					t.Fatalf("%d bytes of %d, %v", len(got), len(target), err)
				}
				t.Logf("%d bytes of %d", len(s.sign(t, body)), len(target))
			})
		}
	}
}

func BenchmarkDelta(b *testing.B) {
	s := newSigner(b)
	for _, f := range fleets {
		for _, c := range changes {
			base, target := changed(b, s, f.path, c.do)
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
		full := s.build(b, fleet(f.path))
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
