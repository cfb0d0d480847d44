package api_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/host/internal/api"
	"sallyport/host/internal/backup"
	"sallyport/host/internal/devissuer"
	"sallyport/host/internal/directory"
	"sallyport/host/internal/store"
)

const operators = `
apiVersion: sallyport/v1
kind: Policy
metadata: {name: operate}
spec: {rules: [{effect: allow, methods: ["*"], hosts: ["system:api"], paths: ["/**"]}]}
---
apiVersion: sallyport/v1
kind: Group
metadata: {name: operators}
spec: {policies: [operate]}
`

func TestAuditSaysWhoWrote(t *testing.T) {
	f := newFixture(t, options{})
	f.apply(t, operators)
	decode[api.Committed](t, f.send("PUT", "/api/v1/groups/other", `{"apiVersion":"sallyport/v1","kind":"Group","metadata":{"name":"other"},"spec":{}}`))
	token := f.token(t, devissuer.MintRequest{User: "tess", Groups: []string{"operators"}, TTL: time.Hour})
	put := f.admin("PUT", "/api/v1/users/eric", bytes.NewReader([]byte(`{"apiVersion":"sallyport/v1","kind":"User","metadata":{"name":"eric"},"spec":{}}`)))
	put.Header.Set("Authorization", "Bearer "+token)
	decode[api.Committed](t, f.do(put))
	page := func(query string) api.Page[directory.Record] {
		t.Helper()
		return decode[api.Page[directory.Record]](t, f.send("GET", "/api/v1/audit"+query, ""))
	}
	all := page("?order=oldest").Results
	var actors []directory.Actor
	for _, r := range all {
		actors = append(actors, r.Actor)
	}
	admin := directory.Actor{User: "admin", AccessKeyID: f.key}
	start, inside := directory.Actor{Host: "first start"}, directory.Actor{Host: "host"}
	if diff := cmp.Diff([]directory.Actor{start, start, start, inside, inside, admin, {User: "tess", Issuer: devissuer.Iss}}, actors); diff != "" {
		t.Errorf("actors (-want +got):\n%s", diff)
	}
	if got := page("?user=tess"); len(got.Results) != 1 || got.Results[0].Name != "eric" || got.Pagination.HasMore {
		t.Errorf("of a user: %+v", got)
	}
	if got := page("?amount=1"); got.Results[0].Name != "eric" || got.Pagination.NextOffset != "7" {
		t.Errorf("the newest: %+v", got)
	}
	for query, want := range map[string]string{
		"?kind=users":   "parameter kind: want one of",
		"?order=random": "want newest or oldest",
		"?since=1h":     "want a time such as",
		"?after=x":      "want the number of a record",
		"?amount=0":     "want 1 to 1000",
		"?prefix=x":     "unknown parameter",
	} {
		wantProblem(t, f.send("GET", "/api/v1/audit"+query, ""), 400, want)
	}
}

func TestABackupIsOfWhatTheStoreHolds(t *testing.T) {
	f := newFixture(t, options{})
	f.apply(t, operators)
	w := f.send("GET", "/api/v1/backup", "")
	if w.Code != 200 || w.Header().Get("Content-Type") != api.BackupType || w.Header().Get("Cache-Control") != "no-store" {
		t.Fatalf("got %d and %v", w.Code, w.Header())
	}
	keys := map[string]bool{}
	err := backup.Read(w.Body, func(p store.Pair) error {
		keys[p.Key] = true
		return nil
	})
	if err != nil || !keys["meta/generation"] || !keys["auth/groups/operators/policies/operate"] {
		t.Errorf("got %v and %v", keys, err)
	}
	wantProblem(t, f.send("GET", "/api/v1/backup?x=1", ""), 400, "unknown parameter")
	wantProblem(t, f.send("PUT", "/api/v1/backup", ""), 405, "GET")
}
