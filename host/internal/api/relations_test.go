package api_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/host/internal/api"
	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
)

const related = readers + `
---
apiVersion: sallyport/v1
kind: User
metadata: {name: wanda}
---
apiVersion: sallyport/v1
kind: Group
metadata: {name: staff}
spec: {members: [rita], policies: [everything]}
---
apiVersion: sallyport/v1
kind: Role
metadata: {name: editor}
spec: {policies: [readers], groups: [staff]}
---
apiVersion: sallyport/v1
kind: Role
metadata: {name: direct}
spec: {policies: [everything], users: [rita]}
`

// show writes references as "name" or "name<Kind name,Kind name".
func show(refs []api.Reference) string {
	var all []string
	for _, r := range refs {
		text := r.Name
		for i, from := range r.From {
			text += map[bool]string{true: "<", false: ","}[i == 0] + string(from.Kind) + " " + from.Name
		}
		all = append(all, text)
	}
	return strings.Join(all, "; ")
}

func TestRelationsAreListedFromBothEnds(t *testing.T) {
	f := newFixture(t, options{})
	f.apply(t, related)
	for path, want := range map[string]string{
		"users/rita/policies":                  "readers",
		"users/rita/policies?effective=true":   "everything<Group staff,Role direct; readers<User rita,Role editor",
		"users/rita/policies?effective=false":  "readers",
		"users/wanda/policies?effective=true":  "",
		"users/rita/groups":                    "staff",
		"users/rita/roles":                     "direct",
		"users/wanda/groups":                   "",
		"groups/staff/members":                 "rita",
		"groups/staff/policies":                "everything",
		"groups/staff/policies?effective=true": "everything<Group staff; readers<Role editor",
		"groups/staff/roles":                   "editor",
		"roles/editor/policies":                "readers",
		"roles/editor/policies?effective=true": "readers<Role editor",
		"roles/editor/groups":                  "staff",
		"roles/direct/users":                   "rita",
		"policies/everything/users":            "",
		"policies/everything/groups":           "staff; system:authenticated; system:unauthenticated",
		"policies/everything/roles":            "direct",
		"policies/everything/groups?amount=1&prefix=system:&after=system:authenticated": "system:unauthenticated",
	} {
		page := decode[api.Page[api.Reference]](t, f.send("GET", "/api/v1/"+path, ""))
		if got := show(page.Results); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

func TestRelationsAreWritten(t *testing.T) {
	f := newFixture(t, options{})
	f.apply(t, related)
	for _, path := range []string{
		"users/wanda/policies/everything", "groups/staff/members/wanda", "groups/staff/policies/readers",
		"roles/editor/policies/everything", "roles/editor/users/wanda", "roles/editor/groups/reading",
	} {
		path = "/api/v1/" + path
		wantProblem(t, f.send("GET", path, ""), 404, "not found")
		wantProblem(t, f.send("DELETE", path, ""), 404, "not found")
		first := decode[api.Committed](t, f.send("PUT", path, ""))
		if again := decode[api.Committed](t, f.send("PUT", path, "")); again != first || !first.Published {
			t.Errorf("%s again: got %+v after %+v", path, again, first)
		}
		if got := decode[api.Reference](t, f.send("GET", path, "")); !strings.HasSuffix(path, "/"+got.Name) || got.Kind == "" {
			t.Errorf("%s: got %+v", path, got)
		}
		if c := decode[api.Committed](t, f.send("DELETE", path, "")); c.Generation != first.Generation+1 {
			t.Errorf("%s: deleted in %+v", path, c)
		}
		wantProblem(t, f.send("GET", path, ""), 404, "not found")
	}
}

// A relation has the ETag of its owner, and preconditions are about that.
func TestRelationsHonourPreconditions(t *testing.T) {
	f := newFixture(t, options{})
	f.apply(t, related)
	tag := func(path string) string { return f.send("GET", "/api/v1/"+path, "").Header().Get("ETag") }
	const member = "/api/v1/groups/staff/members/wanda"
	before := tag("groups/staff")
	if before == "" || tag("groups/staff/members/rita") != before {
		t.Errorf("ETags %q and %q", before, tag("groups/staff/members/rita"))
	}
	wantProblem(t, f.with("PUT", member, "", "If-Match", `"other"`), 412, "get it again")
	wantProblem(t, f.with("PUT", member, "", "If-None-Match", "*"), 412, "get it again")
	w := f.with("PUT", member, "", "If-Match", before)
	if after := w.Header().Get("ETag"); w.Code != 200 || after == before || after != tag("groups/staff") {
		t.Errorf("%d, ETag %q", w.Code, after)
	}
	wantProblem(t, f.with("DELETE", member, "", "If-Match", before), 412, "get it again")
	wantProblem(t, f.with("PUT", "/api/v1/groups/nobody/members/wanda", "", "If-Match", "*"), 404, "not found")
	if w := f.with("DELETE", member, "", "If-Match", tag("groups/staff")); w.Code != 200 || tag("groups/staff") != before {
		t.Errorf("%d, ETag %q, want %q again", w.Code, tag("groups/staff"), before)
	}
}

// What revokes a user's tokens ends the access keys that were made before, too:
// one of them may have been made by a stolen token.
func TestTokensNotBeforeEndsAccessKeys(t *testing.T) {
	f := newFixture(t, options{})
	f.apply(t, readers)
	rita := model.Key{Kind: model.KindUser, Name: "rita"}
	creds, err := f.directory.CreateCredentials(t.Context(), rita, directory.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ask := func() *httptest.ResponseRecorder {
		req := httptest.NewRequest("GET", "/api/v1/generation", nil)
		req.SetBasicAuth(creds.AccessKeyID, creds.Secret.Reveal())
		return f.do(req)
	}
	notBefore := func(at time.Time) {
		f.apply(t, "apiVersion: sallyport/v1\nkind: User\nmetadata: {name: rita}\nspec: {policies: [readers], tokensNotBefore: \""+at.UTC().Format(time.RFC3339)+"\"}\n")
	}
	notBefore(time.Now().Add(-time.Hour))
	if w := ask(); w.Code != 200 {
		t.Errorf("a later key: %d %s", w.Code, w.Body)
	}
	notBefore(time.Now().Add(time.Hour))
	wantProblem(t, ask(), 401, "revoked")
}

func TestRelationsThatAreRefused(t *testing.T) {
	f := newFixture(t, options{})
	f.apply(t, related)
	for name, tt := range map[string]struct {
		method, path string
		status       int
		detail       string
	}{
		"an unknown owner":            {"PUT", "users/nobody/policies/readers", 404, `User "nobody": not found`},
		"an unknown owner of a list":  {"GET", "users/nobody/policies", 404, `User "nobody": not found`},
		"an unknown owner of one":     {"GET", "users/nobody/policies/readers", 404, `User "nobody": not found`},
		"an unknown target":           {"PUT", "users/rita/policies/nothere", 404, `Policy "nothere": not found`},
		"a reserved owner":            {"PUT", "users/admin/policies/readers", 422, "nothing was changed"},
		"a member of a built-in one":  {"PUT", "groups/system:authenticated/members/rita", 422, "nothing was changed"},
		"an inverse is not written":   {"PUT", "users/rita/groups", 405, "want GET, HEAD"},
		"an inverse has no entries":   {"PUT", "users/rita/groups/staff", 404, "no such resource"},
		"a list is not written whole": {"PUT", "groups/staff/members", 405, "want GET, HEAD"},
		"another method":              {"POST", "groups/staff/members/rita", 405, "want DELETE, GET, HEAD, PUT"},
		"a parameter":                 {"PUT", "users/rita/policies/readers?x=1", 400, "there is force"},
		"a parameter of one":          {"GET", "users/rita/policies/readers?x=1", 400, "there is none"},
		"effective members":           {"GET", "groups/staff/members?effective=true", 400, "there are prefix, after and amount"},
		"effective, perhaps":          {"GET", "users/rita/policies?effective=perhaps", 400, "want true or false"},
		"a name in two ways":          {"GET", "users/~cml0YQ/policies", 400, "can't be written otherwise"},
		"a target in two ways":        {"PUT", "users/rita/policies/~cmVhZGVycw", 400, "can't be written otherwise"},
	} {
		t.Run(name, func(t *testing.T) {
			wantProblem(t, f.send(tt.method, "/api/v1/"+tt.path, ""), tt.status, tt.detail)
		})
	}
	decode[api.Committed](t, f.send("PUT", "/api/v1/users/admin/policies/readers?force=true", ""))
}

func TestAccessKeysAreMadeShownAndWithdrawn(t *testing.T) {
	f := newFixture(t, options{})
	f.apply(t, readers)
	f.apply(t, `{apiVersion: sallyport/v1, kind: Role, metadata: {name: runtime}, spec: {policies: [readers]}}`)
	f.apply(t, `{apiVersion: sallyport/v1, kind: ServiceAccount, metadata: {name: svc}, spec: {role: runtime}}`)
	for path, owner := range map[string]api.Reference{
		"/api/v1/users/rita": {Kind: model.KindUser, Name: "rita"}, "/api/v1/services/svc": {Kind: model.KindServiceAccount, Name: "svc"},
	} {
		w := f.send("POST", path+"/credentials", "")
		made := decode[api.Credentials](t, w)
		if w.Code != 201 || made.Owner.Name != owner.Name || len(made.Secret) != 43 || w.Header().Get("Cache-Control") != "no-store" {
			t.Fatalf("%s: %d %v %+v", path, w.Code, w.Header(), made)
		}
		page := decode[api.Page[api.Credentials]](t, f.send("GET", path+"/credentials", ""))
		if len(page.Results) != 1 || page.Results[0].AccessKeyID != made.AccessKeyID || page.Results[0].Secret != "" || page.Results[0].Created.IsZero() {
			t.Errorf("list: %+v", page)
		}
		for _, one := range []string{path + "/credentials/" + made.AccessKeyID, "/api/v1/credentials/" + made.AccessKeyID} {
			got := decode[api.Credentials](t, f.send("GET", one, ""))
			if diff := cmp.Diff(page.Results[0], got); diff != "" {
				t.Errorf("%s (-list +got):\n%s", one, diff)
			}
		}
		asOwner := func() int {
			req := f.admin("GET", "/api/v1/generation", nil)
			req.SetBasicAuth(made.AccessKeyID, made.Secret)
			return f.do(req).Code
		}
		if got := asOwner(); got != 200 {
			t.Errorf("%s: the key gets %d", path, got)
		}
		wantProblem(t, f.send("DELETE", "/api/v1/users/oscar/credentials/"+made.AccessKeyID, ""), 404, "access key")
		wantProblem(t, f.send("GET", "/api/v1/users/oscar/credentials/"+made.AccessKeyID, ""), 404, "no such access key here")
		decode[api.Committed](t, f.send("DELETE", path+"/credentials/"+made.AccessKeyID, ""))
		if got := asOwner(); got != 401 {
			t.Errorf("%s: the withdrawn key gets %d", path, got)
		}
		wantProblem(t, f.send("GET", "/api/v1/credentials/"+made.AccessKeyID, ""), 404, "not found")
	}
	for name, tt := range map[string]struct {
		method, path string
		status       int
		detail       string
	}{
		"an unknown owner":      {"POST", "users/nobody/credentials", 404, "not found"},
		"a list of nobody's":    {"GET", "users/nobody/credentials", 404, "not found"},
		"groups have none":      {"POST", "groups/reading/credentials", 404, "no such resource"},
		"a parameter":           {"POST", "users/rita/credentials?x=1", 400, "there is none"},
		"a parameter of a list": {"GET", "users/rita/credentials?x=1", 400, "there are prefix"},
		"a parameter of one":    {"DELETE", "users/rita/credentials/x?y=1", 400, "there is none"},
		"a parameter of any":    {"GET", "credentials/x?y=1", 400, "there is none"},
		"a name in two ways":    {"GET", "credentials/~eA", 400, "can't be written otherwise"},
		"an owner in two ways":  {"POST", "users/~cml0YQ/credentials", 400, "can't be written otherwise"},
		"another method":        {"PUT", "users/rita/credentials/x", 405, "want DELETE, GET, HEAD"},
	} {
		t.Run(name, func(t *testing.T) {
			wantProblem(t, f.send(tt.method, "/api/v1/"+tt.path, ""), tt.status, tt.detail)
		})
	}
}
