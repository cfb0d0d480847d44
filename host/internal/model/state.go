package model

import (
	"iter"
	"maps"
	"reflect"
	"slices"
	"strings"

	"sallyport/policydata"
)

// State is all entities with their relations. Each list is sorted by name, and
// in the entities each list of references is. A State and what it holds must not
// be modified.
type State struct {
	Users    []*User
	Groups   []*Group
	Policies []*Policy
	Roles    []*Role
	Services []*ServiceAccount
	Issuers  []*Issuer

	// Revoked are the tokens that are refused before they expire, in the order
	// of issuer and id. Documents have none; of an issuer that goes, they go.
	Revoked []policydata.RevokedToken
	// Keys are the fetched keys by the names of their Issuers. A state that was
	// made by With or Without has none until it is committed.
	Keys map[string]*IssuerKeys
}

// Key names an entity.
type Key struct {
	Kind Kind
	Name string
}

// KeyOf returns the key of e.
func KeyOf(e Entity) Key { return Key{e.Kind(), e.Meta().Name} }

// Get returns the entity of this kind and name.
func (s *State) Get(k Key) (Entity, bool) {
	switch k.Kind {
	case KindUser:
		return find(s.Users, k.Name)
	case KindGroup:
		return find(s.Groups, k.Name)
	case KindPolicy:
		return find(s.Policies, k.Name)
	case KindRole:
		return find(s.Roles, k.Name)
	case KindServiceAccount:
		return find(s.Services, k.Name)
	case KindIssuer:
		return find(s.Issuers, k.Name)
	}
	return nil, false
}

// position returns where in a list of a State a name is, or would be.
func position[E Entity](list []E, name string) (int, bool) {
	return slices.BinarySearchFunc(list, name, func(e E, name string) int {
		return strings.Compare(e.Meta().Name, name)
	})
}

func find[E Entity](list []E, name string) (Entity, bool) {
	i, ok := position(list, name)
	if !ok {
		return nil, false
	}
	return list[i], true
}

// Of returns the entities of a kind, sorted by name.
func (s *State) Of(k Kind) []Entity {
	switch k {
	case KindUser:
		return appendAll(nil, s.Users)
	case KindGroup:
		return appendAll(nil, s.Groups)
	case KindPolicy:
		return appendAll(nil, s.Policies)
	case KindRole:
		return appendAll(nil, s.Roles)
	case KindServiceAccount:
		return appendAll(nil, s.Services)
	case KindIssuer:
		return appendAll(nil, s.Issuers)
	}
	return nil
}

// From returns the entities of a kind whose names are not below name, in their
// order. Unlike Of it costs what is taken of it.
func (s *State) From(k Kind, name string) iter.Seq[Entity] {
	switch k {
	case KindUser:
		return from(s.Users, name)
	case KindGroup:
		return from(s.Groups, name)
	case KindPolicy:
		return from(s.Policies, name)
	case KindRole:
		return from(s.Roles, name)
	case KindServiceAccount:
		return from(s.Services, name)
	case KindIssuer:
		return from(s.Issuers, name)
	}
	return func(func(Entity) bool) {}
}

func from[E Entity](list []E, name string) iter.Seq[Entity] {
	i, _ := position(list, name)
	return func(yield func(Entity) bool) {
		for _, e := range list[i:] {
			if !yield(e) {
				return
			}
		}
	}
}

// Entities returns all entities, sorted by kind (in the order of Kinds) and name.
func (s *State) Entities() []Entity {
	all := make([]Entity, 0, len(s.Users)+len(s.Groups)+len(s.Policies)+len(s.Roles)+len(s.Services)+len(s.Issuers))
	all = appendAll(all, s.Policies)
	all = appendAll(all, s.Users)
	all = appendAll(all, s.Groups)
	all = appendAll(all, s.Roles)
	all = appendAll(all, s.Services)
	return appendAll(all, s.Issuers)
}

func appendAll[E Entity](all []Entity, list []E) []Entity {
	for _, e := range list {
		all = append(all, e)
	}
	return all
}

// With returns the state with entities added, each in place of the one with its
// kind and name; of several with one name the last counts. An entity that says
// what the one in s says is left as it is, and one that takes another's place
// takes its ID and its set; a new one has none yet.
func (s *State) With(entities []Entity) *State {
	return &State{
		Users:    merge(s.Users, entities),
		Groups:   merge(s.Groups, entities),
		Policies: merge(s.Policies, entities),
		Roles:    merge(s.Roles, entities),
		Services: merge(s.Services, entities),
		Issuers:  merge(s.Issuers, entities),
		Revoked:  s.Revoked,
	}
}

func merge[E Entity](list []E, entities []Entity) []E {
	put := map[string]E{}
	for _, e := range entities {
		if typed, ok := e.(E); ok {
			n := typed.normalized().(E)
			n.Meta().ID, n.Meta().Set = "", ""
			put[e.Meta().Name] = n
		}
	}
	if len(put) == 0 {
		return list
	}
	merged, rest := make([]E, 0, len(list)+len(put)), list
	for _, name := range slices.Sorted(maps.Keys(put)) {
		e := put[name]
		i, found := position(rest, name)
		merged = append(merged, rest[:i]...)
		if rest = rest[i:]; found {
			old := rest[0]
			e.Meta().ID, e.Meta().Set = old.Meta().ID, old.Meta().Set
			if reflect.DeepEqual(e, old) {
				e = old
			}
			rest = rest[1:]
		}
		merged = append(merged, e)
	}
	return append(merged, rest...)
}

// InSet returns the state with the entities that keys name in a set.
func (s *State) InSet(set string, keys []Key) *State {
	if len(keys) == 0 {
		return s
	}
	named := make(map[Key]bool, len(keys))
	for _, k := range keys {
		named[k] = true
	}
	return &State{
		Users:    claim(s.Users, set, named),
		Groups:   claim(s.Groups, set, named),
		Policies: claim(s.Policies, set, named),
		Roles:    claim(s.Roles, set, named),
		Services: claim(s.Services, set, named),
		Issuers:  claim(s.Issuers, set, named),
		Revoked:  s.Revoked,
	}
}

func claim[E Entity](list []E, set string, named map[Key]bool) []E {
	claimed := list
	for i, e := range list {
		if e.Meta().Set == set || !named[KeyOf(e)] {
			continue
		}
		if &claimed[0] == &list[0] {
			claimed = slices.Clone(list)
		}
		c := e.normalized().(E)
		c.Meta().Set = set
		claimed[i] = c
	}
	return claimed
}

// Without returns the state without the entities that keys name, and without
// any reference to them, save that a ServiceAccount keeps its role and its
// identities: these can't just go, and Check refuses a state in which they name
// nothing.
func (s *State) Without(keys []Key) *State {
	if len(keys) == 0 {
		return s
	}
	set := make(map[Key]bool, len(keys))
	for _, k := range keys {
		set[k] = true
	}
	gone := func(k Kind, name string) bool { return set[Key{k, name}] }
	return &State{
		Users:    remove(s.Users, gone),
		Groups:   remove(s.Groups, gone),
		Policies: remove(s.Policies, gone),
		Roles:    remove(s.Roles, gone),
		Services: remove(s.Services, gone),
		Issuers:  remove(s.Issuers, gone),
		Revoked:  removeRevoked(s.Revoked, gone),
	}
}

func remove[E Entity](list []E, gone func(Kind, string) bool) []E {
	var kept []E
	for _, e := range list {
		if !gone(e.Kind(), e.Meta().Name) {
			kept = append(kept, e.without(gone).(E))
		}
	}
	return kept
}

func removeRevoked(list []policydata.RevokedToken, gone func(Kind, string) bool) []policydata.RevokedToken {
	of := func(r policydata.RevokedToken) bool { return gone(KindIssuer, r.Issuer) }
	if !slices.ContainsFunc(list, of) {
		return list
	}
	if list = slices.DeleteFunc(slices.Clone(list), of); len(list) == 0 {
		return nil // as a state that never had one
	}
	return list
}
