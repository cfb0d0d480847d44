package directory_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
	"sallyport/host/internal/store/mem"
	"sallyport/policydata"
)

func audit(t *testing.T, d *directory.Directory, q directory.AuditQuery) directory.AuditPage {
	t.Helper()
	if q.Amount == 0 {
		q.Amount = 1000
	}
	page, err := d.Audit(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// line is a record in short.
func line(r directory.Record) string {
	who := r.Actor.User + r.Actor.Service + r.Actor.Host
	return fmt.Sprintf("%d.%d %s %s %s %s %s -> %s", r.Generation, r.Sequence, who, r.Operation, r.Kind, r.Name, r.Before, r.After)
}

func lines(page directory.AuditPage) []string {
	out := []string{}
	for _, r := range page.Records {
		out = append(out, line(r))
	}
	return out
}

func TestEachWriteHasItsRecords(t *testing.T) {
	d, s := newDirectory(t)
	ctx := directory.As(t.Context(), directory.Actor{User: "root", AccessKeyID: "SPX"})
	do := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	user := func(spec string) []model.Entity { return docs(t, "kind: User\nmetadata: {name: u}\n"+spec) }
	eric := model.Key{Kind: model.KindUser, Name: "u"}
	do(d.Apply(ctx, user(""), directory.Options{}))
	do(d.Apply(ctx, user(""), directory.Options{}))
	do(d.Apply(ctx, user("spec: {email: a@b}"), directory.Options{DryRun: true}))
	do(d.Apply(ctx, append(user("spec: {email: a@b, disabled: true}"), docs(t, "kind: Group\nmetadata: {name: g}\nspec: {members: [u]}")...), directory.Options{}))
	do(d.Apply(ctx, docs(t, "kind: User\nmetadata: {name: v}"), directory.Options{}))
	do(d.Relate(ctx, model.Key{Kind: model.KindGroup, Name: "g"}, model.Key{Kind: model.KindUser, Name: "v"}, true, directory.Options{}))
	creds, err := d.CreateCredentials(ctx, eric, directory.Options{})
	do(nil, err)
	do(d.DeleteCredentials(ctx, eric, creds.AccessKeyID, directory.Options{}))
	do(d.Delete(ctx, eric, directory.Options{}))
	do(d.Apply(t.Context(), docs(t, issuerDoc("idp", "{uri: \"https://keys\"}")), directory.Options{}))
	issuer, _ := load(t, d).State.Get(model.Key{Kind: model.KindIssuer, Name: "idp"})
	if _, _, err := d.SetIssuerKeys(t.Context(), directory.RefOf(issuer.(*model.Issuer)), []policydata.Key{{ID: "k1", SPKI: []byte("x")}}); err != nil {
		t.Fatal(err)
	}
	do(d.Revoke(ctx, policydata.RevokedToken{Issuer: "idp", ID: "j", Expires: testTime.Unix() + 60}))
	do(d.Unrevoke(ctx, "idp", "j", directory.Options{}))
	if _, err := d.Apply(ctx, docs(t, "kind: Group\nmetadata: {name: g}\nspec: {members: [nobody]}"), directory.Options{}); err == nil {
		t.Error("an unknown member was accepted")
	}

	got := lines(audit(t, d, directory.AuditQuery{Oldest: true}))
	for i := range got {
		got[i] = strings.ReplaceAll(got[i], creds.AccessKeyID, "KEY")
	}
	want := []string{
		`1.1 root created User u  -> {"spec":{}}`,
		`2.2 root updated User u {} -> {"spec":{"disabled":true,"email":"a@b"}}`,
		`2.3 root created Group g  -> {"spec":{"members":["u"]}}`,
		`3.4 root created User v  -> {"spec":{}}`,
		`4.5 root updated Group g {} -> {"spec":{"members":["v"]}}`,
		`5.6 root accessKeyCreated User u  -> {"accessKeyId":"KEY"}`,
		`6.7 root accessKeyDeleted User u {"accessKeyId":"KEY"} -> `,
		`7.8 root deleted User u {"spec":{"email":"a@b","disabled":true}} -> `,
		`7.9 root updated Group g {"spec":{"members":["u"]}} -> {}`,
		`8.10 host created Issuer idp  -> `,
		`9.11 key keeper keysFetched Issuer idp  -> {"keys":[{"kid":"k1"}],"source":"https://keys"}`,
		`10.12 root revoked Issuer idp  -> {"expires":"2026-11-01T12:01:00Z","jti":"j"}`,
		`11.13 root unrevoked Issuer idp {"expires":"2026-11-01T12:01:00Z","jti":"j"} -> `,
	}
	for i, w := range want {
		if strings.HasPrefix(w, "8.10 ") && len(got) > i {
			got[i] = got[i][:len(w)] // the defaults of an Issuer are of no interest here
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	first := audit(t, d, directory.AuditQuery{Oldest: true}).Records[0]
	if !first.Time.Equal(testTime) || first.Epoch != 1 || first.Actor.AccessKeyID != "SPX" {
		t.Errorf("got %+v", first)
	}
	for key, value := range dump(t, s) {
		if strings.HasPrefix(key, "auth/audit/") && (strings.Contains(value, creds.Secret.Reveal()) || strings.Contains(value, "sha256")) {
			t.Errorf("%s has a secret: %s", key, value)
		}
	}
}

// manyRecords returns a directory with a record a second, of two users in turn.
func manyRecords(t *testing.T, n int) (*directory.Directory, *time.Time) {
	t.Helper()
	now := testTime
	d := directory.New(mem.New(), testChecks, func() time.Time { return now })
	for i := range n {
		ctx := directory.As(t.Context(), directory.Actor{User: []string{"even", "odd"}[i%2]})
		u := &model.User{Metadata: model.Metadata{Name: []string{"a", "b", "c"}[i%3], Description: fmt.Sprint(i)}}
		if _, err := d.Apply(ctx, []model.Entity{u}, directory.Options{}); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Second)
	}
	return d, &now
}

func TestAuditPages(t *testing.T) {
	const n = 1200 // more than are read at once
	d, _ := manyRecords(t, n)
	for _, oldest := range []bool{true, false} {
		for name, tt := range map[string]struct {
			query directory.AuditQuery
			want  func(i int) bool
		}{
			"all":         {directory.AuditQuery{Amount: 100}, func(int) bool { return true }},
			"of a user":   {directory.AuditQuery{Amount: 7, User: "odd"}, func(i int) bool { return i%2 == 1 }},
			"of a name":   {directory.AuditQuery{Amount: 1000, Kind: model.KindUser, Name: "b"}, func(i int) bool { return i%3 == 1 }},
			"of nobody":   {directory.AuditQuery{Amount: 1, User: "x"}, func(int) bool { return false }},
			"since":       {directory.AuditQuery{Amount: 33, Since: testTime.Add(1100 * time.Second)}, func(i int) bool { return i >= 1100 }},
			"since ever":  {directory.AuditQuery{Amount: 1000, Since: testTime.Add(-time.Hour)}, func(int) bool { return true }},
			"since later": {directory.AuditQuery{Amount: 3, Since: testTime.Add(time.Hour)}, func(int) bool { return false }},
		} {
			t.Run(fmt.Sprint(name, ", oldest first ", oldest), func(t *testing.T) {
				var want, got []uint64
				for i := range n {
					if tt.want(i) {
						want = append(want, uint64(i)+1)
					}
				}
				q := tt.query
				q.Oldest = oldest
				for pages := 0; ; pages++ {
					page := audit(t, d, q)
					for _, r := range page.Records {
						got = append(got, r.Sequence)
					}
					if q.After = page.Last; !page.More {
						break
					}
					if pages > n {
						t.Fatal("there is always more")
					}
				}
				if !oldest {
					for i, k := 0, len(got)-1; i < k; i, k = i+1, k-1 {
						got[i], got[k] = got[k], got[i]
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("records (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestOldAuditRecordsAreTrimmed(t *testing.T) {
	const n = 1200
	d, now := manyRecords(t, n)
	generation := load(t, d).Generation
	trim := func(l directory.AuditLimits, wantRemoved int, wantFirst uint64) {
		t.Helper()
		removed, err := d.TrimAudit(t.Context(), l)
		if removed != wantRemoved || err != nil {
			t.Errorf("%+v: removed %d, %v; want %d", l, removed, err, wantRemoved)
		}
		page := audit(t, d, directory.AuditQuery{Oldest: true, Amount: 1})
		if len(page.Records) != 1 || page.Records[0].Sequence != wantFirst {
			t.Errorf("%+v: %v is the first, want %d", l, lines(page), wantFirst)
		}
	}
	trim(directory.AuditLimits{}, 0, 1)
	trim(directory.AuditLimits{Records: n}, 0, 1)
	trim(directory.AuditLimits{Records: 600}, 600, 601)
	trim(directory.AuditLimits{Age: time.Hour}, 0, 601)
	*now = testTime.Add(time.Hour + 1000*time.Second)
	trim(directory.AuditLimits{Age: time.Hour}, 400, 1001)
	if got := load(t, d).Generation; got != generation {
		t.Errorf("generation %d after %d", got, generation)
	}
	trim(directory.AuditLimits{Records: 1}, 199, 1200)
	if page := audit(t, d, directory.AuditQuery{}); len(page.Records) != 1 || page.More {
		t.Errorf("newest first: %v", lines(page))
	}
}

func TestAVeryLargeDocumentIsLeftOutOfItsRecord(t *testing.T) {
	d, _ := newDirectory(t)
	group := &model.Group{Metadata: model.Metadata{Name: "g"}}
	all := []model.Entity{group}
	for i := range 10_000 {
		name := fmt.Sprintf("%030d", i)
		all = append(all, &model.User{Metadata: model.Metadata{Name: name}})
		group.Members = append(group.Members, name)
	}
	if _, err := d.Apply(t.Context(), all, directory.Options{}); err != nil {
		t.Fatal(err)
	}
	var after struct{ OmittedBytes int }
	r := audit(t, d, directory.AuditQuery{Kind: model.KindGroup}).Records[0]
	if err := json.Unmarshal(r.After, &after); err != nil || after.OmittedBytes < 300_000 {
		t.Errorf("got %s", r.After)
	}
	if _, err := d.Relate(t.Context(), model.KeyOf(group), model.Key{Kind: model.KindUser, Name: group.Members[7]}, false, directory.Options{}); err != nil {
		t.Fatal(err)
	}
	r = audit(t, d, directory.AuditQuery{Kind: model.KindGroup}).Records[0]
	if want := fmt.Sprintf(`{"spec":{"members":[%q]}}`, group.Members[7]); string(r.Before) != want || string(r.After) != "{}" {
		t.Errorf("got %s -> %s, want %s", r.Before, r.After, want)
	}
}
