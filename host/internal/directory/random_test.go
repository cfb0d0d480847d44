package directory_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
	"sallyport/host/internal/store"
	"sallyport/host/internal/store/bolt"
	"sallyport/host/internal/store/mem"
	"sallyport/host/internal/store/storetest"
	"sallyport/policydata"
)

// TestRandomOperations runs random writes and compares what the directory says
// with model.State and maps alone, what it keeps in memory with what it reads
// anew, and checks that nothing in the store dangles. Half of the runs are on a
// store that promises no more than it must.
func TestRandomOperations(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			var s store.Store = mem.New()
			if seed%2 == 1 {
				s = storetest.NewOptimistic()
			}
			d := reopen(s)
			want, extras := &model.State{}, newExtras()
			accepted := 0
			for range 150 {
				var next *model.State
				var err error
				if rng.IntN(3) == 0 {
					next, err = extras.operation(t, rng, d, want)
				} else {
					next, err = randomOperation(t, rng, d, want)
				}
				if err == nil {
					extras.follow(want, next)
					want, accepted = next, accepted+1
				}
				extras.check(t, d)
				checkStore(t, s)
				got := load(t, d).State
				if diff := cmp.Diff(withoutIDs(want), withoutIDs(got)); diff != "" {
					t.Fatalf("state (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(revokedSet(want), revokedSet(got)); diff != "" {
					t.Fatalf("revoked (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(got, load(t, reopen(s)).State); diff != "" {
					t.Fatalf("in memory and in the store (-memory +store):\n%s", diff)
				}
			}
			if accepted < 20 {
				t.Errorf("only %d operations were accepted", accepted)
			}
		})
	}
}

func revokedSet(s *model.State) map[policydata.RevokedToken]bool {
	set := map[policydata.RevokedToken]bool{}
	for _, r := range s.Revoked {
		set[r] = true
	}
	return set
}

func withoutIDs(s *model.State) []model.Entity {
	all := (&model.State{}).With(s.Entities()).Entities()
	for _, e := range all {
		e.Meta().ID, e.Meta().Set = "", ""
	}
	return all
}

// randomOperation runs one operation and returns the state that it makes of
// want, or its error.
func randomOperation(t *testing.T, rng *rand.Rand, d *directory.Directory, want *model.State) (*model.State, error) {
	t.Helper()
	switch rng.IntN(12) {
	case 1, 2, 3:
		kinds := model.Kinds()
		k := model.Key{Kind: kinds[rng.IntN(len(kinds))], Name: randomName(rng)}
		_, err := d.Delete(t.Context(), k, directory.Options{Force: true})
		if err != nil && !errors.Is(err, directory.ErrNotFound) && !errors.Is(err, directory.ErrInUse) {
			t.Fatal(err)
		}
		return want.Without([]model.Key{k}), err
	case 10:
		return randomRevocation(t, rng, d, want)
	case 11:
		if n := len(want.Revoked); n > 0 {
			i := rng.IntN(n)
			next := *want
			next.Revoked = slices.Delete(slices.Clone(want.Revoked), i, i+1)
			_, err := d.Unrevoke(t.Context(), want.Revoked[i].Issuer, want.Revoked[i].ID, directory.Options{})
			return &next, err
		}
	}
	docs := make([]model.Entity, 1+rng.IntN(4))
	for i := range docs {
		docs[i] = randomEntity(rng)
	}
	_, err := d.Apply(t.Context(), docs, directory.Options{Force: true})
	var problems model.Problems
	if err != nil && !errors.As(err, &problems) {
		t.Fatal(err)
	}
	return want.With(docs), err
}

func randomRevocation(t *testing.T, rng *rand.Rand, d *directory.Directory, want *model.State) (*model.State, error) {
	t.Helper()
	r := policydata.RevokedToken{Issuer: randomName(rng), ID: randomName(rng), Expires: testTime.Unix() + rng.Int64N(3600)}
	_, err := d.Revoke(t.Context(), r)
	if err != nil && !errors.Is(err, directory.ErrNotFound) {
		t.Fatal(err)
	}
	next := *want
	next.Revoked = slices.Clone(want.Revoked)
	same := func(x policydata.RevokedToken) bool { return x.Issuer == r.Issuer && x.ID == r.ID }
	if i := slices.IndexFunc(next.Revoked, same); i >= 0 {
		next.Revoked[i].Expires = max(next.Revoked[i].Expires, r.Expires)
	} else {
		next.Revoked = append(next.Revoked, r)
	}
	return &next, err
}

func randomName(rng *rand.Rand) string { return []string{"a", "a!", "b", "ä", "a b"}[rng.IntN(5)] }

func randomNames(rng *rand.Rand) []string {
	if rng.IntN(2) == 0 {
		return nil
	}
	return []string{randomName(rng)}
}

func randomEntity(rng *rand.Rand) model.Entity {
	kinds := model.Kinds()
	e := model.New(kinds[rng.IntN(len(kinds))])
	*e.Meta() = model.Metadata{Name: randomName(rng), Reserved: rng.IntN(4) == 0, Description: randomName(rng)}
	switch e := e.(type) {
	case *model.User:
		e.Disabled, e.Policies = rng.IntN(2) == 0, randomNames(rng)
		e.TokensNotBefore = time.Unix(1+rng.Int64N(1e9), 0)
		e.Email, e.ExternalID = randomName(rng), randomName(rng)
	case *model.Group:
		e.Members, e.Policies = randomNames(rng), randomNames(rng)
	case *model.Policy:
		e.Rules = []model.Rule{{Effect: model.Deny, Methods: []string{"GET"}, Paths: []string{"/" + fmt.Sprint(rng.IntN(3))}}}
	case *model.Role:
		e.Governing, e.Policies = rng.IntN(3) == 0, randomNames(rng)
		if !e.Governing {
			e.Users, e.Groups = randomNames(rng), randomNames(rng)
		}
	case *model.ServiceAccount:
		e.Role = randomName(rng)
		if rng.IntN(2) == 0 {
			e.Identities = []model.Identity{{Issuer: randomName(rng), Client: "c" + e.Name}}
		}
		if rng.IntN(2) == 0 {
			e.Delegation = []model.Delegation{{Role: randomName(rng), Users: append(randomNames(rng), "*"), Groups: randomNames(rng)}}
		}
	case *model.Issuer:
		e.Issuer, e.Audiences, e.Algorithms = "https://"+e.Name, []string{"a"}, []string{"RS256"}
		e.JWKS.Inline, e.ShareNames = []byte(`{"keys":[]}`), true
		if rng.IntN(3) == 0 {
			e.Claims.Client = nil
		}
		if rng.IntN(2) == 0 {
			e.JWKS.Inline, e.JWKS.URI = nil, "https://keys/"+randomName(rng)
		}
	}
	return e
}

func TestOnBolt(t *testing.T) {
	dir := t.TempDir()
	open := func() *bolt.Store {
		s, err := bolt.Open(dir, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	d := reopen(s)
	creds, err := d.EnsureAdmin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	apply(t, d, library)
	want := load(t, d)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open()
	t.Cleanup(func() {
		checkStore(t, s)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if diff := cmp.Diff(want, load(t, reopen(s))); diff != "" {
		t.Errorf("after reopening (-want +got):\n%s", diff)
	}
	if user, err := reopen(s).Authenticate(t.Context(), creds.AccessKeyID, creds.Secret.Reveal()); user.Name != "admin" || err != nil {
		t.Errorf("got %q and %v", user, err)
	}
}

// large is 10,000 users in 1,000 groups with 1,000 policies.
func large() []model.Entity {
	var all []model.Entity
	for i := range 1000 {
		policy, group := fmt.Sprintf("p%d", i), &model.Group{Metadata: model.Metadata{Name: fmt.Sprintf("g%d", i)}}
		all = append(all, &model.Policy{
			Metadata: model.Metadata{Name: policy},
			Rules:    []model.Rule{{Effect: model.Allow, Methods: []string{"*"}, Paths: []string{"/ws/" + policy + "/**"}, When: "true"}},
		})
		group.Policies = []string{policy}
		for j := range 10 {
			user := fmt.Sprintf("u%d-%d", i, j)
			all = append(all, &model.User{Metadata: model.Metadata{Name: user}, Email: user + "@example.org"})
			group.Members = append(group.Members, user)
		}
		all = append(all, group)
	}
	return all
}

func BenchmarkLarge(b *testing.B) {
	open := func(b *testing.B) (*directory.Directory, store.Store) {
		s, err := bolt.Open(b.TempDir(), time.Second)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			if err := s.Close(); err != nil {
				b.Error(err)
			}
		})
		return reopen(s), s
	}
	applyAll := func(b *testing.B, d *directory.Directory, docs []model.Entity) {
		if _, err := d.Apply(b.Context(), docs, directory.Options{}); err != nil {
			b.Fatal(err)
		}
	}
	docs := large()
	b.Run("first apply", func(b *testing.B) {
		for b.Loop() {
			d, _ := open(b)
			applyAll(b, d, docs)
		}
	})
	d, s := open(b)
	applyAll(b, d, docs)
	b.Run("apply of the same", func(b *testing.B) {
		for b.Loop() {
			applyAll(b, d, docs)
		}
	})
	b.Run("one write", func(b *testing.B) {
		i := 0
		for b.Loop() {
			i++
			applyAll(b, d, []model.Entity{&model.User{Metadata: model.Metadata{Name: "u1-1", Description: fmt.Sprint(i)}}})
		}
	})
	b.Run("cold load", func(b *testing.B) {
		for b.Loop() {
			if _, err := reopen(s).Load(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("warm load", func(b *testing.B) {
		for b.Loop() {
			if _, err := d.Load(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
