package directory_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/manifest"
	"sallyport/host/internal/model"
	"sallyport/host/internal/store"
	"sallyport/host/internal/store/mem"
)

var (
	testChecks = model.Checks{
		Condition: func(string, []string, []string) error { return nil },
		Keys:      func([]byte) error { return nil },
		KeyURL:    func(string) error { return nil },
	}
	testTime = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
)

func newDirectory(t *testing.T) (*directory.Directory, store.Store) {
	t.Helper()
	s := mem.New()
	t.Cleanup(func() { checkStore(t, s) })
	return reopen(s), s
}

func reopen(s store.Store) *directory.Directory {
	return directory.New(s, testChecks, func() time.Time { return testTime })
}

func docs(t *testing.T, text string) []model.Entity {
	t.Helper()
	var b strings.Builder
	for part := range strings.SplitSeq(text, "\n---\n") {
		b.WriteString("---\napiVersion: sallyport/v1\n" + strings.TrimSpace(part) + "\n")
	}
	parsed, err := manifest.Parse("test.yaml", []byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	return manifest.Entities(parsed)
}

func apply(t *testing.T, d *directory.Directory, text string) directory.Result {
	t.Helper()
	r, err := d.Apply(t.Context(), docs(t, text), directory.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// applySet applies documents as a set.
func applySet(t *testing.T, d *directory.Directory, set, text string) directory.Result {
	t.Helper()
	r, err := d.Apply(t.Context(), docs(t, text), directory.Options{Set: set})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func load(t *testing.T, d *directory.Directory) directory.Revision {
	t.Helper()
	r, err := d.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func dump(t *testing.T, s store.Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := s.View(context.Background(), func(r store.Reader) error {
		pairs, err := r.Scan("", "", 0)
		for _, p := range pairs {
			all[p.Key] = string(p.Value)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return all
}

func keysBelow(t *testing.T, s store.Store, prefix string) []string {
	t.Helper()
	var keys []string
	for k := range dump(t, s) {
		if strings.HasPrefix(k, prefix) && !strings.HasPrefix(k, "auth/audit/") {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

// checkStore checks that every key is of the fixed layout and that every
// relation has both ends.
func checkStore(t *testing.T, s store.Store) {
	t.Helper()
	all := dump(t, s)
	for key := range all {
		parts := strings.Split(key, "/")
		if parts[0] == "meta" || parts[1] == "audit" {
			continue
		}
		ends := []string{strings.Join(parts[:3], "/")}
		if len(parts) == 5 && parts[3] != "credentials" && parts[3] != "revoked" {
			ends = append(ends, "auth/"+parts[3]+"/"+parts[4])
		} else if len(parts) != 3 && len(parts) != 5 && !(len(parts) == 4 && parts[1] == "issuers" && parts[3] == "keys") {
			t.Errorf("key %q is of no known layout", key)
		}
		for _, end := range ends {
			if _, ok := all[end]; !ok {
				t.Errorf("key %q dangles: there is no %q", key, end)
			}
		}
	}
}

const library = `
kind: Policy
metadata: {name: read}
spec: {rules: [{effect: allow, methods: ["@read"], paths: ["/**"]}]}
---
kind: User
metadata: {name: eric}
spec: {policies: [read]}
---
kind: User
metadata: {name: sean, description: librarian}
---
kind: Group
metadata: {name: library}
spec: {members: [eric, sean], policies: [read]}
---
kind: Group
metadata: {name: "system:authenticated"}
spec: {policies: [read]}
---
kind: Role
metadata: {name: librarian}
spec: {policies: [read], users: [sean], groups: [library], claims: [lib]}
---
kind: Role
metadata: {name: act}
spec: {governing: true, policies: [read]}
---
kind: Role
metadata: {name: runtime}
---
kind: Issuer
metadata: {name: idp}
spec: {issuer: "https://idp", audiences: [a], algorithms: [RS256], jwks: {inline: {keys: []}}}
---
kind: ServiceAccount
metadata: {name: mlops}
spec:
  role: runtime
  identities: [{issuer: idp, client: c}]
  delegation: [{role: act, users: ["*", eric]}, {role: act, groups: [library]}, {role: act, users: [sean]}]
`

func TestKeysAreThoseOfTheDesign(t *testing.T) {
	d, s := newDirectory(t)
	apply(t, d, library)
	want := []string{
		"auth/groups/library",
		"auth/groups/library/policies/read",
		"auth/groups/library/users/eric",
		"auth/groups/library/users/sean",
		"auth/groups/system:authenticated",
		"auth/groups/system:authenticated/policies/read",
		"auth/issuers/idp",
		"auth/policies/read",
		"auth/roles/act",
		"auth/roles/act/policies/read",
		"auth/roles/librarian",
		"auth/roles/librarian/groups/library",
		"auth/roles/librarian/policies/read",
		"auth/roles/librarian/users/sean",
		"auth/roles/runtime",
		"auth/services/mlops",
		"auth/users/eric",
		"auth/users/eric/policies/read",
		"auth/users/sean",
	}
	if diff := cmp.Diff(want, keysBelow(t, s, "auth/")); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

func TestLoadReturnsWhatWasApplied(t *testing.T) {
	d, s := newDirectory(t)
	r := apply(t, d, library)
	if r.Epoch != 1 || r.Generation != 1 || len(r.Changes) != 10 {
		t.Errorf("got epoch %d, generation %d, %d changes", r.Epoch, r.Generation, len(r.Changes))
	}
	want := load(t, d)
	if !want.Created.Equal(testTime) {
		t.Errorf("created %v", want.Created)
	}
	if diff := cmp.Diff(want, load(t, reopen(s))); diff != "" {
		t.Errorf("read again from the store (-want +got):\n%s", diff)
	}
	group := want.State.Groups[0]
	if group.Name != "library" || !slices.Equal(group.Members, []string{"eric", "sean"}) || len(group.ID) != 32 {
		t.Errorf("got %+v", group)
	}
}

func TestApplyIsDeclarative(t *testing.T) {
	d, _ := newDirectory(t)
	apply(t, d, library)
	ch := d.Changed()
	again := apply(t, d, library)
	if again.Generation != 1 {
		t.Errorf("applying the same raised the generation to %d", again.Generation)
	}
	for _, c := range again.Changes {
		if c.Action != directory.Unchanged {
			t.Errorf("%v, want unchanged", c)
		}
	}
	select {
	case <-ch:
		t.Error("applying the same was announced")
	default:
	}
	id := load(t, d).State.Groups[0].ID
	got := apply(t, d, "kind: Group\nmetadata: {name: library}\nspec: {members: [sean]}")
	want := directory.Result{Epoch: 1, Generation: 2, Changes: []directory.Change{{model.KindGroup, "library", directory.Updated, ""}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	<-ch
	group := load(t, d).State.Groups[0]
	if !slices.Equal(group.Members, []string{"sean"}) || group.Policies != nil || group.ID != id {
		t.Errorf("got %+v", group)
	}
}

func TestApplyIsAllOrNothing(t *testing.T) {
	d, s := newDirectory(t)
	apply(t, d, library)
	before := dump(t, s)
	_, err := d.Apply(t.Context(), docs(t, "kind: User\nmetadata: {name: new}\n---\nkind: User\nmetadata: {name: bad}\nspec: {policies: [nope]}"), directory.Options{})
	var problems model.Problems
	if !errors.As(err, &problems) || len(problems) != 1 || problems[0].Field != "spec.policies[0]" {
		t.Errorf("got %v, want the problem of spec.policies[0]", err)
	}
	if diff := cmp.Diff(before, dump(t, s)); diff != "" {
		t.Errorf("the store changed (-want +got):\n%s", diff)
	}
}

func TestApplyRefusesADocumentGivenTwice(t *testing.T) {
	d, _ := newDirectory(t)
	apply(t, d, library)
	eric := &model.User{Metadata: model.Metadata{Name: "eric"}, Policies: []string{"read"}}
	for _, second := range []*model.User{eric, {Metadata: model.Metadata{Name: "eric"}, Disabled: true}} {
		for _, set := range [][]model.Entity{{eric, second}, {second, eric}} {
			_, err := d.Apply(t.Context(), set, directory.Options{})
			if err == nil || !strings.Contains(err.Error(), "is there twice") {
				t.Errorf("got %v", err)
			}
		}
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	d, s := newDirectory(t)
	applySet(t, d, "a", library)
	before := dump(t, s)
	got, err := d.Apply(t.Context(), docs(t, "kind: User\nmetadata: {name: new}"), directory.Options{DryRun: true, Prune: true, Set: "a"})
	if err != nil {
		t.Fatal(err)
	}
	var created, deleted int
	for _, c := range got.Changes {
		switch c.Action {
		case directory.Created:
			created++
		case directory.Deleted:
			deleted++
		}
	}
	if got.Generation != 1 || created != 1 || deleted != 10 {
		t.Errorf("got %+v", got)
	}
	if diff := cmp.Diff(before, dump(t, s)); diff != "" {
		t.Errorf("the store changed (-want +got):\n%s", diff)
	}
}

func TestPruneLeavesWhatAFirstStartMadeAlone(t *testing.T) {
	d, s := newDirectory(t)
	if _, err := d.EnsureAdmin(t.Context()); err != nil {
		t.Fatal(err)
	}
	applySet(t, d, "a", library)
	for _, force := range []bool{false, true} {
		_, err := d.Apply(t.Context(), docs(t, "kind: User\nmetadata: {name: only}"), directory.Options{Prune: true, Set: "a", Force: force})
		if err != nil {
			t.Fatal(err)
		}
		keys := slices.DeleteFunc(keysBelow(t, s, "auth/"), func(k string) bool { return strings.Contains(k, "credentials") })
		want := []string{
			"auth/policies/admin", "auth/policies/editor", "auth/policies/viewer",
			"auth/users/admin", "auth/users/admin/policies/admin", "auth/users/only",
		}
		if diff := cmp.Diff(want, keys); diff != "" {
			t.Errorf("force %t: keys (-want +got):\n%s", force, diff)
		}
	}
}

func TestPruneRefusesReferencesToWhatItDeletes(t *testing.T) {
	d, _ := newDirectory(t)
	applySet(t, d, "a", library)
	set := docs(t, "kind: Group\nmetadata: {name: library}\nspec: {members: [eric, sean], policies: [read]}")
	_, err := d.Apply(t.Context(), set, directory.Options{Prune: true, Set: "a"})
	if err == nil || !strings.Contains(err.Error(), `spec.members[0]: unknown User "eric"`) {
		t.Errorf("got %v", err)
	}
}

func TestReservedNeedsForce(t *testing.T) {
	d, _ := newDirectory(t)
	reserved := "kind: User\nmetadata: {name: root, reserved: true}\nspec: {disabled: %t}"
	apply(t, d, fmt.Sprintf(reserved, false))
	apply(t, d, fmt.Sprintf(reserved, false)) // no change, no need of force
	changed := docs(t, fmt.Sprintf(reserved, true))
	if _, err := d.Apply(t.Context(), changed, directory.Options{}); err == nil || !strings.Contains(err.Error(), "is reserved") {
		t.Errorf("apply: got %v", err)
	}
	if _, err := d.Delete(t.Context(), model.Key{Kind: model.KindUser, Name: "root"}, directory.Options{}); !errors.Is(err, directory.ErrReserved) {
		t.Errorf("delete: got %v, want ErrReserved", err)
	}
	if _, err := d.Apply(t.Context(), changed, directory.Options{Force: true}); err != nil {
		t.Errorf("apply by force: %v", err)
	}
	if _, err := d.Delete(t.Context(), model.Key{Kind: model.KindUser, Name: "root"}, directory.Options{Force: true}); err != nil {
		t.Errorf("delete by force: %v", err)
	}
}

func put(t *testing.T, s store.Store, key, value string) {
	t.Helper()
	if err := s.Update(t.Context(), func(tx store.Tx) error { return tx.Put(key, []byte(value)) }); err != nil {
		t.Fatal(err)
	}
}

func TestLoadRefusesWhatItDoesNotUnderstand(t *testing.T) {
	for name, tt := range map[string]struct{ key, value, want string }{
		"unknown field in a spec":   {"auth/users/eric", `{"id":"x","spec":{"onlyOnMondays":true}}`, "onlyOnMondays"},
		"unknown field":             {"auth/users/eric", `{"id":"x","spec":{},"expires":1}`, "expires"},
		"no JSON":                   {"auth/users/eric", `?`, `key "auth/users/eric"`},
		"two values":                {"auth/users/eric", `{"id":"x","spec":{}} {}`, "more than one value"},
		"unknown collection":        {"auth/robots/r2", `{}`, "unknown layout"},
		"unknown depth":             {"auth/users/eric/a/b/c", `{}`, "unknown layout"},
		"unknown relation":          {"auth/policies/read/users/eric", `{}`, "unknown relation"},
		"revoked under another key": {"auth/issuers/idp/revoked/x", `{"issuerId":"x","jti":"t","expires":1}`, `not the key of the revoked token "t"`},
		"revoked, not of an issuer": {"auth/users/eric/revoked/x", `{"issuerId":"x","jti":"t","expires":1}`, `not the key of the revoked token "t"`},
		"revoked, unknown field":    {"auth/issuers/idp/revoked/x", `{"issuerId":"x","jti":"t","until":1}`, "until"},
		"format of a later version": {"meta/format", `2`, `format "2"`},
		"generation":                {"meta/generation", `{"epoch":1,"generation":-1}`, "meta/generation"},
	} {
		t.Run(name, func(t *testing.T) {
			s := mem.New()
			apply(t, reopen(s), library)
			value := tt.value
			if name == "unknown relation" {
				value = relationValue(t, s, "auth/policies/read", "auth/users/eric")
			}
			put(t, s, tt.key, value)
			_, err := reopen(s).Load(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func relationValue(t *testing.T, s store.Store, from, to string) string {
	t.Helper()
	all := dump(t, s)
	id := func(key string) string {
		var e struct{ ID string }
		if err := json.Unmarshal([]byte(all[key]), &e); err != nil {
			t.Fatal(err)
		}
		return e.ID
	}
	return fmt.Sprintf(`{"from":%q,"to":%q}`, id(from), id(to))
}

func TestTwoDirectoriesOnOneStoreSeeEachOther(t *testing.T) {
	a, s := newDirectory(t)
	b := reopen(s)
	apply(t, a, library)
	load(t, b)
	apply(t, a, "kind: User\nmetadata: {name: new}")
	apply(t, b, "kind: Group\nmetadata: {name: library}\nspec: {members: [new]}")
	if diff := cmp.Diff(load(t, b), load(t, a)); diff != "" {
		t.Errorf("(-b +a):\n%s", diff)
	}
	if g := load(t, a).Generation; g != 3 {
		t.Errorf("generation %d, want 3", g)
	}
}

func TestConcurrentWritesAllCount(t *testing.T) {
	d, s := newDirectory(t)
	const writers, rounds = 4, 10
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range rounds {
				name := fmt.Sprintf("u%d-%d", w, i)
				if _, err := d.Apply(t.Context(), []model.Entity{&model.User{Metadata: model.Metadata{Name: name}}}, directory.Options{}); err != nil {
					t.Error(err)
				}
				if _, err := d.Load(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got := load(t, reopen(s))
	if got.Generation != writers*rounds || len(got.State.Users) != writers*rounds {
		t.Errorf("generation %d with %d users, want %d", got.Generation, len(got.State.Users), writers*rounds)
	}
}
