package directory_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
	"sallyport/host/internal/store"
)

func TestDelete(t *testing.T) {
	for _, tt := range []struct {
		kind model.Kind
		name string
		want error
		gone []string // besides the entity
	}{
		{model.KindUser, "sean", nil, []string{"auth/groups/library/users/sean", "auth/roles/librarian/users/sean"}},
		{model.KindUser, "eric", nil, []string{"auth/groups/library/users/eric", "auth/users/eric/policies/read"}},
		{model.KindPolicy, "read", nil, []string{
			"auth/groups/library/policies/read", "auth/groups/system:authenticated/policies/read",
			"auth/roles/act/policies/read", "auth/roles/librarian/policies/read", "auth/users/eric/policies/read",
		}},
		{model.KindGroup, "library", nil, []string{
			"auth/groups/library/policies/read", "auth/groups/library/users/eric",
			"auth/groups/library/users/sean", "auth/roles/librarian/groups/library",
		}},
		{model.KindRole, "act", nil, []string{"auth/roles/act/policies/read"}},
		{model.KindServiceAccount, "mlops", nil, nil},
		{model.KindRole, "runtime", directory.ErrInUse, nil},
		{model.KindIssuer, "idp", directory.ErrInUse, nil},
		{model.KindUser, "nobody", directory.ErrNotFound, nil},
		{"Nothing", "x", directory.ErrNotFound, nil},
	} {
		t.Run(string(tt.kind)+" "+tt.name, func(t *testing.T) {
			d, s := newDirectory(t)
			apply(t, d, library)
			before := keysBelow(t, s, "auth/")
			k := model.Key{Kind: tt.kind, Name: tt.name}
			_, err := d.Delete(t.Context(), k, directory.Options{})
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			want := before
			if tt.want == nil {
				gone := append(tt.gone, "auth/"+tt.kind.Collection()+"/"+tt.name)
				want = slices.DeleteFunc(before, func(k string) bool { return slices.Contains(gone, k) })
			}
			if diff := cmp.Diff(want, keysBelow(t, s, "auth/")); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(load(t, d), load(t, reopen(s))); diff != "" {
				t.Errorf("in memory and in the store (-memory +store):\n%s", diff)
			}
		})
	}
}

func TestDelegationEndsWithItsUsers(t *testing.T) {
	d, _ := newDirectory(t)
	apply(t, d, library)
	for _, k := range []model.Key{{Kind: model.KindUser, Name: "sean"}, {Kind: model.KindGroup, Name: "library"}, {Kind: model.KindUser, Name: "eric"}} {
		if _, err := d.Delete(t.Context(), k, directory.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	want := []model.Delegation{{Role: "act", Users: []string{"*"}}}
	if diff := cmp.Diff(want, load(t, d).State.Services[0].Delegation); diff != "" {
		t.Errorf("delegation (-want +got):\n%s", diff)
	}
}

// TestARecreatedEntityGetsNothingBack deletes each entity, plants again every
// row that stood for a relation before, as a lost race would, and creates the
// entity under its old name.
func TestARecreatedEntityGetsNothingBack(t *testing.T) {
	for _, k := range []model.Key{
		{Kind: model.KindUser, Name: "eric"},
		{Kind: model.KindUser, Name: "sean"},
		{Kind: model.KindGroup, Name: "library"},
		{Kind: model.KindPolicy, Name: "read"},
		{Kind: model.KindRole, Name: "librarian"},
	} {
		t.Run(string(k.Kind)+" "+k.Name, func(t *testing.T) {
			d, s := newDirectory(t)
			apply(t, d, library)
			creds, err := d.CreateCredentials(t.Context(), model.Key{Kind: model.KindUser, Name: "eric"}, directory.Options{})
			if err != nil {
				t.Fatal(err)
			}
			old := dump(t, s)
			if _, err := d.Delete(t.Context(), k, directory.Options{}); err != nil {
				t.Fatal(err)
			}
			afterDelete := load(t, d).State
			plantRelations(t, s, old)
			policy := ""
			if k.Kind == model.KindPolicy {
				policy = `spec: {rules: [{effect: allow, methods: ["*"], paths: ["/**"]}]}`
			}
			d = reopen(s)
			apply(t, d, fmt.Sprintf("kind: %s\nmetadata: {name: %s}\n%s", k.Kind, k.Name, policy))
			state := load(t, reopen(s)).State
			if diff := cmp.Diff(afterDelete, state.Without([]model.Key{k})); diff != "" {
				t.Errorf("the others (-before +after):\n%s", diff)
			}
			for _, r := range relationsOf(state) {
				if r[0] == k.Name || r[1] == k.Name {
					t.Errorf("%s is back in the relation %s", k.Name, r)
				}
			}
			_, err = d.Authenticate(t.Context(), creds.AccessKeyID, creds.Secret.Reveal())
			if k.Name == "eric" && !errors.Is(err, directory.ErrBadCredentials) {
				t.Errorf("the old access key: got %v, want ErrBadCredentials", err)
			}
			for key, value := range dump(t, s) {
				if relationRow(key) && old[key] == value && strings.Contains(key, k.Name) {
					t.Errorf("%q was not collected", key)
				}
			}
		})
	}
}

func relationRow(key string) bool { return strings.Count(key, "/") == 4 }

func plantRelations(t *testing.T, s store.Store, rows map[string]string) {
	t.Helper()
	err := s.Update(t.Context(), func(tx store.Tx) error {
		for key, value := range rows {
			if !relationRow(key) {
				continue
			}
			if err := tx.Put(key, []byte(value)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// relationsOf lists all references of the state as names of both ends.
func relationsOf(s *model.State) [][2]string {
	var out [][2]string
	add := func(from string, lists ...[]string) {
		for _, to := range slices.Concat(lists...) {
			out = append(out, [2]string{from, to})
		}
	}
	for _, u := range s.Users {
		add(u.Name, u.Policies)
	}
	for _, g := range s.Groups {
		add(g.Name, g.Members, g.Policies)
	}
	for _, r := range s.Roles {
		add(r.Name, r.Users, r.Groups, r.Policies)
	}
	for _, v := range s.Services {
		for _, d := range v.Delegation {
			add(v.Name, d.Users, d.Groups)
		}
	}
	return out
}

func TestAServiceLosesWhatItsDelegationNamed(t *testing.T) {
	d, s := newDirectory(t)
	apply(t, d, library)
	old := dump(t, s)["auth/services/mlops"]
	if _, err := d.Delete(t.Context(), model.Key{Kind: model.KindGroup, Name: "library"}, directory.Options{}); err != nil {
		t.Fatal(err)
	}
	apply(t, d, "kind: Group\nmetadata: {name: library}")
	put(t, s, "auth/services/mlops", old) // as if a race had kept the old row
	for _, del := range load(t, reopen(s)).State.Services[0].Delegation {
		if len(del.Groups) > 0 {
			t.Errorf("delegation %+v is for the new group", del)
		}
	}
}
