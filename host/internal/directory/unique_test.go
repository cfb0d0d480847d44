package directory_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
	"sallyport/host/internal/store/mem"
)

// TestWhatUsersAreFoundByIsTakenOnce compares what the directory says, which
// looks at users that its index finds, with a look at all of them.
func TestWhatUsersAreFoundByIsTakenOnce(t *testing.T) {
	r, d := rand.New(rand.NewPCG(3, 3)), reopen(mem.New())
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	accepted, refused := 0, 0
	for range 400 {
		var docs []model.Entity
		named := map[string]bool{}
		for range 1 + r.IntN(3) {
			name := pick("a", "b", "c", "d", "e", "f")
			if !named[name] {
				docs = append(docs, &model.User{
					Metadata: model.Metadata{Name: name, Description: fmt.Sprint(r.Int())},
					Email:    pick("", "x@example.org", "X@example.org", "y@example.org", "z@example.org"), ExternalID: pick("", "1", "2", "3"),
				})
			}
			named[name] = true
		}
		o := directory.Options{Set: "all", Prune: r.IntN(4) == 0}
		next := load(t, d).State.With(docs)
		if o.Prune {
			next = next.Without(directory.Undescribed(next, docs, o.Set, false))
		}
		want := next.Check(docs, model.Checks{})
		_, err := d.Apply(t.Context(), docs, o)
		if diff := cmp.Diff(fmt.Sprint(want), fmt.Sprint(err)); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
		if err == nil {
			accepted++
		} else {
			refused++
		}
	}
	if accepted == 0 || refused == 0 {
		t.Errorf("%d accepted, %d refused: the test shows nothing", accepted, refused)
	}
}
