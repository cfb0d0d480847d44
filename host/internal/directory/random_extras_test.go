package directory_test

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
	"sallyport/policydata"
)

// extras is the model of what documents do not have: access keys, the keys that
// were fetched, and which set an entity belongs to.
type extras struct {
	accessKeys map[string]ownedKey
	withdrawn  []directory.Credentials
	fetched    map[string][]string // by issuer: the ids of the keys that it lists
	sets       map[model.Key]string
}

type ownedKey struct {
	directory.Credentials
	owner model.Key
}

func newExtras() *extras {
	return &extras{accessKeys: map[string]ownedKey{}, fetched: map[string][]string{}, sets: map[model.Key]string{}}
}

// operation runs one operation on them, or one on a relation, and returns the
// state that it makes of want, or its error.
func (x *extras) operation(t *testing.T, rng *rand.Rand, d *directory.Directory, want *model.State) (*model.State, error) {
	t.Helper()
	owner := model.Key{Kind: []model.Kind{model.KindUser, model.KindServiceAccount}[rng.IntN(2)], Name: randomName(rng)}
	switch rng.IntN(6) {
	case 0:
		creds, err := d.CreateCredentials(t.Context(), owner, directory.Options{})
		if err == nil {
			x.accessKeys[creds.AccessKeyID] = ownedKey{creds, owner}
		}
		return want, mayBe(t, err, directory.ErrNotFound)
	case 1:
		for _, id := range slices.Sorted(maps.Keys(x.accessKeys)) {
			key := x.accessKeys[id]
			_, err := d.DeleteCredentials(t.Context(), key.owner, id, directory.Options{})
			delete(x.accessKeys, id)
			x.withdrawn = append(x.withdrawn, key.Credentials)
			return want, mayBe(t, err)
		}
		return want, directory.ErrNotFound
	case 2:
		return want, x.fetch(t, rng, d, want)
	case 3, 4:
		return x.applySet(t, rng, d, want)
	}
	return randomRelation(t, rng, d, want)
}

// mayBe returns err and ends the test if it is an error that is not allowed.
func mayBe(t *testing.T, err error, allowed ...error) error {
	t.Helper()
	if err != nil && !slices.ContainsFunc(allowed, func(a error) bool { return errors.Is(err, a) }) {
		t.Fatal(err)
	}
	return err
}

// applySet applies some documents as a set.
func (x *extras) applySet(t *testing.T, rng *rand.Rand, d *directory.Directory, want *model.State) (*model.State, error) {
	t.Helper()
	chance := func() bool { return rng.IntN(3) == 0 }
	o := directory.Options{Set: []string{"s", "t"}[rng.IntN(2)], Implied: chance(), Prune: chance(), Force: chance()}
	described, sets, conflict := map[model.Key]bool{}, maps.Clone(x.sets), false
	list := make([]model.Entity, 1+rng.IntN(4))
	for i := range list {
		list[i] = randomEntity(rng)
		k := model.KeyOf(list[i])
		old, existed := want.Get(k)
		takes := !existed || x.sets[k] == "" && !old.Meta().Reserved || o.Force && !o.Implied
		conflict = conflict || !takes && !o.Implied && x.sets[k] != "" && x.sets[k] != o.Set
		if described[k] = true; takes {
			sets[k] = o.Set
		}
	}
	next := want.With(list)
	for _, e := range want.Entities() {
		if k := model.KeyOf(e); o.Prune && x.sets[k] == o.Set && !described[k] && (o.Force || !e.Meta().Reserved) {
			next = next.Without([]model.Key{k})
		}
	}
	_, err := d.Apply(t.Context(), list, o)
	if err == nil && conflict {
		t.Fatalf("%v of another set were taken: %+v", slices.Collect(maps.Keys(described)), o)
	}
	if err == nil {
		x.sets = sets
	} else if !errors.As(err, new(model.Problems)) {
		t.Fatal(err)
	}
	return next, err
}

func (x *extras) fetch(t *testing.T, rng *rand.Rand, d *directory.Directory, want *model.State) error {
	t.Helper()
	name := randomName(rng)
	got, ok := load(t, d).State.Get(model.Key{Kind: model.KindIssuer, Name: name})
	if _, wanted := want.Get(model.Key{Kind: model.KindIssuer, Name: name}); ok != wanted {
		t.Fatalf("issuer %q: is there: %v, want %v", name, ok, wanted)
	}
	if !ok || got.(*model.Issuer).KeySource() == "" {
		return directory.ErrNotFound
	}
	id := randomName(rng)
	_, _, err := d.SetIssuerKeys(t.Context(), directory.RefOf(got.(*model.Issuer)), []policydata.Key{{ID: id, Algorithm: "RS256", SPKI: []byte(id)}})
	x.fetched[name] = []string{id}
	return mayBe(t, err)
}

// randomRelation adds or removes one relation.
func randomRelation(t *testing.T, rng *rand.Rand, d *directory.Directory, want *model.State) (*model.State, error) {
	t.Helper()
	pairs := [][2]model.Kind{
		{model.KindUser, model.KindPolicy},
		{model.KindGroup, model.KindUser},
		{model.KindGroup, model.KindPolicy},
		{model.KindRole, model.KindPolicy},
		{model.KindRole, model.KindUser},
		{model.KindRole, model.KindGroup},
	}
	kinds, related := pairs[rng.IntN(len(pairs))], rng.IntN(2) == 0
	owner, target := model.Key{Kind: kinds[0], Name: randomName(rng)}, model.Key{Kind: kinds[1], Name: randomName(rng)}
	_, err := d.Relate(t.Context(), owner, target, related, directory.Options{Force: true})
	if err != nil {
		if !errors.Is(err, directory.ErrNotFound) && !errors.As(err, new(model.Problems)) {
			t.Fatal(err)
		}
		return want, err
	}
	e, ok := want.Get(owner)
	if !ok {
		t.Fatalf("%v is related, and is not there", owner)
	}
	return want.With([]model.Entity{withRelation(e, target, related)}), nil
}

func withRelation(e model.Entity, target model.Key, related bool) model.Entity {
	change := func(list []string) []string {
		list = slices.DeleteFunc(slices.Clone(list), func(n string) bool { return n == target.Name })
		if related {
			list = append(list, target.Name)
		}
		return list
	}
	switch e := e.(type) {
	case *model.User:
		c := *e
		c.Policies = change(c.Policies)
		return &c
	case *model.Group:
		c := *e
		if target.Kind == model.KindUser {
			c.Members = change(c.Members)
		} else {
			c.Policies = change(c.Policies)
		}
		return &c
	}
	c := *e.(*model.Role)
	switch target.Kind {
	case model.KindPolicy:
		c.Policies = change(c.Policies)
	case model.KindUser:
		c.Users = change(c.Users)
	default:
		c.Groups = change(c.Groups)
	}
	return &c
}

// follow takes from the model what goes with entities that are gone, or have
// their keys elsewhere.
func (x *extras) follow(before, after *model.State) {
	for id, key := range x.accessKeys {
		if _, ok := after.Get(key.owner); !ok {
			delete(x.accessKeys, id)
			x.withdrawn = append(x.withdrawn, key.Credentials)
		}
	}
	maps.DeleteFunc(x.sets, func(k model.Key, _ string) bool {
		_, ok := after.Get(k)
		return !ok
	})
	for name := range x.fetched {
		k := model.Key{Kind: model.KindIssuer, Name: name}
		old, _ := before.Get(k)
		now, ok := after.Get(k)
		if !ok || old == nil || old.(*model.Issuer).KeySource() != now.(*model.Issuer).KeySource() {
			delete(x.fetched, name)
		}
	}
}

// check compares the directory with the model, and its look-ups with its lists.
func (x *extras) check(t *testing.T, d *directory.Directory) {
	t.Helper()
	for id, key := range x.accessKeys {
		owner, err := d.Authenticate(t.Context(), id, key.Secret.Reveal())
		if owner != key.owner || err != nil {
			t.Fatalf("access key of %v: got %v and %v", key.owner, owner, err)
		}
	}
	for _, key := range x.withdrawn {
		if owner, err := d.Authenticate(t.Context(), key.AccessKeyID, key.Secret.Reveal()); !errors.Is(err, directory.ErrBadCredentials) {
			t.Fatalf("a withdrawn access key: got %v and %v", owner, err)
		}
	}
	state, count := load(t, d).State, 0
	for _, e := range state.Entities() {
		if k := model.KeyOf(e); k.Kind == model.KindUser || k.Kind == model.KindServiceAccount {
			keys, err := d.AccessKeys(t.Context(), k)
			if err != nil {
				t.Fatal(err)
			}
			count += len(keys)
		}
	}
	if count != len(x.accessKeys) {
		t.Fatalf("%d access keys are listed, want %d", count, len(x.accessKeys))
	}
	fetched := map[string][]string{}
	for name, set := range state.Keys {
		for _, k := range set.Keys {
			if k.Removed.IsZero() {
				fetched[name] = append(fetched[name], k.ID)
			}
		}
	}
	if diff := cmp.Diff(x.fetched, fetched); diff != "" {
		t.Fatalf("fetched keys (-want +got):\n%s", diff)
	}
	sets := map[model.Key]string{}
	for _, e := range state.Entities() {
		if e.Meta().Set != "" {
			sets[model.KeyOf(e)] = e.Meta().Set
		}
	}
	if diff := cmp.Diff(x.sets, sets); diff != "" {
		t.Fatalf("sets (-want +got):\n%s", diff)
	}
	checkFound(t, d, state)
}

// checkFound compares the look-ups of users with their list.
func checkFound(t *testing.T, d *directory.Directory, state *model.State) {
	t.Helper()
	for _, u := range state.Users {
		for field, same := range map[directory.UserField]func(*model.User) bool{
			directory.UserID:         func(v *model.User) bool { return v.ID == u.ID },
			directory.UserEmail:      func(v *model.User) bool { return strings.EqualFold(v.Email, u.Email) },
			directory.UserExternalID: func(v *model.User) bool { return v.ExternalID == u.ExternalID },
		} {
			var want []*model.User
			for _, v := range state.Users {
				if same(v) {
					want = append(want, v)
				}
			}
			got, err := d.FindUsers(t.Context(), field, []string{u.ID, strings.ToUpper(u.Email), u.ExternalID}[field])
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("field %d of %q: found %d users, want %d", field, u.Name, len(got), len(want))
			}
		}
	}
}
