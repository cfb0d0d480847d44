package compile_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"sallyport/host/internal/compile"
	"sallyport/host/internal/model"
)

// A compiler that has seen all generations makes of each the bytes that one
// makes that was just started: hosts on one store agree.
func TestBodyDependsOnTheStateAlone(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	state, running := crowd(50), compile.New()
	for generation := range uint64(60) {
		state = edited(r, state, generation)
		v := compile.Version{Epoch: 1, Generation: generation}
		want, err := compile.New().Body(state, v)
		if err != nil {
			t.Fatal(err)
		}
		got, err := running.Body(state, v)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("generation %d: the bytes depend on the generations before", generation)
		}
	}
}

// edited returns a state in which a few things are other than in s.
func edited(r *rand.Rand, s *model.State, generation uint64) *model.State {
	meta := func(e model.Entity) model.Metadata { return model.Metadata{Name: e.Meta().Name} }
	user := s.Users[r.IntN(len(s.Users))]
	group := s.Groups[r.IntN(len(s.Groups))]
	policy := s.Policies[r.IntN(len(s.Policies))]
	switch r.IntN(5) {
	case 0:
		return s.With([]model.Entity{&model.User{Metadata: meta(user), Disabled: !user.Disabled, Policies: []string{policy.Name}}})
	case 1:
		return s.With([]model.Entity{&model.Group{Metadata: meta(group), Members: []string{user.Name}}})
	case 2:
		return s.With([]model.Entity{&model.Policy{Metadata: meta(policy), Rules: []model.Rule{{
			Effect: model.Deny, Methods: []string{"GET"}, Paths: []string{fmt.Sprintf("/new/%d/{x}", generation)},
			When: fmt.Sprintf("path.x == %q", group.Name),
		}}}})
	case 3:
		name := model.Metadata{Name: fmt.Sprintf("new-%d", generation)}
		return s.With([]model.Entity{&model.User{Metadata: name}, &model.Role{Metadata: name, Users: []string{user.Name}, Claims: []string{name.Name}}})
	}
	return s.Without([]model.Key{model.KeyOf(user), model.KeyOf(group), model.KeyOf(policy)})
}
