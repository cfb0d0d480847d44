package api_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/host/internal/api"
	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
)

func group(spec string) string {
	return "apiVersion: sallyport/v1\nkind: Group\nmetadata: {name: g}\nspec: " + spec + "\n"
}

func user(name, spec string) string {
	return "apiVersion: sallyport/v1\nkind: User\nmetadata: {name: " + name + "}\nspec: " + spec + "\n"
}

func TestRollback(t *testing.T) {
	f := newFixture(t, options{})
	f.apply(t, user("u", "{}")+"---\n"+group("{members: [u]}")) // 2
	f.apply(t, user("u", "{disabled: true}"))                   // 3
	f.apply(t, group("{}"))                                     // 4
	want := api.RolledBack{
		Applied: api.Applied{Result: directory.Result{Epoch: 1, Generation: 4, Changes: []directory.Change{
			{Kind: model.KindGroup, Name: "g", Action: directory.Updated},
		}}},
		Kept: []directory.Kept{{
			Kind: model.KindUser, Name: "u", Field: "spec.disabled",
			Detail: "was disabled since, and stays so",
		}},
	}
	dry := decode[api.RolledBack](t, f.send("POST", "/api/v1/rollback", `{"to":"2","dryRun":true}`))
	if len(dry.Documents) != 1 || string(dry.Documents[0].Spec) != `{"members":["u"]}` {
		t.Errorf("documents %+v", dry.Documents)
	}
	dry.Documents = nil
	if diff := cmp.Diff(want, dry); diff != "" {
		t.Errorf("a dry run (-want +got):\n%s", diff)
	}
	want.Generation, want.Published = 5, true
	got := decode[api.RolledBack](t, f.send("POST", "/api/v1/rollback", `{"to":"2"}`))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rollback (-want +got):\n%s", diff)
	}
	got = decode[api.RolledBack](t, f.send("POST", "/api/v1/rollback", `{"to":"2","enable":true,"keys":true,"force":true}`))
	if len(got.Changes) != 1 || got.Changes[0].Name != "u" || len(got.Kept) != 0 || got.Generation != 6 {
		t.Errorf("enabling: %+v", got)
	}
	record := decode[api.Page[directory.Record]](t, f.send("GET", "/api/v1/audit?amount=2", "")).Results[1]
	if record.Operation != directory.RolledBack || string(record.After) != `{"to":"2"}` || record.Actor.User != "admin" {
		t.Errorf("audit record %+v", record)
	}
	for body, want := range map[string]struct {
		status int
		detail string
	}{
		`{"to":"7"}`:                    {422, "nothing was changed: generation 7 can't be gone back to: the last is 6"},
		`{"to":"0"}`:                    {400, `to: want a generation, as a text such as "12"`},
		`{}`:                            {400, "to: want a generation"},
		`{"to":2}`:                      {400, "the body: cannot unmarshal number"},
		`{"to":"2","to":"3"}`:           {400, "the body:"},
		`{"to":"2","dry":true}`:         {400, `the body: unknown field "dry"`},
		`{"to":"-1"}`:                   {400, "to: want a generation"},
		`{"to":"99999999999999999999"}`: {400, "to: want a generation"},
		``:                              {400, "the body:"},
	} {
		w := f.send("POST", "/api/v1/rollback", body)
		wantProblem(t, w, want.status, want.detail)
	}
	wantProblem(t, f.send("POST", "/api/v1/rollback?dryRun=true", `{"to":"2"}`), 400, "unknown parameter")
	wantProblem(t, f.send("GET", "/api/v1/rollback", ""), 405, "POST")
}

// TestARollbackGrantsNothing: going back is a write of who goes back, whoever
// wrote it then.
func TestARollbackGrantsNothing(t *testing.T) {
	f := newFixture(t, options{})
	f.apply(t, writers)                      // 2
	f.apply(t, user("ed", "{policies: []}")) // 3
	f.apply(t, user("ed", "{policies: [editing]}")+"---\n"+`apiVersion: sallyport/v1
kind: Policy
metadata: {name: rollback-only}
spec: {rules: [{effect: allow, methods: [POST], hosts: ["system:api"], paths: ["/api/v1/rollback"]}]}
---
`+user("uli", "{policies: [rollback-only, users-only]}")) // 4
	f.apply(t, user("new", "{policies: [admin]}"))      // 5
	f.apply(t, user("new", "{}"))                       // 6
	f.apply(t, user("new", "{policies: [users-only]}")) // 7
	as := func(name, body string) *httptest.ResponseRecorder {
		creds, err := f.directory.CreateCredentials(t.Context(), model.Key{Kind: model.KindUser, Name: name}, directory.Options{})
		if err != nil {
			t.Fatal(err)
		}
		req := httptest.NewRequest("POST", "/api/v1/rollback", strings.NewReader(body))
		req.SetBasicAuth(creds.AccessKeyID, creds.Secret.Reveal())
		return f.do(req)
	}
	const refusal = "nobody can grant what they don't hold"
	for _, dry := range []string{"", `,"dryRun":true`} {
		p := wantProblem(t, as("ed", `{"to":"5"`+dry+`}`), 403, refusal)
		if len(p.Errors) != 1 || p.Errors[0].Detail != `User "new": you don't hold Policy "admin"` {
			t.Errorf("errors %+v", p.Errors)
		}
	}
	// Who may not read all documents sees the names of what would change, as with
	// apply.
	if got := decode[api.RolledBack](t, as("uli", `{"to":"6","dryRun":true}`)); len(got.Changes) != 1 || got.Documents != nil {
		t.Errorf("got %+v", got)
	}
	if got := decode[api.RolledBack](t, as("ed", `{"to":"6","dryRun":true}`)); len(got.Documents) != 1 {
		t.Errorf("got %+v", got)
	}
	if got := decode[api.RolledBack](t, as("boss", `{"to":"5"}`)); len(got.Changes) != 1 {
		t.Errorf("got %+v", got)
	}
}
