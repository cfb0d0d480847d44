package compile_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"sallyport/host/internal/compile"
	"sallyport/host/internal/model"
)

// TestTheBoundOfAnEntityIsOne adds random entities, with what is large for its
// text, and wants no snapshot to be larger than the one that was measured last with
// what its tables may grow by and the bounds of what came since.
func TestTheBoundOfAnEntityIsOne(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	c := compile.New()
	sizes := c.Sizes()
	state := &model.State{}
	bound := 0
	for i := range 160 {
		e := grown(rng, i)
		next := state.With([]model.Entity{e})
		after, growth, err := sizes.Exact(next)
		if err != nil {
			t.Fatalf("%+v: %v", e, err)
		}
		if bound += sizes.Bound(e); after > bound && i > 0 {
			t.Errorf("%s %d: %d bytes, and the bound is %d", e.Kind(), i, after, bound)
		}
		if i%20 == 0 {
			bound = after + growth
		}
		state = next
	}
}

// grown returns an entity that refers to earlier ones.
func grown(rng *rand.Rand, i int) model.Entity {
	name := model.Metadata{Name: fmt.Sprint(i)}
	refs := func(kind int) (names []string) {
		for k := kind; k < i; k += 4 {
			if rng.IntN(3) == 0 {
				names = append(names, fmt.Sprint(k))
			}
		}
		return names
	}
	switch i % 4 {
	case 0:
		p := &model.Policy{Metadata: name}
		for range 1 + rng.IntN(5) {
			r := model.Rule{Effect: model.Allow, Methods: []string{"GET", "X" + fmt.Sprint(rng.IntN(9))}}
			for n := range 1 + rng.IntN(20) {
				r.Paths = append(r.Paths, fmt.Sprintf("/%d", n)+strings.Repeat(fmt.Sprintf("/%c", 'a'+rng.IntN(9)), rng.IntN(60)))
			}
			for n := range rng.IntN(20) {
				r.Hosts = append(r.Hosts, fmt.Sprintf("h%d.example.org", n))
			}
			if rng.IntN(2) == 0 {
				r.When = "1<2" + strings.Repeat("&&1<2", rng.IntN(10))
			}
			p.Rules = append(p.Rules, r)
		}
		return p
	case 1:
		return &model.User{Metadata: name, Policies: refs(0)}
	case 2:
		return &model.Group{Metadata: name, Members: refs(1), Policies: refs(0)}
	}
	return &model.Role{Metadata: name, Policies: refs(0), Users: refs(1), Groups: refs(2), Claims: []string{"c" + name.Name}}
}

// What can be doubled is the smaller part of a snapshot, so that only a state
// near the limit is measured at each write.
func TestTablesAreTheSmallerPart(t *testing.T) {
	state := &model.State{}
	for i := range 3000 {
		name := fmt.Sprintf("policy-%05d", i)
		state.Policies = append(state.Policies, &model.Policy{
			Metadata: model.Metadata{Name: name},
			Rules:    []model.Rule{{Effect: model.Allow, Methods: []string{"*"}, Paths: []string{"/workspaces/" + name + "/**"}}},
		})
		state.Users = append(state.Users, &model.User{Metadata: model.Metadata{Name: name}, Policies: []string{name}})
	}
	size, growth, err := compile.New().Sizes().Exact(state)
	if err != nil || growth == 0 || growth > size/4 {
		t.Errorf("%d bytes, of which %d are tables: %v", size, growth, err)
	}
}
