package api_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/host/internal/api"
	"sallyport/host/internal/model"
)

// with sends a body as the first user with a further header.
func (f *fixture) with(method, target, body, header, value string) *httptest.ResponseRecorder {
	req := f.admin(method, target, strings.NewReader(body))
	req.Header.Set(header, value)
	return f.do(req)
}

// bodies are documents of each kind, which together are valid.
func bodies() []struct{ path, body, other string } {
	doc := func(kind, name, spec string) string {
		return fmt.Sprintf(`{"apiVersion":"sallyport/v1","kind":%q,"metadata":{"name":%q},"spec":%s}`, kind, name, spec)
	}
	const rule = `{"rules":[{"effect":"allow","methods":[%q],"paths":["/a"]}]}`
	const issuer = `{"issuer":"https://idp","audiences":[%q],"algorithms":["ES256"],"jwks":{"inline":{"keys":[]}},` +
		`"claims":{"username":[["sub"]],"groups":[["groups"]],"roles":[],"client":[["azp"]]},"clockSkew":"30s","maxTokenLifetime":"24h0m0s"}`
	return []struct{ path, body, other string }{
		{"policies/p", doc("Policy", "p", fmt.Sprintf(rule, "GET")), doc("Policy", "p", fmt.Sprintf(rule, "PUT"))},
		{"users/u", doc("User", "u", `{"policies":["p"]}`), doc("User", "u", `{"disabled":true}`)},
		{"groups/g", doc("Group", "g", `{"members":["u"]}`), doc("Group", "g", `{}`)},
		{"roles/r", doc("Role", "r", `{"policies":["p"]}`), doc("Role", "r", `{"users":["u"]}`)},
		{"services/s", doc("ServiceAccount", "s", `{"role":"r"}`), doc("ServiceAccount", "s", `{"disabled":true,"role":"r"}`)},
		{"issuers/i", doc("Issuer", "i", fmt.Sprintf(issuer, "a")), doc("Issuer", "i", fmt.Sprintf(issuer, "b"))},
	}
}

// TestTheLifeOfAnEntity runs each operation on each kind.
func TestTheLifeOfAnEntity(t *testing.T) {
	f := newFixture(t, options{})
	for _, tt := range bodies() {
		t.Run(tt.path, func(t *testing.T) {
			path := "/api/v1/" + tt.path
			wantProblem(t, f.send("GET", path, ""), 404, "not found")
			wantProblem(t, f.send("DELETE", path, ""), 404, "not found")
			wantProblem(t, f.with("PUT", path, tt.body, "If-Match", "*"), 412, "precondition")

			w := f.with("PUT", path, tt.body, "If-None-Match", "*")
			first := w.Header().Get("ETag")
			if c := decode[api.Committed](t, w); w.Code != 201 || w.Header().Get("Location") != path || !c.Published {
				t.Errorf("create: %d %v %+v", w.Code, w.Header(), c)
			}
			wantProblem(t, f.with("PUT", path, tt.body, "If-None-Match", "*"), 412, "precondition")
			wantProblem(t, f.send("POST", path, tt.body), 409, "there is one of this name: PUT replaces it")

			w = f.send("GET", path, "")
			if w.Header().Get("ETag") != first {
				t.Errorf("ETag %s after %s", w.Header().Get("ETag"), first)
			}
			var got, want any
			unmarshal(t, w.Body.String(), &got)
			unmarshal(t, tt.body, &want)
			delete(got.(map[string]any), "status")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("got (-want +got):\n%s", diff)
			}

			// The same again is no change, and has the same tag.
			before := decode[map[string]string](t, f.send("GET", "/api/v1/generation", ""))
			w = f.with("PUT", path, tt.body, "If-Match", `"x", `+first)
			if c := decode[api.Committed](t, w); w.Code != 200 || w.Header().Get("ETag") != first || fmt.Sprint(c.Generation) != before["generation"] {
				t.Errorf("the same again: %d %v %+v", w.Code, w.Header(), c)
			}
			w = f.with("PUT", path, tt.other, "If-Match", first)
			second := w.Header().Get("ETag")
			if w.Code != 200 || second == first || second == "" {
				t.Errorf("replace: %d, ETag %s after %s", w.Code, second, first)
			}
			for _, stale := range []string{first, "W/" + second, `""`, "x"} {
				wantProblem(t, f.with("PUT", path, tt.body, "If-Match", stale), 412, "precondition")
				wantProblem(t, f.with("DELETE", path, "", "If-Match", stale), 412, "precondition")
			}
			decode[api.Committed](t, f.with("PUT", path, tt.body, "If-Match", "*"))
			if w := f.send("GET", path, ""); w.Header().Get("ETag") != first {
				t.Errorf("ETag %s for what had %s", w.Header().Get("ETag"), first)
			}
		})
	}
	// In the reverse order nothing is in use.
	all := bodies()
	slices.Reverse(all)
	for _, tt := range all {
		path := "/api/v1/" + tt.path
		tag := f.send("GET", path, "").Header().Get("ETag")
		decode[api.Committed](t, f.with("DELETE", path, "", "If-Match", tag))
		wantProblem(t, f.send("GET", path, ""), 404, "not found")
		w := f.send("POST", path, tt.body)
		if w.Code != 201 || w.Header().Get("ETag") == tag {
			t.Errorf("%s, created again: %d, ETag %s", path, w.Code, w.Header().Get("ETag"))
		}
		decode[api.Committed](t, f.send("DELETE", path, ""))
	}
}

func unmarshal(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

func TestEntitiesThatAreRefused(t *testing.T) {
	f := newFixture(t, options{})
	f.apply(t, readers)
	f.apply(t, `{apiVersion: sallyport/v1, kind: Role, metadata: {name: runtime}}`)
	f.apply(t, `{apiVersion: sallyport/v1, kind: ServiceAccount, metadata: {name: svc}, spec: {role: runtime}}`)
	const user = "{apiVersion: sallyport/v1, kind: User, metadata: {name: eric}, spec: {policies: [nothere]}}"
	admin := strings.Replace(user, "name: eric}, spec: {policies: [nothere]}", "name: admin}", 1)
	tests := map[string]struct {
		method, path, body string
		status             int
		detail, field      string
	}{
		"an unknown reference":       {"PUT", "users/eric", user, 422, "nothing", "spec.policies[0]"},
		"another name":               {"PUT", "users/bob", strings.Replace(user, "nothere", "readers", 1), 422, "nothing", "metadata.name"},
		"another kind":               {"PUT", "groups/eric", strings.Replace(user, "nothere", "readers", 1), 422, "nothing", "kind"},
		"an unknown field":           {"PUT", "users/eric", strings.Replace(user, "policies", "policy", 1), 422, "nothing", "spec.policy"},
		"no document":                {"PUT", "users/eric", "", 422, "want one document, got 0", ""},
		"two documents":              {"PUT", "users/eric", user + "\n---\n" + strings.Replace(user, "eric", "x", 1), 422, "want one document, got 2", ""},
		"too large a body":           {"PUT", "users/eric", strings.Repeat("#", 16<<20+1), 413, "larger than", ""},
		"a reserved entity":          {"PUT", "users/admin", admin, 422, "nothing", "metadata.name"},
		"deleting a reserved entity": {"DELETE", "users/admin", "", 409, "is reserved and deleted only by force: ?force=true", ""},
		"deleting what is in use":    {"DELETE", "roles/runtime", "", 409, `Role "runtime" is in use`, ""},
		"a parameter":                {"PUT", "users/eric?dryRun=true", user, 400, "there is force", ""},
		"a parameter of reading":     {"GET", "users/rita?force=true", "", 400, "there is none", ""},
		"force that is no truth":     {"DELETE", "users/rita?force=perhaps", "", 400, "parameter force: want true or false", ""},
		"a name in two ways":         {"GET", "users/~cml0YQ", "", 400, "can't be written otherwise", ""},
		"an amount":                  {"GET", "users?amount=1001", "", 400, "want 1 to 1000", ""},
		"another method":             {"PATCH", "users/rita", "{}", 405, "want DELETE, GET, HEAD, POST, PUT", ""},
		"another method on a list":   {"POST", "users", "{}", 405, "want GET, HEAD", ""},
		"no such kind":               {"GET", "robots", "", 404, "no such resource", ""},
		"a slash behind":             {"GET", "users/", "", 404, "no such resource", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := wantProblem(t, f.send(tt.method, "/api/v1/"+tt.path, tt.body), tt.status, tt.detail)
			if tt.field != "" && (len(p.Errors) != 1 || p.Errors[0].Field != tt.field) {
				t.Errorf("errors %+v, want one of the field %s", p.Errors, tt.field)
			}
		})
	}
	// By force, what is reserved gives way.
	if w := f.send("PUT", "/api/v1/users/admin?force=true", strings.Replace(admin, "{name: admin}", "{name: admin, reserved: true}, spec: {policies: [admin], email: a@b.c}", 1)); w.Code != 200 {
		t.Errorf("by force: %d %s", w.Code, w.Body)
	}
}

func TestListsHavePages(t *testing.T) {
	f := newFixture(t, options{})
	var docs strings.Builder
	for _, n := range []string{"a", "b1", "b2", "b3", "c"} {
		fmt.Fprintf(&docs, "---\napiVersion: sallyport/v1\nkind: Group\nmetadata: {name: %s}\n", n)
	}
	f.apply(t, docs.String())
	for query, want := range map[string]string{
		"":                            "a b1 b2 b3 c",
		"?amount=2":                   "a b1 > b1",
		"?amount=2&after=b1":          "b2 b3 > b3",
		"?amount=2&after=b3":          "c",
		"?after=c":                    "",
		"?prefix=b":                   "b1 b2 b3",
		"?prefix=b&amount=2":          "b1 b2 > b2",
		"?prefix=b&after=b2":          "b3",
		"?prefix=b&after=a":           "b1 b2 b3",
		"?prefix=b&after=c":           "",
		"?prefix=x":                   "",
		"?after=b2x&amount=1":         "b3 > b3",
		"?prefix=&after=&amount=1000": "a b1 b2 b3 c",
	} {
		page := decode[api.Page[api.Document]](t, f.send("GET", "/api/v1/groups"+query, ""))
		var names []string
		for _, d := range page.Results {
			if d.APIVersion != model.APIVersion || d.Kind != model.KindGroup {
				t.Errorf("%s: %+v", query, d)
			}
			names = append(names, d.Metadata.Name)
		}
		got := strings.Join(names, " ")
		if page.Pagination.HasMore {
			got += " > " + page.Pagination.NextOffset
		}
		if got != want || page.Pagination.Results != len(names) || page.Pagination.MaxPerPage != 1000 {
			t.Errorf("%q: got %q, want %q, %+v", query, got, want, page.Pagination)
		}
	}
}

func TestNamesThatAPathCanNotHold(t *testing.T) {
	f := newFixture(t, options{})
	for _, name := range []string{"a;b", `a\b`, "50%41", "~x", "a b", "ä#?", "system"} {
		path := "/api/v1/groups/" + api.PathName(name)
		body := fmt.Sprintf(`{"apiVersion":"sallyport/v1","kind":"Group","metadata":{"name":%q}}`, name)
		w := f.send("PUT", path, body)
		if w.Code != 201 || w.Header().Get("Location") != path {
			t.Errorf("%q: %d %s %v", name, w.Code, w.Body, w.Header())
		}
		if doc := decode[api.Document](t, f.send("GET", path, "")); doc.Metadata.Name != name {
			t.Errorf("%q: got %q", name, doc.Metadata.Name)
		}
		decode[api.Committed](t, f.send("DELETE", path, ""))
	}
	if w := f.send("PUT", "/api/v1/groups/system:authenticated", `{"apiVersion":"sallyport/v1","kind":"Group","metadata":{"name":"system:authenticated"}}`); w.Code != 201 {
		t.Errorf("a built-in group: %d %s", w.Code, w.Body)
	}
}

func TestTheStatusOfAnIssuerIsShownAndNotTaken(t *testing.T) {
	f, idp := newKeysFixture(t)
	f.do(f.admin("POST", "/api/v1/issuers/idp/refresh", nil))
	body := f.send("GET", "/api/v1/issuers/idp", "").Body.String()
	status := `"status":{"source":"` + idp.URL
	if !strings.Contains(body, status) || !strings.Contains(body, `"kid":"a"`) {
		t.Errorf("got %s", body)
	}
	before := f.send("GET", "/api/v1/issuers/idp", "").Header().Get("ETag")
	if w := f.send("PUT", "/api/v1/issuers/idp", body); w.Code != 200 || w.Header().Get("ETag") != before {
		t.Errorf("put back: %d %s", w.Code, w.Body)
	}
	if w := f.send("GET", "/api/v1/issuers", ""); !strings.Contains(w.Body.String(), status) {
		t.Errorf("list: %s", w.Body)
	}
	for _, path := range []string{"users/admin", "export"} {
		if w := f.send("GET", "/api/v1/"+path, ""); strings.Contains(w.Body.String(), "source") {
			t.Errorf("%s: %s", path, w.Body)
		}
	}
}

// TestUsersAreFoundByWhatElseTheyHave looks users up by each field, and wants
// each write to count at once.
func TestUsersAreFoundByWhatElseTheyHave(t *testing.T) {
	f := newFixture(t, options{})
	put := func(name, spec string) {
		t.Helper()
		decode[api.Committed](t, f.send("PUT", "/api/v1/users/"+name,
			fmt.Sprintf(`{"apiVersion":"sallyport/v1","kind":"User","metadata":{"name":%q},"spec":%s}`, name, spec)))
	}
	find := func(query string) []string {
		t.Helper()
		names := []string{}
		for _, doc := range decode[api.Page[api.Document]](t, f.send("GET", "/api/v1/users?"+query, "")).Results {
			names = append(names, doc.Metadata.Name)
		}
		return names
	}
	put("eric", `{"email":"Eric@example.org","externalId":"e1"}`)
	put("sean", `{"email":"eric@example.org","externalId":"E1"}`)
	var eric struct{ Status api.UserStatus }
	unmarshal(t, f.send("GET", "/api/v1/users/eric", "").Body.String(), &eric)
	for _, tt := range []struct {
		query string
		want  []string
	}{
		{"email=ERIC@example.org", []string{"eric", "sean"}},
		{"email=eric@example.org&amount=1", []string{"eric"}},
		{"email=eric@example.org&after=eric", []string{"sean"}},
		{"email=eric@example.org&prefix=s", []string{"sean"}},
		{"externalId=e1", []string{"eric"}},
		{"externalId=", []string{}},
		{"email=nobody@example.org", []string{}},
		{"id=" + eric.Status.ID, []string{"eric"}},
	} {
		if diff := cmp.Diff(tt.want, find(tt.query)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.query, diff)
		}
	}
	wantProblem(t, f.send("GET", "/api/v1/groups?email=x", ""), 400, `unknown parameter "email"`)
	wantProblem(t, f.send("GET", "/api/v1/users?email=x&id=y", ""), 400, "one of id, email and externalId")
	put("sean", `{"email":"sean@example.org"}`)
	decode[api.Committed](t, f.send("DELETE", "/api/v1/users/eric", ""))
	put("eric", `{}`)
	for _, query := range []string{"email=eric@example.org", "externalId=e1", "id=" + eric.Status.ID} {
		if got := find(query); len(got) > 0 {
			t.Errorf("%s still finds %v", query, got)
		}
	}
}
