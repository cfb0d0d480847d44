package directory

import (
	"context"
	"fmt"
	"time"

	"sallyport/host/internal/model"
)

// AccessKey is what is known of credentials once they are made.
type AccessKey struct {
	ID      string
	Owner   model.Key
	Created time.Time
}

// hasCredentials reports whether entities of the kind can have access keys.
func hasCredentials(k model.Kind) bool { return k == model.KindUser || k == model.KindServiceAccount }

// AccessKeys returns the access keys of a user or service in the order of their
// ids. The error is ErrNotFound if there is no such owner.
func (d *Directory) AccessKeys(ctx context.Context, owner model.Key) ([]AccessKey, error) {
	img, err := d.view(ctx)
	if err != nil {
		return nil, err
	}
	if !has(img.state, owner) || !hasCredentials(owner.Kind) {
		return nil, fmt.Errorf("%s %q: %w", owner.Kind, owner.Name, ErrNotFound)
	}
	return credentialsOf(img, owner), nil
}

func credentialsOf(img *image, owner model.Key) []AccessKey {
	ids, _ := img.owned.get(entityKey(owner))
	var keys []AccessKey
	for _, id := range ids {
		if c, ok := img.credentials.get(id); ok {
			keys = append(keys, c.accessKey(id))
		}
	}
	return keys
}

// owned returns how many access keys there are of an owner.
func owned(img *image, owner model.Key) int {
	ids, _ := img.owned.get(entityKey(owner))
	return len(ids)
}

func (c credential) accessKey(id string) AccessKey {
	return AccessKey{ID: id, Owner: c.owner, Created: time.Unix(c.Created, 0).UTC()}
}

// AccessKey returns the access key with an id. The error is ErrNotFound if there
// is none.
func (d *Directory) AccessKey(ctx context.Context, id string) (AccessKey, error) {
	img, err := d.view(ctx)
	if err != nil {
		return AccessKey{}, err
	}
	c, ok := img.credentials.get(id)
	if !ok {
		return AccessKey{}, fmt.Errorf("access key %q: %w", id, ErrNotFound)
	}
	return c.accessKey(id), nil
}

// DeleteCredentials withdraws an access key of a user or service at once. Of the
// options, Before counts. The error is ErrNotFound if the owner has no such key.
func (d *Directory) DeleteCredentials(ctx context.Context, owner model.Key, id string, o Options) (Result, error) {
	img, err := d.update(ctx, func(prev *image) (*change, error) {
		if err := o.before(prev.state); err != nil {
			return nil, err
		}
		if c, ok := prev.credentials.get(id); !ok || c.owner != owner {
			return nil, fmt.Errorf("access key %q of %s %q: %w", id, owner.Kind, owner.Name, ErrNotFound)
		}
		return &change{state: prev.state, withdrawn: id}, nil
	})
	if err != nil {
		return Result{}, err
	}
	return Result{img.Epoch, img.Generation, []Change{}}, nil
}
