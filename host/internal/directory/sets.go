package directory

import (
	"fmt"
	"reflect"

	"sallyport/host/internal/model"
)

// DefaultSet is the set of documents whose writer names none.
const DefaultSet = "default"

// claims returns the keys of what docs take into their set: what they create, and
// what they name and no set has. What another set has is theirs only by force. If
// the set is but implied, that stays where it is instead, so that what was
// exported can be applied again; without force a problem names both sets.
//
// What is reserved is taken only by force and where the set was named: a set that
// has it can delete it.
func (o *Options) claims(prev *model.State, docs []model.Entity) (keys []model.Key, problems model.Problems) {
	if o.Set == "" {
		return nil, nil
	}
	for _, e := range docs {
		k := model.KeyOf(e)
		old, existed := prev.Get(k)
		switch {
		case !existed:
			keys = append(keys, k)
		case old.Meta().Set == o.Set:
		case old.Meta().Set == "" && !old.Meta().Reserved, o.Force && !o.Implied:
			keys = append(keys, k)
		case old.Meta().Set != "" && !o.Implied:
			problems = append(problems, model.Problem{
				Kind: k.Kind, Name: k.Name, Field: "metadata.name",
				Text: fmt.Sprintf("belongs to set %q, and these documents are set %q: only force moves it", old.Meta().Set, o.Set),
			})
		}
	}
	return keys, problems
}

// Undescribed returns the keys of what belongs to a set and is not in docs: what
// pruning deletes. What is reserved is in it by force only.
func Undescribed(s *model.State, docs []model.Entity, set string, force bool) []model.Key {
	if set == "" {
		return nil
	}
	described := make(map[model.Key]bool, len(docs))
	for _, e := range docs {
		described[model.KeyOf(e)] = true
	}
	var keys []model.Key
	for _, e := range s.Entities() {
		if k := model.KeyOf(e); e.Meta().Set == set && !described[k] && (force || !e.Meta().Reserved) {
			keys = append(keys, k)
		}
	}
	return keys
}

// sameContent reports whether all but the sets of two entities is the same.
func sameContent(a, b model.Entity) bool {
	moved := shallowCopy(a)
	moved.Meta().Set = b.Meta().Set
	return reflect.DeepEqual(moved, b)
}
