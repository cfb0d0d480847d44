package directory_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
)

func user(name string) string { return "kind: User\nmetadata: {name: " + name + "}" }

func users(names ...string) string {
	for i, n := range names {
		names[i] = user(n)
	}
	return strings.Join(names, "\n---\n")
}

// setsOf returns which sets users belong to.
func setsOf(t *testing.T, d *directory.Directory) map[string]string {
	t.Helper()
	sets := map[string]string{}
	for _, u := range load(t, d).State.Users {
		sets[u.Name] = u.Set
	}
	return sets
}

func TestSets(t *testing.T) {
	for _, tt := range []struct {
		rule    string
		docs    string
		options directory.Options
		want    map[string]string // users and their sets afterwards
		changes string
		err     string
	}{
		{
			"a set has what it creates and what no set has", users("new", "free"),
			directory.Options{Set: "a"},
			map[string]string{"mine": "a", "new": "a", "free": "a", "theirs": "b", "kept": "a", "first": ""},
			"free claimed a, new created a", "",
		},
		{
			"what another set has is a problem that names both", users("theirs"),
			directory.Options{Set: "a"},
			nil, "", `User "theirs": metadata.name: belongs to set "b", and these documents are set "a": only force moves it`,
		},
		{
			"force moves it", users("theirs"),
			directory.Options{Set: "a", Force: true},
			map[string]string{"mine": "a", "free": "", "theirs": "a", "kept": "a", "first": ""},
			"theirs claimed a", "",
		},
		{
			"where the set is implied it stays where it is, also by force", users("theirs", "free") + "\nspec: {disabled: true}",
			directory.Options{Set: "a", Implied: true, Force: true},
			map[string]string{"mine": "a", "free": "a", "theirs": "b", "kept": "a", "first": ""},
			"free updated a, theirs unchanged b", "",
		},
		{
			"documents that are no set take nothing", users("new", "free", "theirs", "mine"),
			directory.Options{},
			map[string]string{"mine": "a", "new": "", "free": "", "theirs": "b", "kept": "a", "first": ""},
			"free unchanged , mine unchanged a, new created , theirs unchanged b", "",
		},
		{
			"pruning deletes what belongs to the set, and not what is reserved", users("new"),
			directory.Options{Set: "a", Prune: true},
			map[string]string{"new": "a", "free": "", "theirs": "b", "kept": "a", "first": ""},
			"mine deleted a, new created a", "",
		},
		{
			"by force what is reserved, too", users("new"),
			directory.Options{Set: "a", Prune: true, Force: true},
			map[string]string{"new": "a", "free": "", "theirs": "b", "first": ""},
			"kept deleted a, mine deleted a, new created a", "",
		},
		{
			"documents that are no set prune nothing", users("new"),
			directory.Options{Prune: true, Force: true},
			map[string]string{"mine": "a", "new": "", "free": "", "theirs": "b", "kept": "a", "first": ""},
			"new created ", "",
		},
		{
			"what is reserved and no set has is not taken", "kind: User\nmetadata: {name: first, reserved: true}",
			directory.Options{Set: "a"},
			map[string]string{"mine": "a", "free": "", "theirs": "b", "kept": "a", "first": ""},
			"first unchanged ", "",
		},
		{
			"but is by force", "kind: User\nmetadata: {name: first, reserved: true}",
			directory.Options{Set: "a", Force: true},
			map[string]string{"mine": "a", "free": "", "theirs": "b", "kept": "a", "first": "a"},
			"first claimed a", "",
		},
		{
			"and not where the set is implied", "kind: User\nmetadata: {name: first, reserved: true}",
			directory.Options{Set: "a", Implied: true, Force: true},
			map[string]string{"mine": "a", "free": "", "theirs": "b", "kept": "a", "first": ""},
			"first unchanged ", "",
		},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			d, s := newDirectory(t)
			applySet(t, d, "a", user("mine")+"\n---\nkind: User\nmetadata: {name: kept, reserved: true}")
			applySet(t, d, "b", user("theirs"))
			apply(t, d, user("free")+"\n---\nkind: User\nmetadata: {name: first, reserved: true}")
			before := setsOf(t, d)
			dry := tt.options
			dry.DryRun = true
			shown, dryErr := d.Apply(t.Context(), docs(t, tt.docs), dry)
			if diff := cmp.Diff(before, setsOf(t, d)); diff != "" {
				t.Errorf("a dry run changed sets:\n%s", diff)
			}
			result, err := d.Apply(t.Context(), docs(t, tt.docs), tt.options)
			if diff := cmp.Diff(shown.Changes, result.Changes); diff != "" || fmt.Sprint(dryErr) != fmt.Sprint(err) {
				t.Errorf("a dry run shows something else (%v, %v):\n%s", dryErr, err, diff)
			}
			if tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Errorf("got %v, want %s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var changes []string
			for _, c := range result.Changes {
				changes = append(changes, fmt.Sprintf("%s %s %s", c.Name, c.Action, c.Set))
			}
			if got := strings.Join(changes, ", "); got != tt.changes {
				t.Errorf("changes %q, want %q", got, tt.changes)
			}
			if diff := cmp.Diff(tt.want, setsOf(t, d)); diff != "" {
				t.Errorf("sets (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(load(t, d), load(t, reopen(s))); diff != "" {
				t.Errorf("in memory and in the store (-memory +store):\n%s", diff)
			}
		})
	}
}

// What writes one entity leaves it in its set; who is created anew is in none.
func TestOtherWritesKeepTheSet(t *testing.T) {
	d, _ := newDirectory(t)
	applySet(t, d, "a", library)
	apply(t, d, user("eric")+"\nspec: {disabled: true}")
	group := model.Key{Kind: model.KindGroup, Name: "library"}
	if _, err := d.Relate(t.Context(), group, model.Key{Kind: model.KindUser, Name: "sean"}, false, directory.Options{}); err != nil {
		t.Fatal(err)
	}
	for _, e := range load(t, d).State.Entities() {
		if e.Meta().Set != "a" {
			t.Errorf("%s %q: set %q", e.Kind(), e.Meta().Name, e.Meta().Set)
		}
	}
	if _, err := d.Delete(t.Context(), group, directory.Options{}); err != nil {
		t.Fatal(err)
	}
	apply(t, d, "kind: Group\nmetadata: {name: library}")
	if e, ok := load(t, d).State.Get(group); !ok || e.Meta().Set != "" {
		t.Errorf("created anew: got %+v", e)
	}
}

// Fetched keys stay when their Issuer comes to a set, and what the audit records
// of that say is the set alone.
func TestClaimingChangesNothingElse(t *testing.T) {
	d, _ := newDirectory(t)
	const issuer = "kind: Issuer\nmetadata: {name: idp}\nspec: {issuer: \"https://a\", audiences: [b], algorithms: [RS256], jwks: {uri: \"https://a/k\"}}"
	apply(t, d, issuer)
	ref := directory.RefOf(load(t, d).State.Issuers[0])
	if _, _, err := d.SetIssuerKeys(t.Context(), ref, nil); err != nil {
		t.Fatal(err)
	}
	before := load(t, d).State
	applySet(t, d, "a", issuer)
	after := load(t, d).State
	if diff := cmp.Diff(before.Keys, after.Keys); diff != "" || after.Issuers[0].ID != before.Issuers[0].ID {
		t.Errorf("keys (-before +after):\n%s", diff)
	}
	directory.EachDifference(before, after, func(old, _ model.Entity) { t.Errorf("the document of %s changed", old.Meta().Name) })
	page, err := d.Audit(t.Context(), directory.AuditQuery{Amount: 1})
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(page.Records[0])
	if err != nil || !strings.Contains(string(got), `"operation":"claimed","kind":"Issuer","name":"idp","before":{"set":""},"after":{"set":"a"}}`) {
		t.Errorf("%v %s", err, got)
	}
}
