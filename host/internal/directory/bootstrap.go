package directory

import (
	"context"
	"fmt"

	"sallyport/host/internal/model"
)

// AdminName is the name of the first user, and of its policy.
const AdminName = "admin"

// EnsureAPIPolicies adds the policies for the host's own API that this version
// has and the one that made the store had not, and returns their names. It does so
// once for each version: what was deleted since stays deleted. A policy that is
// there stays as it is, whoever made it: what it allows to whom is not for an
// upgrade to widen. What is added nobody has yet.
func (d *Directory) EnsureAPIPolicies(ctx context.Context) (added []string, err error) {
	_, err = d.update(ctx, func(prev *image) (*change, error) {
		added = nil
		if prev.APIPolicies >= apiPoliciesVersion {
			return nil, nil
		}
		var docs []model.Entity
		for _, p := range apiPolicies() {
			if !has(prev.state, model.KeyOf(p)) {
				docs, added = append(docs, p), append(added, p.Name)
			}
		}
		next, err := d.applied(prev, docs, nil, Options{})
		if err != nil {
			return nil, fmt.Errorf("policies for the API: %w", err)
		}
		giveIDs(prev.state, next)
		return &change{state: next, apiPolicies: apiPoliciesVersion, part: "upgrade"}, nil
	})
	return added, err
}

// EnsureAdmin makes the first user, who may do everything at the host's own API,
// with an access key, and the policies for that API that others can be given. It
// does so once in the life of a store and returns nil afterwards, even if some of
// this was deleted since. All of it is reserved, so that pruning leaves it alone.
func (d *Directory) EnsureAdmin(ctx context.Context) (*Credentials, error) {
	creds := newCredentials()
	first := false
	_, err := d.update(ctx, func(prev *image) (*change, error) {
		if first = !prev.Bootstrapped; !first {
			return nil, nil
		}
		docs := adminDocuments()
		for _, e := range docs {
			if k := model.KeyOf(e); has(prev.state, k) {
				return nil, fmt.Errorf("first start: %s %q exists, but was not made by a first start", k.Kind, k.Name)
			}
		}
		next, err := d.applied(prev, docs, nil, Options{})
		if err != nil {
			return nil, fmt.Errorf("first start: %w", err)
		}
		giveIDs(prev.state, next)
		return d.addCredentials(&change{state: next, bootstrap: true, apiPolicies: apiPoliciesVersion, part: "first start"}, model.Key{Kind: model.KindUser, Name: AdminName}, creds)
	})
	if err != nil || !first {
		return nil, err
	}
	return &creds, nil
}

func has(s *model.State, k model.Key) bool {
	_, ok := s.Get(k)
	return ok
}

func adminDocuments() []model.Entity {
	docs := []model.Entity{
		&model.User{
			Metadata: model.Metadata{Name: AdminName, Description: "the first user", Reserved: true},
			Policies: []string{AdminName},
		},
	}
	for _, p := range apiPolicies() {
		docs = append(docs, p)
	}
	return docs
}
