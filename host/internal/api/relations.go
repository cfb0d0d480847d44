package api

import (
	"net/http"
	"slices"
	"strings"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
)

// relation is a list of an entity that has paths of its own.
type relation struct {
	owner   model.Kind
	segment string     // of the path
	target  model.Kind // what is listed
}

// relations are the lists that are written by paths of their own.
func relations() []relation {
	return []relation{
		{model.KindUser, "policies", model.KindPolicy},
		{model.KindGroup, "members", model.KindUser},
		{model.KindGroup, "policies", model.KindPolicy},
		{model.KindRole, "policies", model.KindPolicy},
		{model.KindRole, "users", model.KindUser},
		{model.KindRole, "groups", model.KindGroup},
	}
}

// inverses are the lists that follow from these, and are read only.
func inverses() []relation {
	return []relation{
		{model.KindUser, "groups", model.KindGroup},
		{model.KindUser, "roles", model.KindRole},
		{model.KindGroup, "roles", model.KindRole},
		{model.KindPolicy, "users", model.KindUser},
		{model.KindPolicy, "groups", model.KindGroup},
		{model.KindPolicy, "roles", model.KindRole},
	}
}

// Reference names an entity.
type Reference struct {
	Kind model.Kind `json:"kind"`
	Name string     `json:"name"`
	// From says what gives an effective policy: the user itself, a group or a
	// role of the user.
	From []Reference `json:"from,omitempty"`
}

func (r Reference) key() model.Key { return model.Key{Kind: r.Kind, Name: r.Name} }

// addRelations adds the routes of relations.
func (a *api) addRelations(mux *http.ServeMux) {
	for _, rel := range relations() {
		path := "/" + rel.owner.Collection() + "/{name}/" + rel.segment
		a.resource(mux, path, methods{http.MethodGet: a.listRelated(rel, func(_ *model.State, e model.Entity) []string {
			names, _ := directory.Related(e, rel.target)
			return names
		})})
		a.resource(mux, path+"/{other}", methods{
			http.MethodGet:    a.getRelated(rel),
			http.MethodPut:    a.relate(rel, true),
			http.MethodDelete: a.relate(rel, false),
		})
	}
	for _, rel := range inverses() {
		path := "/" + rel.owner.Collection() + "/{name}/" + rel.segment
		a.resource(mux, path, methods{http.MethodGet: a.listRelated(rel, func(s *model.State, e model.Entity) []string {
			return listing(s, rel.target, model.KeyOf(e))
		})})
	}
}

// listing returns the names of the entities of a kind that list k.
func listing(s *model.State, kind model.Kind, k model.Key) (names []string) {
	for e := range s.From(kind, "") {
		if list, _ := directory.Related(e, k.Kind); lists(list, k.Name) {
			names = append(names, e.Meta().Name)
		}
	}
	return names
}

// lists reports whether a name is in a list of an entity, which is sorted.
func lists(list []string, name string) bool {
	_, found := slices.BinarySearch(list, name)
	return found
}

// listRelated answers a page of what names returns for the entity of the path.
func (a *api) listRelated(rel relation, names func(*model.State, model.Entity) []string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		more := []string{}
		if rel.target == model.KindPolicy {
			more = append(more, "effective")
		}
		q, values, err := readPage(r, more...)
		if err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		effective, err := boolIn(values, "effective")
		if err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		state, e, ok := a.owner(w, r, rel)
		if !ok {
			return
		}
		list := []Reference{}
		if effective {
			list = effectivePolicies(state, e)
		} else {
			for _, n := range names(state, e) {
				list = append(list, Reference{Kind: rel.target, Name: n})
			}
		}
		writeJSON(w, cut(list, q, func(r Reference) string { return r.Name }, func(r Reference) Reference { return r }))
	}
}

// owner returns the entity that a relation's path begins with; it answers where
// there is none.
func (a *api) owner(w http.ResponseWriter, r *http.Request, rel relation) (*model.State, model.Entity, bool) {
	name, err := nameIn(r, "name")
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return nil, nil, false
	}
	state, ok := a.state(w, r)
	if !ok {
		return nil, nil, false
	}
	k := model.Key{Kind: rel.owner, Name: name}
	e, ok := state.Get(k)
	if !ok {
		a.failWrite(w, notFoundError(k))
		return nil, nil, false
	}
	return state, e, true
}

// effectivePolicies returns the policies of a user, group or role with where each
// comes from: itself, its groups, its roles and those of its groups. What a
// token adds is not in the store.
func effectivePolicies(s *model.State, e model.Entity) []Reference {
	from := []Reference{{Kind: e.Kind(), Name: e.Meta().Name}}
	if e.Kind() == model.KindUser {
		for _, g := range listing(s, model.KindGroup, model.KeyOf(e)) {
			from = append(from, Reference{Kind: model.KindGroup, Name: g})
		}
	}
	for _, source := range from {
		if source.Kind == model.KindRole {
			continue
		}
		for _, role := range listing(s, model.KindRole, source.key()) {
			if ref := (Reference{Kind: model.KindRole, Name: role}); !slices.ContainsFunc(from, ref.same) {
				from = append(from, ref)
			}
		}
	}
	byPolicy := map[string][]Reference{}
	for _, source := range from {
		owner, _ := s.Get(source.key())
		policies, _ := directory.Related(owner, model.KindPolicy)
		for _, p := range policies {
			byPolicy[p] = append(byPolicy[p], source)
		}
	}
	list := make([]Reference, 0, len(byPolicy))
	for p, sources := range byPolicy {
		list = append(list, Reference{Kind: model.KindPolicy, Name: p, From: sources})
	}
	slices.SortFunc(list, func(a, b Reference) int { return strings.Compare(a.Name, b.Name) })
	return list
}

func (r Reference) same(other Reference) bool { return r.Kind == other.Kind && r.Name == other.Name }

// getRelated answers whether there is a relation: with its target, or 404.
func (a *api) getRelated(rel relation) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, other, ok := names(w, r)
		if !ok {
			return
		}
		if _, err := readQuery(r); err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		_, e, ok := a.owner(w, r, rel)
		if !ok {
			return
		}
		if list, _ := directory.Related(e, rel.target); !lists(list, other) {
			a.failWrite(w, notFoundError(model.Key{Kind: rel.target, Name: other}))
			return
		}
		tag, err := etagOf(e)
		if err != nil {
			a.failRead(w, err)
			return
		}
		w.Header().Set("ETag", tag)
		writeJSON(w, Reference{Kind: rel.target, Name: other})
	}
}

// relate has an entity in a list of another, or not. A relation is a part of its
// owner, whose ETag it has: preconditions are about that.
func (a *api) relate(rel relation, related bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name, other, ok := names(w, r)
		if !ok {
			return
		}
		o, err := a.writeOptions(r)
		if err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		owner, target := model.Key{Kind: rel.owner, Name: name}, model.Key{Kind: rel.target, Name: other}
		track := tracked{key: owner, existed: true}
		track.watch(&o, r.Header)
		result, err := a.Directory.Relate(r.Context(), owner, target, related, o)
		if err != nil {
			a.failWrite(w, err)
			return
		}
		if err := track.answer(w); err != nil {
			a.failWrite(w, err)
			return
		}
		writeJSON(w, a.committed(r, result))
	}
}
