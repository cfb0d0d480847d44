package api_test

import (
	"bytes"
	"encoding/json"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sallyport/host/internal/check"
	"sallyport/host/internal/policytest"
)

// form posts files, by the names of their parts.
func (f *fixture) form(t *testing.T, target string, parts [][2]string) *httptest.ResponseRecorder {
	t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for _, p := range parts {
		part, err := w.CreateFormFile(p[0], p[0]+".yaml")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := part.Write([]byte(p[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	req := f.admin("POST", "/api/v1/"+target, &body)
	req.Header.Set("Content-Type", w.FormDataContentType())
	return f.do(req)
}

const everyoneReads = `
apiVersion: sallyport/v1
kind: Policy
metadata: {name: reading}
spec:
  rules:
  - {name: own, effect: allow, methods: [GET], paths: ["/w/{team}"], when: path.team in token.groups}
  - {name: hidden, effect: deny, methods: ["*"], paths: ["/w/secret"]}
---
apiVersion: sallyport/v1
kind: Group
metadata: {name: "system:authenticated"}
spec: {policies: [reading]}
`

func testsFor(path, decision string) string {
	return `
apiVersion: sallyport/v1
kind: PolicyTest
metadata: {name: s}
spec:
  principals: [{name: eric, user: eric, groups: [foo, secret]}]
  requests: [{name: read, path: ` + path + `}]
  tests: [{expect: [{decision: ` + decision + `}]}]
`
}

// A set whose tests fail is not applied; the tests see it laid over what is
// there.
func TestApplyWithTests(t *testing.T) {
	f := newFixture(t, options{})
	wrong := f.form(t, "apply", [][2]string{{"file", everyoneReads}, {"test", testsFor("/w/bar", "allow")}})
	wantProblem(t, wrong, http.StatusUnprocessableEntity, "nothing was applied: 1 of 1 decisions")
	var refused struct{ Tests policytest.Report }
	if err := json.Unmarshal(wrong.Body.Bytes(), &refused); err != nil || refused.Tests.Failed != 1 || len(refused.Tests.Results[0].Why) == 0 {
		t.Errorf("%v %s", err, wrong.Body)
	}
	wantProblem(t, f.form(t, "apply?dryRun=true", [][2]string{{"file", everyoneReads}, {"test", testsFor("/w/bar", "allow")}}), 422, "nothing was applied")
	wantProblem(t, f.form(t, "apply", [][2]string{{"file", everyoneReads}, {"test", everyoneReads}}), 422, "no document is of kind PolicyTest")
	if w := f.do(f.admin("GET", "/api/v1/generation", nil)); !strings.Contains(w.Body.String(), `"generation":"1"`) {
		t.Fatalf("something was applied: %s", w.Body)
	}
	right := f.form(t, "apply", [][2]string{{"file", everyoneReads}, {"test", testsFor("/w/foo", "allow")}})
	if right.Code != http.StatusOK || !strings.Contains(right.Body.String(), `"generation":"2"`) {
		t.Fatalf("%d %s", right.Code, right.Body)
	}
	user := "apiVersion: sallyport/v1\nkind: User\nmetadata: {name: eric}\nspec: {disabled: true}\n"
	wantProblem(t, f.form(t, "apply", [][2]string{{"file", user}, {"test", testsFor("/w/foo", "allow")}}), 422, "nothing was applied")
	same := f.form(t, "apply", [][2]string{{"file", everyoneReads}, {"test", testsFor("/w/bar", "allow")}})
	wantProblem(t, same, 422, "nothing was applied") // also where nothing changes
}

func TestTestsOfWhatIsCommitted(t *testing.T) {
	f := newFixture(t, options{})
	f.apply(t, everyoneReads)
	run := func(parts ...[2]string) policytest.Report {
		t.Helper()
		var report policytest.Report
		w := f.form(t, "test", parts)
		if err := json.Unmarshal(w.Body.Bytes(), &report); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%d %s: %v", w.Code, w.Body, err)
		}
		return report
	}
	if r := run([2]string{"test", testsFor("/w/foo", "allow")}); r.Passed != 1 || r.Failed != 0 || r.Coverage.Reached != 1 {
		t.Errorf("%+v", r)
	}
	closed := strings.Replace(everyoneReads, "/w/secret", "/w/**", 1)
	if r := run([2]string{"test", testsFor("/w/foo", "allow")}, [2]string{"file", closed}); r.Failed != 1 {
		t.Errorf("documents of the request don't count: %+v", r)
	}
	if r := run([2]string{"test", testsFor("/w/foo", "allow")}); r.Failed != 0 {
		t.Errorf("documents of a test were applied: %+v", r)
	}
	wantProblem(t, f.form(t, "test", [][2]string{{"file", everyoneReads}}), 422, "no tests in")
}

func TestAccess(t *testing.T) {
	f := newFixture(t, options{})
	f.apply(t, everyoneReads)
	ask := func(query string) *httptest.ResponseRecorder {
		return f.do(f.admin("POST", "/api/v1/access", strings.NewReader(query)))
	}
	paths := func(query string) (out []string, a check.AccessAnswer) {
		t.Helper()
		w := ask(query)
		if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%d %s: %v", w.Code, w.Body, err)
		}
		for _, x := range a.Results {
			out = append(out, x.Path)
		}
		return out, a
	}
	const claims = `"claims":{"sub":"eric","groups":["foo","secret","bar"]}`
	got, a := paths(`{` + claims + `}`)
	if strings.Join(got, " ") != "/w/foo /w/bar" || a.User != "eric" || a.Generation != 2 || a.Pagination.HasMore || a.Pagination.Results != 2 {
		t.Errorf("%q %+v", got, a)
	}
	got, a = paths(`{` + claims + `,"amount":1}`)
	if strings.Join(got, " ") != "/w/foo" || !a.Pagination.HasMore || a.Pagination.NextOffset != "1" {
		t.Errorf("%q %+v", got, a)
	}
	if got, a = paths(`{` + claims + `,"amount":1,"after":"1"}`); strings.Join(got, " ") != "/w/bar" || a.Pagination.HasMore {
		t.Errorf("%q %+v", got, a)
	}
	if got, a = paths(`{}`); len(got) != 0 || a.Refused != "" || a.Groups == nil {
		t.Errorf("%q %+v", got, a)
	}
	if _, a = paths(`{"token":"junk"}`); a.Refused != "bad_token" {
		t.Errorf("%+v", a)
	}
	for query, detail := range map[string]string{
		`{"amount":-1}`:                      "amount: want 1 to 1000",
		`{"after":"x"}`:                      "after: want next_offset",
		`{"claim":{}}`:                       `unknown field "claim"`,
		`{"claims":{"sub":"x"},"token":"x"}`: "not both",
	} {
		wantProblem(t, ask(query), http.StatusBadRequest, detail)
	}
}
