package directory

import (
	"context"
	"fmt"

	"sallyport/host/internal/model"
)

// AdminName is the name of the first user, and of its policy.
const AdminName = "admin"

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
		return d.addCredentials(&change{state: next, bootstrap: true, part: "first start"}, model.Key{Kind: model.KindUser, Name: AdminName}, creds)
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
