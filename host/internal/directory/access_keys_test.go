package directory_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
)

func TestAccessKeysOfUsersAndServices(t *testing.T) {
	d, s := newDirectory(t)
	apply(t, d, library)
	for _, owner := range []model.Key{{Kind: model.KindUser, Name: "eric"}, {Kind: model.KindServiceAccount, Name: "mlops"}} {
		t.Run(string(owner.Kind), func(t *testing.T) {
			creds, err := d.CreateCredentials(t.Context(), owner, directory.Options{})
			if err != nil {
				t.Fatal(err)
			}
			want := directory.AccessKey{ID: creds.AccessKeyID, Owner: owner, Created: testTime}
			for name, dir := range map[string]*directory.Directory{"in memory": d, "in the store": reopen(s)} {
				if got, err := dir.Authenticate(t.Context(), creds.AccessKeyID, creds.Secret.Reveal()); got != owner || err != nil {
					t.Errorf("%s: authenticate: got %v, %v", name, got, err)
				}
				if got, err := dir.AccessKey(t.Context(), creds.AccessKeyID); got != want || err != nil {
					t.Errorf("%s: got %+v, %v", name, got, err)
				}
				got, err := dir.AccessKeys(t.Context(), owner)
				if diff := cmp.Diff([]directory.AccessKey{want}, got); diff != "" || err != nil {
					t.Errorf("%s: %v, list (-want +got):\n%s", name, err, diff)
				}
			}
			if _, err := d.DeleteCredentials(t.Context(), model.Key{Kind: model.KindUser, Name: "sean"}, creds.AccessKeyID, directory.Options{}); !errors.Is(err, directory.ErrNotFound) {
				t.Errorf("deleted as somebody else's: %v", err)
			}
			before := load(t, d).Generation
			if r, err := d.DeleteCredentials(t.Context(), owner, creds.AccessKeyID, directory.Options{}); err != nil || r.Generation != before+1 {
				t.Errorf("delete: %+v, %v", r, err)
			}
			for name, dir := range map[string]*directory.Directory{"in memory": d, "in the store": reopen(s)} {
				if _, err := dir.Authenticate(t.Context(), creds.AccessKeyID, creds.Secret.Reveal()); !errors.Is(err, directory.ErrBadCredentials) {
					t.Errorf("%s: still good: %v", name, err)
				}
				if _, err := dir.AccessKey(t.Context(), creds.AccessKeyID); !errors.Is(err, directory.ErrNotFound) {
					t.Errorf("%s: still there: %v", name, err)
				}
			}
		})
	}
}

func TestAccessKeysOfWhatHasNone(t *testing.T) {
	d, _ := newDirectory(t)
	apply(t, d, library)
	for _, owner := range []model.Key{{Kind: model.KindUser, Name: "nobody"}, {Kind: model.KindGroup, Name: "library"}} {
		if _, err := d.CreateCredentials(t.Context(), owner, directory.Options{}); !errors.Is(err, directory.ErrNotFound) {
			t.Errorf("create for %v: got %v, want ErrNotFound", owner, err)
		}
		if _, err := d.AccessKeys(t.Context(), owner); !errors.Is(err, directory.ErrNotFound) {
			t.Errorf("list of %v: got %v, want ErrNotFound", owner, err)
		}
	}
}

func TestAccessKeysAreBounded(t *testing.T) {
	d, _ := newDirectory(t)
	apply(t, d, library)
	eric := model.Key{Kind: model.KindUser, Name: "eric"}
	var err error
	made := 0
	for ; made < 1000 && err == nil; made++ {
		_, err = d.CreateCredentials(t.Context(), eric, directory.Options{})
	}
	var problems model.Problems
	if made != 101 || !errors.As(err, &problems) || !strings.Contains(err.Error(), "has 100 access keys") {
		t.Errorf("ended at %d with %v", made, err)
	}
}

func TestRelate(t *testing.T) {
	user := func(n string) model.Key { return model.Key{Kind: model.KindUser, Name: n} }
	group := model.Key{Kind: model.KindGroup, Name: "library"}
	role := model.Key{Kind: model.KindRole, Name: "librarian"}
	policy := model.Key{Kind: model.KindPolicy, Name: "read"}
	for name, tt := range map[string]struct {
		owner, target model.Key
		related       bool
		want          error
		text          string
		committed     bool
	}{
		"a policy to a user":           {user("sean"), policy, true, nil, "", true},
		"a policy that a user has":     {user("eric"), policy, true, nil, "", false},
		"a policy from a user":         {user("eric"), policy, false, nil, "", true},
		"a policy from who has it not": {user("sean"), policy, false, directory.ErrNotFound, `Policy "read" of User "sean"`, false},
		"a member out of a group":      {group, user("eric"), false, nil, "", true},
		"a group out of a role":        {role, group, false, nil, "", true},
		"a user to a role":             {role, user("eric"), true, nil, "", true},
		"an unknown owner":             {user("nobody"), policy, true, directory.ErrNotFound, `User "nobody"`, false},
		"an unknown target":            {group, user("nobody"), true, directory.ErrNotFound, `User "nobody"`, false},
		"what has no such list":        {user("eric"), group, true, directory.ErrNotFound, "groups of a User", false},
		"a user to a governing role":   {model.Key{Kind: model.KindRole, Name: "act"}, user("eric"), true, nil, "for the Service Gate only", false},
		"a member to a built-in group": {model.Key{Kind: model.KindGroup, Name: "system:authenticated"}, user("eric"), true, nil, "can't have members", false},
	} {
		t.Run(name, func(t *testing.T) {
			d, s := newDirectory(t)
			apply(t, d, library)
			_, err := d.Relate(t.Context(), tt.owner, tt.target, tt.related, directory.Options{})
			if tt.want != nil && !errors.Is(err, tt.want) || (err == nil) != (tt.text == "") || err != nil && !strings.Contains(err.Error(), tt.text) {
				t.Fatalf("got %v, want %v with %q", err, tt.want, tt.text)
			}
			if committed := load(t, d).Generation > 1; committed != tt.committed {
				t.Errorf("committed: %v, want %v", committed, tt.committed)
			}
			e, ok := load(t, reopen(s)).State.Get(tt.owner)
			if !ok || err != nil {
				return
			}
			list, _ := directory.Related(e, tt.target.Kind)
			if has := strings.Contains(strings.Join(list, " "), tt.target.Name); has != tt.related {
				t.Errorf("list %q", list)
			}
		})
	}
}

func TestWritesAskFirst(t *testing.T) {
	d, _ := newDirectory(t)
	apply(t, d, library)
	no := errors.New("no")
	eric, read := model.Key{Kind: model.KindUser, Name: "eric"}, model.Key{Kind: model.KindPolicy, Name: "read"}
	refuse := map[string]directory.Options{
		"before": {Before: func(s *model.State) error {
			if len(s.Users) != 2 {
				t.Errorf("%d users before", len(s.Users))
			}
			return no
		}},
		"permit": {Permit: func(before, after *model.State) error {
			if before == after {
				t.Error("nothing to permit")
			}
			return no
		}},
	}
	for name, o := range refuse {
		for what, write := range map[string]func() error{
			"apply": func() error {
				_, err := d.Apply(t.Context(), docs(t, "kind: User\nmetadata: {name: new}"), o)
				return err
			},
			"delete": func() error { _, err := d.Delete(t.Context(), eric, o); return err },
			"relate": func() error { _, err := d.Relate(t.Context(), eric, read, false, o); return err },
		} {
			if err := write(); !errors.Is(err, no) {
				t.Errorf("%s, %s: got %v", name, what, err)
			}
		}
	}
	if g := load(t, d).Generation; g != 1 {
		t.Errorf("generation %d", g)
	}
}
