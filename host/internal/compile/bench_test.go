package compile_test

import (
	"fmt"
	"testing"

	"sallyport/host/internal/compile"
	"sallyport/host/internal/model"
	"sallyport/policydata"
)

// crowd is a state of groups with ten users and a policy each.
func crowd(groups int) *model.State {
	var all []model.Entity
	for i := range groups {
		policy := fmt.Sprintf("policy-%05d", i)
		group := &model.Group{Metadata: model.Metadata{Name: fmt.Sprintf("group-%05d", i)}, Policies: []string{policy}}
		for j := range 10 {
			name := fmt.Sprintf("user-%06d", 10*i+j)
			all = append(all, &model.User{Metadata: model.Metadata{Name: name}})
			group.Members = append(group.Members, name)
		}
		all = append(all, group, &model.Policy{Metadata: model.Metadata{Name: policy}, Rules: []model.Rule{{
			Effect: model.Allow, Methods: []string{"*"}, Paths: []string{"/workspaces/" + policy + "/**"}, When: `request.method != "TRACE"`,
		}}})
	}
	return (&model.State{}).With(all)
}

// BenchmarkBody compiles one generation after the other, between which one user
// changes.
func BenchmarkBody(b *testing.B) {
	for _, times := range []int{1, 10} {
		b.Run(fmt.Sprintf("users=%d", times*10_000), func(b *testing.B) {
			state, c := crowd(1000*times), compile.New()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				user := *state.Users[i%len(state.Users)]
				user.Disabled = !user.Disabled
				state = state.With([]model.Entity{&user})
				body, err := c.Body(state, compile.Version{Epoch: 1, Generation: uint64(i)})
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(len(body)), "bytes")
			}
		})
	}
}

// BenchmarkLoad validates what a filter would.
func BenchmarkLoad(b *testing.B) {
	for _, times := range []int{1, 10} {
		b.Run(fmt.Sprintf("users=%d", times*10_000), func(b *testing.B) {
			body, err := compile.New().Body(crowd(1000*times), compile.Version{Epoch: 1, Generation: 1})
			if err != nil {
				b.Fatal(err)
			}
			signed := policydata.AppendSignature(body, "k", nil)
			for b.Loop() {
				if _, err := policydata.Load(signed, func(_, _ []byte) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
