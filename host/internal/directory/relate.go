package directory

import (
	"context"
	"fmt"
	"slices"

	"sallyport/host/internal/model"
)

// Relate adds the target to the list of the owner that holds targets of its
// kind, such as a Policy to a User's, or takes it out. What is as it should be
// is no change. The error is ErrNotFound if there is no such owner or target, or
// no such relation to take out, and as that of Apply otherwise.
func (d *Directory) Relate(ctx context.Context, owner, target model.Key, related bool, o Options) (Result, error) {
	return d.write(ctx, o, func(s *model.State) ([]model.Entity, error) {
		for _, k := range []model.Key{owner, target} {
			if !has(s, k) {
				return nil, fmt.Errorf("%s %q: %w", k.Kind, k.Name, ErrNotFound)
			}
		}
		e, _ := s.Get(owner)
		e = shallowCopy(e)
		list, ok := relationTo(e, target.Kind)
		if !ok {
			return nil, fmt.Errorf("%s of a %s: %w", target.Kind.Collection(), owner.Kind, ErrNotFound)
		}
		there := slices.Contains(*list, target.Name)
		switch {
		case related && !there:
			*list = append(slices.Clone(*list), target.Name)
		case !related && there:
			*list = slices.DeleteFunc(slices.Clone(*list), func(n string) bool { return n == target.Name })
		case !related:
			return nil, fmt.Errorf("%s %q of %s %q: %w", target.Kind, target.Name, owner.Kind, owner.Name, ErrNotFound)
		}
		return []model.Entity{e}, nil
	})
}

// Related returns the names that e lists of a kind; it is not ok if it has no
// such list.
func Related(e model.Entity, kind model.Kind) (names []string, ok bool) {
	list, ok := relationTo(e, kind)
	if !ok {
		return nil, false
	}
	return *list, true
}

func relationTo(e model.Entity, kind model.Kind) (*[]string, bool) {
	for _, r := range relations(e) {
		if r.kind == kind {
			return r.names, true
		}
	}
	return nil, false
}
