package directory_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
	"sallyport/host/internal/store"
	"sallyport/host/internal/store/mem"
	"sallyport/policydata"
)

func rollback(t *testing.T, d *directory.Directory, r directory.Rollback) directory.RollbackResult {
	t.Helper()
	got, err := d.Rollback(t.Context(), r, directory.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func inlineIssuer(keys ...string) string {
	return issuerDoc("idp", `{inline: {keys: [`+strings.Join(keys, ", ")+`]}}`)
}

func TestWhatWasClosedStaysClosed(t *testing.T) {
	const user, service = "kind: User\nmetadata: {name: u}\nspec: ", "kind: Role\nmetadata: {name: r}\n---\nkind: ServiceAccount\nmetadata: {name: s}\nspec: "
	const k1, k2, k3 = `{kty: EC, kid: "1"}`, `{kid: "2", kty: EC}`, `{kty: EC, kid: "3"}`
	const early, late = `{tokensNotBefore: "2026-01-01T00:00:00Z"}`, `{tokensNotBefore: "2026-02-01T00:00:00Z"}`
	u := model.Key{Kind: model.KindUser, Name: "u"}
	for name, tt := range map[string]struct {
		then, since string
		deleted     bool // at last
		rollback    directory.Rollback
		want        string
		kept        string // field
	}{
		"a user who was disabled":                   {user + "{email: a@b}", user + "{disabled: true}", false, directory.Rollback{}, user + "{email: a@b, disabled: true}", "spec.disabled"},
		"a user who was disabled, by enable":        {user + "{email: a@b}", user + "{disabled: true}", false, directory.Rollback{Enable: true}, user + "{email: a@b}", ""},
		"a user who was enabled is disabled":        {user + "{disabled: true}", user + "{}", false, directory.Rollback{Enable: true}, user + "{disabled: true}", ""},
		"a service that was disabled":               {service + "{role: r}", service + "{role: r, disabled: true}", false, directory.Rollback{}, service + "{role: r, disabled: true}", "spec.disabled"},
		"a service that was disabled, by enable":    {service + "{role: r}", service + "{role: r, disabled: true}", false, directory.Rollback{Enable: true}, service + "{role: r}", ""},
		"the later tokensNotBefore":                 {user + early, user + late, false, directory.Rollback{}, user + late, "spec.tokensNotBefore"},
		"an earlier one since does not count":       {user + late, user + early, false, directory.Rollback{}, user + late, ""},
		"one that was set since":                    {user + "{}", user + late, false, directory.Rollback{Enable: true, Keys: true}, user + late, "spec.tokensNotBefore"},
		"of a user who was deleted then":            {user + "{email: a@b}", user + late, true, directory.Rollback{}, user + strings.Replace(late, "{", "{email: a@b, ", 1), "spec.tokensNotBefore"},
		"a disabled user who was deleted then":      {user + "{email: a@b}", user + "{disabled: true}", true, directory.Rollback{}, user + "{email: a@b, disabled: true}", "spec.disabled"},
		"an inline key that was withdrawn":          {inlineIssuer(k1, k2), inlineIssuer(k2, k3), false, directory.Rollback{}, inlineIssuer(`{kid: "2", kty: EC}`), "spec.jwks.inline"},
		"an inline key that was withdrawn, by keys": {inlineIssuer(k1, k2), inlineIssuer(k2, k3), false, directory.Rollback{Keys: true}, inlineIssuer(k1, k2), ""},
		"an inline key that came goes":              {inlineIssuer(k1), inlineIssuer(k1, k3), false, directory.Rollback{}, inlineIssuer(k1), ""},
		"no inline key is left":                     {inlineIssuer(k1), inlineIssuer(k3), false, directory.Rollback{}, inlineIssuer(), "spec.jwks.inline"},
		"inline keys where keys are fetched":        {inlineIssuer(k1), issuerDoc("idp", `{uri: "https://keys"}`), false, directory.Rollback{}, issuerDoc("idp", `{uri: "https://keys"}`), "spec.jwks.inline"},
		"the same, by keys":                         {inlineIssuer(k1), issuerDoc("idp", `{uri: "https://keys"}`), false, directory.Rollback{Keys: true}, inlineIssuer(k1), ""},
		"fetched keys where there are inline ones":  {issuerDoc("idp", `{uri: "https://keys"}`), inlineIssuer(k1), false, directory.Rollback{}, issuerDoc("idp", `{uri: "https://keys"}`), ""},
	} {
		t.Run(name, func(t *testing.T) {
			d, _ := newDirectory(t)
			to := apply(t, d, tt.then).Generation
			apply(t, d, tt.since)
			if tt.deleted {
				if _, err := d.Delete(t.Context(), u, directory.Options{}); err != nil {
					t.Fatal(err)
				}
			}
			tt.rollback.To = to
			got := rollback(t, d, tt.rollback)
			want, _ := newDirectory(t)
			apply(t, want, tt.want)
			if diff := cmp.Diff(withoutIDs(load(t, want).State), withoutIDs(load(t, d).State)); diff != "" {
				t.Errorf("state (-want +got):\n%s", diff)
			}
			field := ""
			for _, k := range got.Kept {
				field += k.Field
			}
			if field != tt.kept {
				t.Errorf("kept %+v, want %q", got.Kept, tt.kept)
			}
		})
	}
}

func TestARollbackIsOneWriteWithItsRecords(t *testing.T) {
	d, _ := newDirectory(t)
	ctx := directory.As(t.Context(), directory.Actor{User: "root"})
	to := apply(t, d, library).Generation
	creds, err := d.CreateCredentials(ctx, model.Key{Kind: model.KindUser, Name: "eric"}, directory.Options{})
	if err != nil {
		t.Fatal(err)
	}
	apply(t, d, "kind: Group\nmetadata: {name: library}\nspec: {members: [eric]}\n---\nkind: User\nmetadata: {name: new}")
	before := load(t, d)
	deleteIfThere(t, d, model.Key{Kind: model.KindUser, Name: "sean"})

	dry, err := d.Rollback(ctx, directory.Rollback{To: to}, directory.Options{DryRun: true})
	if err != nil || load(t, d).Generation != before.Generation+1 {
		t.Errorf("a dry run: %v, generation %d", err, load(t, d).Generation)
	}
	got, err := d.Rollback(ctx, directory.Rollback{To: to}, directory.Options{})
	if err != nil || got.Generation != before.Generation+2 {
		t.Fatalf("got %+v and %v", got, err)
	}
	want := []directory.Change{
		{Kind: model.KindUser, Name: "new", Action: directory.Deleted},
		{Kind: model.KindUser, Name: "sean", Action: directory.Created},
		{Kind: model.KindGroup, Name: "library", Action: directory.Updated},
		{Kind: model.KindRole, Name: "librarian", Action: directory.Updated},
		{Kind: model.KindServiceAccount, Name: "mlops", Action: directory.Updated},
	}
	if diff := cmp.Diff(want, got.Changes); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(dry.Changes, got.Changes); diff != "" {
		t.Errorf("changes of the dry run (-dry +got):\n%s", diff)
	}
	var written []string
	for _, e := range got.Written {
		written = append(written, e.Meta().Name)
	}
	if diff := cmp.Diff([]string{"sean", "library", "librarian", "mlops"}, written); diff != "" {
		t.Errorf("written (-want +got):\n%s", diff)
	}
	records := audit(t, d, directory.AuditQuery{}).Records[:6]
	if r := records[5]; r.Operation != directory.RolledBack || string(r.After) != fmt.Sprintf(`{"to":"%d"}`, to) || r.Actor.User != "root" {
		t.Errorf("the first record of it: %s", line(r))
	}
	for _, r := range records {
		if r.Generation != got.Generation {
			t.Errorf("of another generation: %s", line(r))
		}
	}
	if owner, err := d.Authenticate(ctx, creds.AccessKeyID, creds.Secret.Reveal()); owner.Name != "eric" || err != nil {
		t.Errorf("the access key: %v, %v", owner, err)
	}
	again := rollback(t, d, directory.Rollback{To: to})
	if len(again.Changes) != 0 || again.Generation != got.Generation {
		t.Errorf("once more: %+v", again)
	}
	rollback(t, d, directory.Rollback{To: before.Generation}) // the way back
	if diff := cmp.Diff(withoutIDs(before.State), withoutIDs(load(t, d).State)); diff != "" {
		t.Errorf("back from the rollback (-want +got):\n%s", diff)
	}
}

func TestADeletedAccessKeyDoesNotComeBack(t *testing.T) {
	d, _ := newDirectory(t)
	to := apply(t, d, library).Generation
	eric := model.Key{Kind: model.KindUser, Name: "eric"}
	var gone []directory.Credentials
	for range 2 {
		creds, err := d.CreateCredentials(t.Context(), eric, directory.Options{})
		if err != nil {
			t.Fatal(err)
		}
		gone, to = append(gone, creds), load(t, d).Generation
	}
	if _, err := d.DeleteCredentials(t.Context(), eric, gone[0].AccessKeyID, directory.Options{}); err != nil {
		t.Fatal(err)
	}
	deleteIfThere(t, d, eric)
	rollback(t, d, directory.Rollback{To: to})
	if !hasKey(t, d, eric) {
		t.Fatal("the user is not back")
	}
	for _, creds := range gone {
		if _, err := d.Authenticate(t.Context(), creds.AccessKeyID, creds.Secret.Reveal()); !errors.Is(err, directory.ErrBadCredentials) {
			t.Errorf("got %v, want ErrBadCredentials", err)
		}
	}
}

func hasKey(t *testing.T, d *directory.Directory, k model.Key) bool {
	t.Helper()
	_, ok := load(t, d).State.Get(k)
	return ok
}

func TestTokensStayRevokedWithAnIssuerThatComesBack(t *testing.T) {
	d, _ := newDirectory(t)
	idp := model.Key{Kind: model.KindIssuer, Name: "idp"}
	apply(t, d, issuerDoc("idp", `{uri: "https://keys"}`))
	revoke := func(id string) {
		t.Helper()
		if _, err := d.Revoke(t.Context(), policydata.RevokedToken{Issuer: "idp", ID: id, Expires: testTime.Unix() + 60}); err != nil {
			t.Fatal(err)
		}
	}
	revoke("before")
	revoke("forgiven")
	to := load(t, d).Generation
	revoke("after")
	if _, err := d.Unrevoke(t.Context(), "idp", "forgiven", directory.Options{}); err != nil {
		t.Fatal(err)
	}
	deleteIfThere(t, d, idp)
	rollback(t, d, directory.Rollback{To: to})
	var got []string
	for _, r := range load(t, d).State.Revoked {
		got = append(got, r.ID)
	}
	if diff := cmp.Diff([]string{"after", "before"}, got); diff != "" {
		t.Errorf("revoked (-want +got):\n%s", diff)
	}
}

func TestReservedDocumentsGoBackByForce(t *testing.T) {
	reserved := func(description string) string {
		return "kind: User\nmetadata: {name: r, reserved: true, description: " + description + "}"
	}
	for name, since := range map[string]func(*testing.T, *directory.Directory){
		"changed": func(t *testing.T, d *directory.Directory) {
			if _, err := d.Apply(t.Context(), docs(t, reserved("two")), directory.Options{Force: true}); err != nil {
				t.Fatal(err)
			}
		},
		"created": func(t *testing.T, d *directory.Directory) {
			apply(t, d, "kind: User\nmetadata: {name: other, reserved: true}")
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, _ := newDirectory(t)
			r := directory.Rollback{To: apply(t, d, reserved("one")).Generation}
			want := load(t, d)
			since(t, d)
			_, err := d.Rollback(t.Context(), r, directory.Options{})
			if !errors.As(err, new(model.Problems)) || !strings.Contains(err.Error(), "only by force") {
				t.Errorf("got %v", err)
			}
			if _, err := d.Rollback(t.Context(), r, directory.Options{Force: true}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want.State, load(t, d).State); diff != "" {
				t.Errorf("state (-want +got):\n%s", diff)
			}
		})
	}
}

func TestARollbackIsAskedAboutLikeAnApply(t *testing.T) {
	refusal := errors.New("refused")
	states := func(*model.State, *model.State) error { return refusal }
	one := func(*model.State) error { return refusal }
	for name, o := range map[string]directory.Options{
		"before": {Before: one}, "permit": {Permit: states}, "judge": {Judge: one},
		"permit of a dry run": {Permit: states, DryRun: true},
	} {
		t.Run(name, func(t *testing.T) {
			d, _ := newDirectory(t)
			to := apply(t, d, library).Generation
			last := apply(t, d, "kind: User\nmetadata: {name: new}").Generation
			if _, err := d.Rollback(t.Context(), directory.Rollback{To: to}, o); !errors.Is(err, refusal) {
				t.Errorf("got %v", err)
			}
			if got := load(t, d).Generation; got != last {
				t.Errorf("generation %d after %d", got, last)
			}
		})
	}
}

func TestHowFarBackRecordsReach(t *testing.T) {
	const n = 1200 // more than are read at once
	change := func(t *testing.T, s store.Store, key string, to []byte) {
		t.Helper()
		err := s.Update(t.Context(), func(tx store.Tx) error {
			if to == nil {
				return tx.Delete(key)
			}
			return tx.Put(key, to)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	trim := func(records int) func(*testing.T, *directory.Directory, store.Store) {
		return func(t *testing.T, d *directory.Directory, _ store.Store) {
			if _, err := d.TrimAudit(t.Context(), directory.AuditLimits{Records: records}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, tt := range map[string]struct {
		since  func(*testing.T, *directory.Directory, store.Store)
		to     uint64
		reason string // "": it can be
	}{
		"to the first":                  {nil, 1, ""},
		"to the last":                   {nil, n, ""},
		"to none":                       {nil, 0, "generation 0, when nothing was there yet, can't be gone back to"},
		"to one that is not there yet":  {nil, n + 1, "generation 1201 can't be gone back to: the last is 1200"},
		"to the oldest record's":        {trim(600), 601, ""},
		"behind the oldest record":      {trim(600), 600, "generation 600 can't be gone back to: what is recorded reaches back to generation 601"},
		"far behind the oldest record":  {trim(7), 3, "reaches back to generation 1194"},
		"to the last, without a record": {trim(1), n, ""},
		"into another epoch": {func(t *testing.T, d *directory.Directory, _ store.Store) {
			if _, err := d.BeginEpoch(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
		}, n, "generation 1200 can't be gone back to: what is recorded reaches back to generation 1201"},
		"a record that is damaged": {func(t *testing.T, d *directory.Directory, s store.Store) {
			r := audit(t, d, directory.AuditQuery{Amount: 1}).Records[0]
			change(t, s, fmt.Sprintf("auth/audit/%020d", r.Sequence), fmt.Appendf(nil,
				`{"sequence":"%d","epoch":"1","generation":"%d","time":"2026-11-01T12:00:00Z","actor":{},"operation":"updated","kind":"User","name":"nobody","before":{}}`, r.Sequence, r.Generation))
		}, 5, `audit record 1200, of User "nobody", does not fit: it is not there`},
	} {
		t.Run(name, func(t *testing.T) {
			s := mem.New()
			d := directory.New(s, testChecks, func() time.Time { return testTime })
			for i := range n {
				u := &model.User{Metadata: model.Metadata{Name: []string{"a", "b", "c"}[i%3], Description: fmt.Sprint(i)}}
				if _, err := d.Apply(t.Context(), []model.Entity{u}, directory.Options{}); err != nil {
					t.Fatal(err)
				}
			}
			if tt.since != nil {
				tt.since(t, d, s)
			}
			_, err := d.Rollback(t.Context(), directory.Rollback{To: tt.to}, directory.Options{})
			if tt.reason == "" {
				if err != nil {
					t.Error(err)
				}
				u, _ := load(t, d).State.Get(model.Key{Kind: model.KindUser, Name: []string{"a", "b", "c"}[(tt.to-1)%3]})
				if got, want := u.Meta().Description, fmt.Sprint(tt.to-1); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
				return
			}
			if !errors.Is(err, directory.ErrUnreachable) || !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("got %v, want %q", err, tt.reason)
			}
		})
	}
}

// TestAVeryLargeDocumentComesBack: what is too large for a record is kept beside
// it, and goes with it.
func TestAVeryLargeDocumentComesBack(t *testing.T) {
	d, s := newDirectory(t)
	group := &model.Group{Metadata: model.Metadata{Name: "g"}}
	all := []model.Entity{group}
	for i := range 10_000 {
		name := fmt.Sprintf("%030d", i)
		all = append(all, &model.User{Metadata: model.Metadata{Name: name}})
		group.Members = append(group.Members, name)
	}
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(d.Apply(t.Context(), all, directory.Options{}))
	whole := load(t, d)
	must(d.Apply(t.Context(), []model.Entity{&model.Group{Metadata: model.Metadata{Name: "g"}}}, directory.Options{}))
	must(d.Delete(t.Context(), model.KeyOf(group), directory.Options{}))
	contents := func() (n int) {
		for key := range dump(t, s) {
			if strings.HasPrefix(key, "meta/audit-content/") {
				n++
			}
		}
		return n
	}
	if contents() != 2 { // of what it was created with, and of what went first
		t.Errorf("%d contents are kept", contents())
	}
	rollback(t, d, directory.Rollback{To: whole.Generation})
	if diff := cmp.Diff(withoutIDs(whole.State), withoutIDs(load(t, reopen(s)).State)); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	must(d.TrimAudit(context.Background(), directory.AuditLimits{Records: 1}))
	if contents() != 1 {
		t.Errorf("%d contents are kept of one record", contents())
	}
}

// TestContentOfAnEarlierVersion: a version that did not keep what is too large
// left records that can't be undone.
func TestContentOfAnEarlierVersion(t *testing.T) {
	d, s := newDirectory(t)
	policy := &model.Policy{Metadata: model.Metadata{Name: "p"}}
	for i := range 200 {
		path := "/" + strings.Repeat("x", 2000) + fmt.Sprint(i)
		policy.Rules = append(policy.Rules, model.Rule{Effect: model.Allow, Methods: []string{"GET"}, Paths: []string{path}})
	}
	if _, err := d.Apply(t.Context(), []model.Entity{policy}, directory.Options{}); err != nil {
		t.Fatal(err)
	}
	deleteIfThere(t, d, model.KeyOf(policy))
	err := s.Update(t.Context(), func(tx store.Tx) error { return tx.Delete("meta/audit-content/00000000000000000002/before") })
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Rollback(t.Context(), directory.Rollback{To: 1}, directory.Options{})
	if !errors.Is(err, directory.ErrUnreachable) || !strings.Contains(err.Error(), "reaches back to generation 2") {
		t.Errorf("got %v", err)
	}
}
