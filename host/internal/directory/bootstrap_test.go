package directory_test

import (
	"slices"
	"strings"
	"testing"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
	"sallyport/host/internal/store"
)

func policyNames(t *testing.T, d *directory.Directory) (names []string) {
	t.Helper()
	for _, p := range load(t, d).State.Policies {
		names = append(names, p.Name)
	}
	return names
}

// A store that an older version made gets the policies for the API that it lacks,
// once; what was deleted since stays deleted, and what is there stays as it is.
func TestEnsureAPIPolicies(t *testing.T) {
	d, s := newDirectory(t)
	if _, err := d.EnsureAdmin(t.Context()); err != nil {
		t.Fatal(err)
	}
	ensure := func(want ...string) {
		t.Helper()
		if added, err := reopen(s).EnsureAPIPolicies(t.Context()); err != nil || !slices.Equal(added, want) {
			t.Errorf("added %q and %v, want %q", added, err, want)
		}
	}
	ensure()
	if got := load(t, d).Generation; got != 1 {
		t.Errorf("a new store is at generation %d", got)
	}
	editor := model.Key{Kind: model.KindPolicy, Name: directory.EditorName}
	if _, err := d.Delete(t.Context(), editor, directory.Options{Force: true}); err != nil {
		t.Fatal(err)
	}
	ensure()

	// As an older version left it, which did not note its policies.
	var value []byte
	err := s.View(t.Context(), func(r store.Reader) (err error) {
		value, err = r.Get("meta/generation")
		return err
	})
	if err != nil || !strings.Contains(string(value), `,"apiPolicies":1`) {
		t.Fatalf("%s %v", value, err)
	}
	put(t, s, "meta/generation", strings.Replace(string(value), `,"apiPolicies":1`, "", 1))
	d = reopen(s)
	own := docs(t, "kind: Policy\nmetadata: {name: viewer, reserved: true}\nspec: {rules: [{effect: allow, methods: [GET], paths: [/x]}]}")
	if _, err := d.Apply(t.Context(), own, directory.Options{Force: true}); err != nil {
		t.Fatal(err)
	}
	ensure(directory.EditorName)
	ensure()
	if got := policyNames(t, d); !slices.Equal(got, []string{"admin", "editor", "viewer"}) {
		t.Errorf("policies %q", got)
	}
	viewer, _ := load(t, d).State.Get(model.Key{Kind: model.KindPolicy, Name: directory.ViewerName})
	if rules := viewer.(*model.Policy).Rules; len(rules) != 1 || rules[0].Paths[0] != "/x" {
		t.Errorf("viewer is %+v", rules)
	}
	page, err := d.Audit(t.Context(), directory.AuditQuery{Amount: 1})
	if err != nil || page.Records[0].Actor.Host != "upgrade" || page.Records[0].Name != directory.EditorName {
		t.Errorf("%v %+v", err, page.Records)
	}
	checkStore(t, s)
}
