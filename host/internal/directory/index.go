package directory

import (
	"slices"
	"strings"

	"sallyport/host/internal/model"
)

// index finds what has no key of its own in the store: it is made of an image's
// differences from the one before, and is as immutable.
type index struct {
	credentials *table[credential] // by access key id
	owned       *table[[]string]   // access key ids, sorted, by the entity key of who has them
	users       [userFields]*table[[]string]
	proxyTokens *table[storedProxyToken] // by id
}

func newIndex() index {
	x := index{credentials: &table[credential]{}, owned: &table[[]string]{}, proxyTokens: &table[storedProxyToken]{}}
	for i := range x.users {
		x.users[i] = &table[[]string]{}
	}
	return x
}

// UserField is what a user is looked up by, beside the name.
type UserField int

// The fields.
const (
	UserID         UserField = iota // the id that the store gave
	UserEmail                       // in lower and upper case alike
	UserExternalID                  // what another system calls the user

	userFields = iota
)

// of returns what a user is found by; "": it is not.
func (f UserField) of(u *model.User) string {
	switch f {
	case UserID:
		return u.ID
	case UserEmail:
		return f.folded(u.Email)
	case UserExternalID:
		return u.ExternalID
	}
	return ""
}

func (f UserField) folded(value string) string {
	if f == UserEmail {
		return strings.ToLower(value)
	}
	return value
}

// usersLike returns the names of users that are found by what u is found by.
func (x *index) usersLike(u *model.User) []string {
	var names []string
	for i, t := range x.users {
		if value := UserField(i).of(u); value != "" {
			found, _ := t.get(value)
			names = append(names, found...)
		}
	}
	return names
}

// indexEdit makes the index of the next image.
type indexEdit struct {
	credentials *tableEdit[credential]
	owned       *tableEdit[[]string]
	users       [userFields]*tableEdit[[]string]
	proxyTokens *tableEdit[storedProxyToken]
}

func (x *index) edit() *indexEdit {
	e := &indexEdit{credentials: x.credentials.edit(), owned: x.owned.edit(), proxyTokens: x.proxyTokens.edit()}
	for i, t := range x.users {
		e.users[i] = t.edit()
	}
	return e
}

func (e *indexEdit) done() index {
	x := index{credentials: e.credentials.done(), owned: e.owned.done(), proxyTokens: e.proxyTokens.done()}
	for i, t := range e.users {
		x.users[i] = t.done()
	}
	return x
}

// entity follows a difference. The access keys of who is gone go.
func (e *indexEdit) entity(diff difference) {
	if old, ok := diff.old.(*model.User); ok {
		e.user(old, removeName)
	}
	if new, ok := diff.new.(*model.User); ok {
		e.user(new, addName)
	}
	if diff.new != nil || !hasCredentials(diff.old.Kind()) {
		return
	}
	key := entityKey(model.KeyOf(diff.old))
	ids, _ := e.owned.get(key)
	for _, id := range ids {
		e.credentials.delete(id)
	}
	e.owned.delete(key)
}

func (e *indexEdit) user(u *model.User, change func(*tableEdit[[]string], string, string)) {
	for i, t := range e.users {
		if value := UserField(i).of(u); value != "" {
			change(t, value, u.Name)
		}
	}
}

func (e *indexEdit) addCredential(id string, c credential) {
	e.credentials.put(id, c)
	addName(e.owned, entityKey(c.owner), id)
}

func (e *indexEdit) removeCredential(id string) {
	if c, ok := e.credentials.get(id); ok {
		e.credentials.delete(id)
		removeName(e.owned, entityKey(c.owner), id)
	}
}

func addName(t *tableEdit[[]string], key, name string) {
	names, _ := t.get(key)
	if i, found := slices.BinarySearch(names, name); !found {
		t.put(key, slices.Insert(slices.Clone(names), i, name))
	}
}

func removeName(t *tableEdit[[]string], key, name string) {
	names, _ := t.get(key)
	i, found := slices.BinarySearch(names, name)
	switch {
	case !found:
	case len(names) == 1:
		t.delete(key)
	default:
		t.put(key, slices.Delete(slices.Clone(names), i, i+1))
	}
}
