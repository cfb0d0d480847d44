package directory_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
	"sallyport/host/internal/store"
	"sallyport/host/internal/store/mem"
	"sallyport/host/internal/store/storetest"
	"sallyport/policydata"
)

// tornWrites are writes that a crash may break off, and the entities that they
// delete.
func tornWrites(t *testing.T) []struct {
	name    string
	deleted []model.Key
	write   func(context.Context, *directory.Directory) error
} {
	remove := func(k model.Key) func(context.Context, *directory.Directory) error {
		return func(ctx context.Context, d *directory.Directory) error {
			_, err := d.Delete(ctx, k, directory.Options{})
			return err
		}
	}
	eric := model.Key{Kind: model.KindUser, Name: "eric"}
	group := model.Key{Kind: model.KindGroup, Name: "library"}
	policy := model.Key{Kind: model.KindPolicy, Name: "read"}
	role := model.Key{Kind: model.KindRole, Name: "librarian"}
	act := model.Key{Kind: model.KindRole, Name: "act"}
	service := model.Key{Kind: model.KindServiceAccount, Name: "mlops"}
	runtime := model.Key{Kind: model.KindRole, Name: "runtime"}
	idp := model.Key{Kind: model.KindIssuer, Name: "idp"}
	service2 := docs(t, "kind: ServiceAccount\nmetadata: {name: a2}\nspec: {role: r2, delegation: [{role: act, groups: [g2]}]}\n---\n"+
		"kind: Role\nmetadata: {name: r2}\n---\nkind: Group\nmetadata: {name: g2}\nspec: {members: [u2]}\n---\nkind: User\nmetadata: {name: u2}")
	return []struct {
		name    string
		deleted []model.Key
		write   func(context.Context, *directory.Directory) error
	}{
		{"delete a user", []model.Key{eric}, remove(eric)},
		{"delete a group", []model.Key{group}, remove(group)},
		{"delete a policy", []model.Key{policy}, remove(policy)},
		{"delete a role", []model.Key{role}, remove(role)},
		{"delete a governing role", []model.Key{act}, remove(act)},
		{"delete a service", []model.Key{service}, remove(service)},
		{"apply a service with its role", nil, func(ctx context.Context, d *directory.Directory) error {
			_, err := d.Apply(ctx, service2, directory.Options{})
			return err
		}},
		{"prune all", []model.Key{eric, group, policy, role, act, service, runtime, idp}, func(ctx context.Context, d *directory.Directory) error {
			_, err := d.Apply(ctx, docs(t, "kind: Policy\nmetadata: {name: other}\nspec: {rules: [{effect: allow, methods: [GET], paths: [/x]}]}"), directory.Options{Prune: true, Set: "library"})
			return err
		}},
		{"revoke", nil, func(ctx context.Context, d *directory.Directory) error {
			_, err := d.Revoke(ctx, policydata.RevokedToken{Issuer: "idp", ID: "x", Expires: testTime.Unix() + 60})
			return err
		}},
		{"a maximum age", nil, func(ctx context.Context, d *directory.Directory) error { return d.SetMaxAge(ctx, time.Minute) }},
		{"a rollback", nil, func(ctx context.Context, d *directory.Directory) error {
			if err := remove(service)(ctx, d); err != nil {
				return err
			}
			_, err := d.Rollback(ctx, directory.Rollback{To: 1}, directory.Options{})
			return err
		}},
		{"an access key", nil, func(ctx context.Context, d *directory.Directory) error {
			_, err := d.CreateCredentials(ctx, eric, directory.Options{})
			return err
		}},
	}
}

// TestACrashLeavesNothingThatCounts breaks off each write after each of its
// steps, on a store that has no transactions. What is left must be readable,
// must give nothing to who is created under a deleted name, and is collected.
func TestACrashLeavesNothingThatCounts(t *testing.T) {
	for _, tt := range tornWrites(t) {
		t.Run(tt.name, func(t *testing.T) {
			crashes := 0
			for ; ; crashes++ {
				s := mem.New()
				d := reopen(s)
				applySet(t, d, "library", library)
				creds, err := d.CreateCredentials(t.Context(), model.Key{Kind: model.KindUser, Name: "eric"}, directory.Options{})
				if err != nil {
					t.Fatal(err)
				}
				err = tt.write(t.Context(), reopen(&storetest.Torn{Store: s, Left: crashes}))
				if err != nil && !errors.Is(err, storetest.ErrTorn) {
					t.Fatalf("after %d writes: %v", crashes, err)
				}
				afterCrash(t, s, creds, tt.deleted)
				if err == nil {
					break
				}
			}
			if crashes == 0 {
				t.Error("there was no write to break off")
			}
		})
	}
}

func afterCrash(t *testing.T, s store.Store, creds directory.Credentials, deleted []model.Key) {
	t.Helper()
	d := reopen(s)
	load(t, d)
	if _, err := d.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkStore(t, s)
	// Whoever was to delete it tries again; services first, since they are what
	// roles and issuers can't go before.
	for _, k := range slices.Backward(deleted) {
		if k.Kind == model.KindServiceAccount {
			deleteIfThere(t, d, k)
		}
	}
	for _, k := range deleted {
		deleteIfThere(t, d, k)
	}
	for _, k := range deleted {
		if k.Kind != model.KindServiceAccount && k.Kind != model.KindIssuer {
			apply(t, d, "kind: "+string(k.Kind)+"\nmetadata: {name: "+k.Name+"}"+specOf(k.Kind))
		}
	}
	state := load(t, reopen(s)).State
	for _, k := range deleted {
		for _, r := range relationsOf(state) {
			if r[0] == k.Name || r[1] == k.Name {
				t.Errorf("%s is back in the relation %s", k.Name, r)
			}
		}
		if k.Name == "eric" {
			if _, err := d.Authenticate(t.Context(), creds.AccessKeyID, creds.Secret.Reveal()); !errors.Is(err, directory.ErrBadCredentials) {
				t.Errorf("the old access key: got %v, want ErrBadCredentials", err)
			}
		}
	}
	if diff := cmp.Diff(load(t, d), load(t, reopen(s))); diff != "" {
		t.Errorf("in memory and in the store (-memory +store):\n%s", diff)
	}
}

func deleteIfThere(t *testing.T, d *directory.Directory, k model.Key) {
	t.Helper()
	if _, err := d.Delete(t.Context(), k, directory.Options{}); err != nil && !errors.Is(err, directory.ErrNotFound) {
		t.Fatal(err)
	}
}

func specOf(k model.Kind) string {
	if k == model.KindPolicy {
		return `
spec: {rules: [{effect: allow, methods: ["*"], paths: ["/**"]}]}`
	}
	return ""
}

func TestCollectRemovesWhatDangles(t *testing.T) {
	d, s := newDirectory(t)
	apply(t, d, library)
	if n, err := d.Collect(t.Context()); n != 0 || err != nil {
		t.Errorf("nothing dangles: got %d and %v", n, err)
	}
	generation := load(t, d).Generation
	put(t, s, "auth/groups/library/users/nobody", `{"from":"x","to":"y"}`)
	put(t, s, "auth/users/nobody/credentials/SPX", `{"userId":"x","sha256":"","created":1}`)
	if n, err := d.Collect(t.Context()); n != 2 || err != nil {
		t.Errorf("got %d and %v, want 2", n, err)
	}
	if got := load(t, d).Generation; got != generation+1 {
		t.Errorf("generation %d after %d", got, generation)
	}
	checkStore(t, s)
}
