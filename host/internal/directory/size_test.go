package directory_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
)

// TestAStateOfWhichNoSnapshotCanBeMadeIsRefused has states whose size is their
// number of users, and a bound that is ten times that.
func TestAStateOfWhichNoSnapshotCanBeMadeIsRefused(t *testing.T) {
	d, s := newDirectory(t)
	measured := 0
	sizes := directory.Sizes{
		Limit: 60,
		Exact: func(s *model.State) (size, growth int, err error) {
			measured++
			if len(s.Users) > 25 {
				return 0, 0, errors.New("more than there is room for")
			}
			return len(s.Users) + len(s.Revoked), len(s.Users), nil
		},
		Bound: func(model.Entity) int { return 10 },
	}
	d.LimitSize(sizes)
	add := func(d *directory.Directory, name string) error {
		_, err := d.Apply(t.Context(), []model.Entity{&model.User{Metadata: model.Metadata{Name: name}}}, directory.Options{})
		return err
	}
	for i := range 25 {
		if err := add(d, fmt.Sprintf("u%02d", i)); err != nil {
			t.Fatalf("user %d: %v", i, err)
		}
	}
	if measured == 0 || measured == 25 {
		t.Errorf("measured %d times in 25 writes", measured)
	}
	d = reopen(s) // whose bound is not known
	d.LimitSize(sizes)
	before := load(t, d)
	for range 2 {
		if err := add(d, "one too many"); !errors.Is(err, directory.ErrTooLarge) || !strings.Contains(err.Error(), "room for") {
			t.Errorf("got %v, want ErrTooLarge", err)
		}
	}
	if after := load(t, d); after.Generation != before.Generation || len(after.State.Users) != 25 {
		t.Errorf("generation %d after %d, %d users", after.Generation, before.Generation, len(after.State.Users))
	}
	if _, err := d.Delete(t.Context(), model.Key{Kind: model.KindUser, Name: "u03"}, directory.Options{}); err != nil {
		t.Errorf("making room: %v", err)
	}
	if err := add(d, "fits"); err != nil {
		t.Errorf("with room: %v", err)
	}
}
