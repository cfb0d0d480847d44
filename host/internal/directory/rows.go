package directory

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"sallyport/host/internal/model"
)

// storedEntity is the value of an entity's key.
type storedEntity struct {
	ID          string          `json:"id"`
	Description string          `json:"description,omitempty"`
	Reserved    bool            `json:"reserved,omitempty"`
	Set         string          `json:"set,omitempty"` // see model.Metadata
	Spec        json.RawMessage `json:"spec"`          // without what is kept as relations
	// References are the ids of what the spec names, by the keys of these. Only
	// services have them: their references have structure, which relations
	// have not.
	References map[string]string `json:"references,omitempty"`
}

// storedRelation is the value of a relation's key: the ids of both ends.
type storedRelation struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// relation is a list of an entity that is kept as keys of their own.
type relation struct {
	kind  model.Kind
	names *[]string
}

// relations returns the relations of e, in place.
func relations(e model.Entity) []relation {
	switch e := e.(type) {
	case *model.User:
		return []relation{{model.KindPolicy, &e.Policies}}
	case *model.Group:
		return []relation{{model.KindUser, &e.Members}, {model.KindPolicy, &e.Policies}}
	case *model.Role:
		return []relation{{model.KindPolicy, &e.Policies}, {model.KindUser, &e.Users}, {model.KindGroup, &e.Groups}}
	}
	return nil
}

// shallowCopy copies an entity so that its fields can be set.
func shallowCopy(e model.Entity) model.Entity {
	switch e := e.(type) {
	case *model.User:
		c := *e
		return &c
	case *model.Group:
		c := *e
		return &c
	case *model.Role:
		c := *e
		return &c
	case *model.Policy:
		c := *e
		return &c
	case *model.ServiceAccount:
		c := *e
		return &c
	case *model.Issuer:
		c := *e
		return &c
	}
	return e
}

// rows returns the keys and values that stand for e in the state s.
func rows(s *model.State, e model.Entity) (map[string][]byte, error) {
	out := map[string][]byte{}
	bare, owner := shallowCopy(e), model.KeyOf(e)
	for _, r := range relations(bare) {
		for _, name := range *r.names {
			target := model.Key{Kind: r.kind, Name: name}
			other, ok := s.Get(target)
			if !ok {
				return nil, fmt.Errorf("%s %q: unknown %s %q", owner.Kind, owner.Name, r.kind, name)
			}
			value, err := json.Marshal(storedRelation{e.Meta().ID, other.Meta().ID})
			if err != nil {
				return nil, err
			}
			out[relationKey(owner, target)] = value
		}
		*r.names = nil
	}
	spec, err := json.Marshal(bare)
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", owner.Kind, owner.Name, err)
	}
	m := e.Meta()
	value, err := json.Marshal(storedEntity{m.ID, m.Description, m.Reserved, m.Set, spec, references(s, e)})
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", owner.Kind, owner.Name, err)
	}
	out[entityKey(owner)] = value
	return out, nil
}

// references returns the ids of all that a service names.
func references(s *model.State, e model.Entity) map[string]string {
	service, ok := e.(*model.ServiceAccount)
	if !ok {
		return nil
	}
	ids := map[string]string{}
	for _, k := range serviceReferences(service) {
		if other, ok := s.Get(k); ok {
			ids[entityKey(k)] = other.Meta().ID
		}
	}
	return ids
}

func serviceReferences(s *model.ServiceAccount) []model.Key {
	keys := []model.Key{{Kind: model.KindRole, Name: s.Role}}
	for _, id := range s.Identities {
		keys = append(keys, model.Key{Kind: model.KindIssuer, Name: id.Issuer})
	}
	for _, d := range s.Delegation {
		keys = append(keys, model.Key{Kind: model.KindRole, Name: d.Role})
		for _, u := range d.Users {
			if u != model.AllUsers {
				keys = append(keys, model.Key{Kind: model.KindUser, Name: u})
			}
		}
		for _, g := range d.Groups {
			keys = append(keys, model.Key{Kind: model.KindGroup, Name: g})
		}
	}
	return keys
}

// decodeStrict decodes a value of the store. A field that is not known comes
// from a later version and may forbid something, so it is an error.
func decodeStrict(data []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return fmt.Errorf("more than one value")
	}
	return nil
}
