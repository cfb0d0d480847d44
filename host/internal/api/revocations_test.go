package api_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/host/internal/api"
)

const idp = `
apiVersion: sallyport/v1
kind: Issuer
metadata: {name: idp}
spec:
  issuer: https://idp.example.com
  audiences: [a]
  algorithms: [ES256]
  jwks: {inline: {keys: [{kty: EC, crv: P-256, kid: k, x: f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU, y: x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0}]}}
`

// send sends a body as the first user.
func (f *fixture) send(method, target, body string) *httptest.ResponseRecorder {
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	return f.do(f.admin(method, target, r))
}

// decode reads the answer of a request that is to succeed.
func decode[T any](t *testing.T, w *httptest.ResponseRecorder) T {
	t.Helper()
	var v T
	dec := json.NewDecoder(w.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil || w.Code != 200 && w.Code != 201 {
		t.Fatalf("%d: %v", w.Code, err)
	}
	return v
}

func revocation(issuer, jti string, expires time.Time) string {
	return fmt.Sprintf(`{"issuer":%q,"jti":%q,"expires":%q}`, issuer, jti, expires.Format(time.RFC3339Nano))
}

func TestRevocationsAreMadeListedAndTakenBack(t *testing.T) {
	f := newFixture(t, options{})
	f.apply(t, idp)
	expires := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	want := api.Committed{Epoch: 1, Generation: 3, Published: true}
	if got := decode[api.Committed](t, f.send("POST", "/api/v1/revocations", revocation("idp", "t1", expires))); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	// By the claim instead of the name; a fraction of a second counts as a whole one.
	byIss := strings.Replace(revocation("https://idp.example.com", "a/b", expires.Add(-time.Millisecond)), "issuer", "iss", 1)
	decode[api.Committed](t, f.send("POST", "/api/v1/revocations", byIss))
	page := decode[api.Page[api.Revocation]](t, f.send("GET", "/api/v1/revocations", ""))
	all := []api.Revocation{{Issuer: "idp", ID: "a/b", Expires: expires}, {Issuer: "idp", ID: "t1", Expires: expires}}
	if diff := cmp.Diff(all, page.Results); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	first := decode[api.Page[api.Revocation]](t, f.send("GET", "/api/v1/revocations?amount=1", ""))
	if first.Pagination != (api.Pagination{HasMore: true, NextOffset: "idp/a/b", Results: 1, MaxPerPage: 1000}) {
		t.Errorf("pagination %+v", first.Pagination)
	}
	rest := decode[api.Page[api.Revocation]](t, f.send("GET", "/api/v1/revocations?after=idp/a/b&prefix=idp/", ""))
	if diff := cmp.Diff(all[1:], rest.Results); diff != "" || rest.Pagination.HasMore || rest.Pagination.NextOffset != "" {
		t.Errorf("second page %+v", rest)
	}
	for _, id := range []string{"a/b", "t1"} {
		decode[api.Committed](t, f.send("DELETE", "/api/v1/revocations/idp/"+api.PathName(id), ""))
	}
	if w := f.send("GET", "/api/v1/revocations", ""); strings.TrimSpace(w.Body.String()) !=
		`{"results":[],"pagination":{"has_more":false,"next_offset":"","results":0,"max_per_page":1000}}` {
		t.Errorf("got %s", w.Body)
	}
}

func TestRevocationsThatAreRefused(t *testing.T) {
	f := newFixture(t, options{})
	f.apply(t, idp)
	soon := time.Now().Add(time.Hour)
	tests := map[string]struct {
		method, target, body string
		status               int
		detail, field        string
	}{
		"no jti":                        {"POST", "", revocation("idp", "", soon), 422, "nothing was changed", "jti"},
		"expired":                       {"POST", "", revocation("idp", "t", soon.Add(-2*time.Hour)), 422, "nothing was changed", "expires"},
		"no expiry":                     {"POST", "", `{"issuer":"idp","jti":"t"}`, 422, "nothing was changed", "expires"},
		"an expiry that no token has":   {"POST", "", revocation("idp", "t", soon.Add(24*time.Hour)), 422, "nothing was changed", "expires"},
		"an unknown issuer":             {"POST", "", revocation("nobody", "t", soon), 404, `Issuer "nobody": not found`, ""},
		"an unknown iss":                {"POST", "", `{"iss":"https://x","jti":"t"}`, 404, `no Issuer has spec.issuer "https://x"`, ""},
		"neither issuer nor iss":        {"POST", "", `{"jti":"t"}`, 400, "want one of issuer", ""},
		"both issuer and iss":           {"POST", "", `{"issuer":"a","iss":"b","jti":"t"}`, 400, "want one of issuer", ""},
		"an unknown field":              {"POST", "", `{"issuer":"idp","sub":"t"}`, 400, `unknown field "sub"`, ""},
		"a name twice":                  {"POST", "", `{"jti":"t","jti":"u"}`, 400, "the body: invalid JSON at byte 20", ""},
		"no JSON":                       {"POST", "", `jti=t`, 400, "the body: invalid JSON", ""},
		"no time":                       {"POST", "", `{"issuer":"idp","jti":"t","expires":"soon"}`, 400, "the body: ", ""},
		"too large a body":              {"POST", "", `{"jti":"` + strings.Repeat("x", 64<<10) + `"}`, 413, "larger than 65536 bytes", ""},
		"a parameter":                   {"POST", "?force=true", `{}`, 400, `unknown parameter "force": there is none`, ""},
		"un-revoking what is not":       {"DELETE", "/idp/t", "", 404, `revoked token "t" of Issuer "idp": not found`, ""},
		"a parameter of un-revoking":    {"DELETE", "/idp/t?dryRun=true", "", 400, `unknown parameter "dryRun"`, ""},
		"a name written in two ways":    {"DELETE", "/idp/~dA", "", 400, "can't be written otherwise", ""},
		"base64url that is none":        {"DELETE", "/~_/t", "", 400, "can't be written otherwise", ""},
		"an amount of none":             {"GET", "?amount=0", "", 400, "parameter amount: want 1 to 1000", ""},
		"more than a page":              {"GET", "?amount=1001", "", 400, "parameter amount: want 1 to 1000", ""},
		"an amount that is no number":   {"GET", "?amount=all", "", 400, "parameter amount: want 1 to 1000", ""},
		"a parameter twice":             {"GET", "?after=a&after=b", "", 400, "parameter after: want it once", ""},
		"an unknown parameter":          {"GET", "?limit=3", "", 400, "there are prefix, after and amount", ""},
		"a malformed query":             {"GET", "?after=%zz", "", 400, "the query is malformed", ""},
		"another method":                {"PUT", "", `{}`, 405, "want GET, HEAD, POST", ""},
		"another method on one of them": {"GET", "/idp/t", "", 405, "want DELETE", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := wantProblem(t, f.send(tt.method, "/api/v1/revocations"+tt.target, tt.body), tt.status, tt.detail)
			if tt.field != "" && (len(p.Errors) != 1 || p.Errors[0].Field != tt.field) {
				t.Errorf("errors %+v, want one of the field %s", p.Errors, tt.field)
			}
		})
	}
	if w := f.send("GET", "/api/v1/revocations", ""); !strings.Contains(w.Body.String(), `"results":[]`) {
		t.Errorf("something was revoked: %s", w.Body)
	}
}

func TestPathNamesHaveOneForm(t *testing.T) {
	for name, want := range map[string]string{
		"eric": "eric", "a b": "a%20b", "ä": "%C3%A4", "system:authenticated": "system:authenticated", "a#b": "a%23b", "50%": "50%25", "a?b": "a%3Fb",
		"~eric": "~fmVyaWM", "a;b": "~YTti", `a\b`: "~YVxi", "a%41": "~YSU0MQ", "a/b": "~YS9i", "..": "~Li4", ".": "~Lg", "": "~", "\x00": "~AA", "\xff": "~_w",
	} {
		if got := api.PathName(name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}
