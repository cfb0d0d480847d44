package directory

import (
	"context"

	"sallyport/host/internal/model"
)

// FindUsers returns the users that have a value in a field in the order of
// their names. No two have the same, but emails that differ in case only are
// found alike.
func (d *Directory) FindUsers(ctx context.Context, field UserField, value string) ([]*model.User, error) {
	img, err := d.view(ctx)
	if err != nil {
		return nil, err
	}
	return img.findUsers(field, value), nil
}

func (img *image) findUsers(field UserField, value string) []*model.User {
	names, _ := img.users[field].get(field.folded(value))
	users := make([]*model.User, 0, len(names))
	for _, name := range names {
		if e, ok := img.state.Get(model.Key{Kind: model.KindUser, Name: name}); ok {
			users = append(users, e.(*model.User))
		}
	}
	return users
}
