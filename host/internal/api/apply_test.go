package api_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sallyport/host/internal/api"
	"sallyport/host/internal/manifest"
)

// netDialer connects to a test's server.
type netDialer struct{ net.Dialer }

func (d *netDialer) dial(ctx context.Context, s *httptest.Server) (net.Conn, error) {
	return d.DialContext(ctx, "tcp", s.Listener.Addr().String())
}

func TestApplyTakesYAMLJSONAndForms(t *testing.T) {
	const asJSON = `{"apiVersion":"sallyport/v1","kind":"Policy","metadata":{"name":"open"},"spec":{"rules":[{"effect":"allow","methods":["GET"],"paths":["/open"]}]}}`
	files, formType := form(t, "a/policy.yaml", policy, "b.json", strings.Replace(asJSON, "open", "other", 1))
	tests := map[string]struct {
		body        io.Reader
		contentType string
	}{
		"YAML":                {strings.NewReader(policy), "application/yaml"},
		"no content type":     {strings.NewReader(policy), ""},
		"as curl -d sends it": {strings.NewReader(policy), "application/x-www-form-urlencoded"},
		"JSON":                {strings.NewReader(asJSON), "application/json; charset=utf-8"},
		"a form":              {files, formType},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, options{})
			req := f.admin("POST", "/api/v1/apply", tt.body)
			req.Header.Set("Content-Type", tt.contentType)
			w := f.do(req)
			if w.Code != 200 || !strings.Contains(w.Body.String(), `{"kind":"Policy","name":"open","action":"created","set":"default"}`) ||
				!strings.Contains(w.Body.String(), `"epoch":"1","generation":"2"`) || !strings.Contains(w.Body.String(), `"published":true`) {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
			if w := f.do(f.admin("GET", "/api/v1/generation", nil)); !strings.Contains(w.Body.String(), `"generation":"2"`) {
				t.Errorf("it is not published: %s", w.Body)
			}
		})
	}
}

func TestApplyOptions(t *testing.T) {
	f := newFixture(t, options{})
	apply := func(query string) *httptest.ResponseRecorder {
		return f.do(f.admin("POST", "/api/v1/apply"+query, strings.NewReader(policy)))
	}
	for query, want := range map[string]string{
		"?dryrun=true":              `unknown parameter "dryrun"`,
		"?dryRun=yes":               "parameter dryRun: want true or false",
		"?dryRun":                   "parameter dryRun: want true or false",
		"?dryRun=false&dryRun=true": "parameter dryRun: want it once",
		"?dryRun=true;prune=false":  "the query is malformed",
		"?dryRun=%zz":               "the query is malformed",
		"?set=":                     "parameter set: ",
		"?set=system:a":             "parameter set: ",
		"?set=a&set=b":              "parameter set: want it once",
	} {
		wantProblem(t, apply(query), 400, want)
	}
	if w := apply("?dryRun=true"); w.Code != 200 || !strings.Contains(w.Body.String(), `"action":"created"`) {
		t.Errorf("dry run: %d %s", w.Code, w.Body)
	}
	if w := apply("?dryRun=false&force=true&prune=0"); !strings.Contains(w.Body.String(), `"generation":"2"`) {
		t.Errorf("something was committed before: %d %s", w.Code, w.Body)
	}
	w := f.do(f.admin("POST", "/api/v1/apply?prune=true", strings.NewReader(strings.ReplaceAll(policy, "open", "other"))))
	if !strings.Contains(w.Body.String(), `"name":"open","action":"deleted"`) || strings.Contains(w.Body.String(), "admin") {
		t.Errorf("prune: %d %s", w.Code, w.Body)
	}
}

// The entities of a set are listed page by page, also among users that are looked
// up by a field.
func TestEntitiesOfASet(t *testing.T) {
	f := newFixture(t, options{})
	user := func(name string) string {
		return "apiVersion: sallyport/v1\nkind: User\nmetadata: {name: " + name + "}\nspec: {email: " + name + "@x}\n"
	}
	for query, docs := range map[string]string{"?set=a": user("u1") + "---\n" + user("u3"), "?set=b": user("u2")} {
		if w := f.do(f.admin("POST", "/api/v1/apply"+query, strings.NewReader(docs))); w.Code != 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	put := f.admin("PUT", "/api/v1/users/u4", strings.NewReader(user("u4")))
	if w := f.do(put); w.Code != 201 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	for query, want := range map[string]string{
		"?set=a":                   "u1 u3 ",
		"?set=a&amount=1":          "u1 more",
		"?set=a&amount=1&after=u1": "u3 ",
		"?set=b":                   "u2 ",
		"?set=default":             "",
		"?set=":                    "admin u4 ",
		"?set=a&prefix=u2":         "",
		"?set=a&email=u1@x":        "u1 ",
		"?set=b&email=u1@x":        "",
		"?email=U4@X&after=u4":     "",
	} {
		var page api.Page[api.Document]
		w := f.do(f.admin("GET", "/api/v1/users"+query, nil))
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, doc := range page.Results {
			got += doc.Metadata.Name + " "
		}
		if page.Pagination.HasMore {
			got += "more"
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
}

func TestWrongDocumentsAreNamedAndNothingIsApplied(t *testing.T) {
	f := newFixture(t, options{})
	wrong := strings.Replace(policy, "allow", "alow", 1)
	body, contentType := form(t, "dir/good.yaml", strings.ReplaceAll(policy, "open", "good"), "dir/wrong.yaml", wrong)
	req := f.admin("POST", "/api/v1/apply", body)
	req.Header.Set("Content-Type", contentType)
	p := wantProblem(t, f.do(req), 422, "nothing was applied")
	if len(p.Errors) != 1 || p.Errors[0].File != "dir/wrong.yaml" || p.Errors[0].Line != 6 || p.Errors[0].Field != "spec.rules[0].effect" ||
		!strings.Contains(p.Errors[0].Detail, "expected allow or deny") {
		t.Errorf("errors %+v", p.Errors)
	}
	// What only the store knows is wrong has a place, too.
	dangling := "apiVersion: sallyport/v1\nkind: Group\nmetadata: {name: g}\nspec: {policies: [nothere]}\n"
	p = wantProblem(t, f.do(f.admin("POST", "/api/v1/apply", strings.NewReader(dangling))), 422, "nothing was applied")
	if len(p.Errors) != 1 || p.Errors[0].File != "body" || p.Errors[0].Line != 4 || p.Errors[0].Field != "spec.policies[0]" {
		t.Errorf("errors %+v", p.Errors)
	}
	if w := f.do(f.admin("GET", "/api/v1/generation", nil)); !strings.Contains(w.Body.String(), `"generation":"1"`) {
		t.Errorf("something was applied: %s", w.Body)
	}
}

// endless is a body without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '#'
	}
	return len(p), nil
}

func TestBodiesThatCanNotBeTaken(t *testing.T) {
	f := newFixture(t, options{})
	empty, emptyType := form(t)
	tests := map[string]struct {
		path, contentType string
		body              io.Reader
		status            int
		detail            string
	}{
		"nothing":                 {"apply", "", strings.NewReader(""), 422, "no documents in body"},
		"comments alone":          {"apply", "", strings.NewReader("# nothing\n"), 422, "no documents in body"},
		"too large":               {"apply", "", endless{}, 413, "the body is larger than"},
		"too large as a form":     {"apply", "multipart/form-data; boundary=x", io.MultiReader(strings.NewReader("--x\r\nContent-Disposition: form-data; name=f; filename=f\r\n\r\n"), endless{}), 413, "the body is larger than"},
		"a form of no files":      {"apply", emptyType, empty, 400, "the form has no file"},
		"a form without boundary": {"apply", "multipart/form-data", strings.NewReader("x"), 400, "boundary"},
		"a form that is cut":      {"apply", "multipart/form-data; boundary=x", strings.NewReader("--x\r\nContent-Disposition: form-data; name=f; filename=f\r\n\r\nabc"), 400, "unexpected EOF"},
		"JSON that is YAML":       {"apply", "application/json", strings.NewReader(policy), 422, "nothing was applied"},
		"check of nothing":        {"check", "", strings.NewReader(""), 400, "ends too early"},
		"check that is too large": {"check", "", endless{}, 413, "the body is larger than"},
		"check of a wrong field":  {"check", "", strings.NewReader(`{"pth":"/"}`), 400, `unknown field "pth"`},
		"check of two":            {"check", "", strings.NewReader(`{"method":"GET","path":"/"}{}`), 400, "nothing behind it"},
		"check without a method":  {"check", "", strings.NewReader(`{"path":"/"}`), 400, "method is missing"},
	}
	if manifest.MaxTotalBytes > 1<<27 {
		t.Fatal("the limit is too large for this test")
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			req := f.admin("POST", "/api/v1/"+tt.path, tt.body)
			req.Header.Set("Content-Type", tt.contentType)
			wantProblem(t, f.do(req), tt.status, tt.detail)
		})
	}
}

func TestCheckDecidesByWhatIsPublished(t *testing.T) {
	f := newFixture(t, options{})
	check := func(query string) map[string]any {
		t.Helper()
		w := f.do(f.admin("POST", "/api/v1/check", strings.NewReader(query)))
		var d map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%d %s: %v", w.Code, w.Body, err)
		}
		return d
	}
	const query = `{"claims":{"sub":"x"},"method":"GET","path":"/open"}`
	if d := check(query); d["reason"] != "no_matching_rule" || d["generation"] != "1" {
		t.Errorf("got %v", d)
	}
	f.apply(t, policy+"---\napiVersion: sallyport/v1\nkind: Group\nmetadata: {name: \"system:authenticated\"}\nspec: {policies: [open]}\n")
	if d := check(query); d["reason"] != "allowed" || d["generation"] != "2" || d["policy"] != "open" || d["user"] != "x" {
		t.Errorf("got %v", d)
	}
	if d := check(`{"method":"GET","path":"/open"}`); d["reason"] != "no_token" {
		t.Errorf("got %v", d)
	}
	if d := check(`{"method":"GET","path":"/open"}`); d["explanation"] != nil {
		t.Errorf("an explanation that nobody asked for: %v", d)
	}
	explained := check(`{"method":"GET","path":"/open","explain":true}`)
	if x, ok := explained["explanation"].(map[string]any); !ok || explained["reason"] != "no_token" || len(x["changes"].([]any)) != 1 {
		t.Errorf("got %v", explained)
	}
	// Rules of the API don't count for proxies.
	if d := check(`{"claims":{"sub":"admin"},"method":"GET","path":"/api/v1/generation","host":"system:api"}`); d["decision"] != "deny" {
		t.Errorf("got %v", d)
	}
}
