package check_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"sallyport/e2e/hosttest"
	"sallyport/host/internal/check"
	"sallyport/host/internal/compile"
	"sallyport/host/internal/devissuer"
	"sallyport/host/internal/filterwasm"
	"sallyport/host/internal/manifest"
	"sallyport/host/internal/model"
	"sallyport/policydata"
	"sallyport/policydata/token"
)

var now = time.Unix(1_900_000_000, 0)

func clock() time.Time { return now }

// policies returns the policies of the tests, with an issuer whose tokens mint
// makes, and more.
func policies(t *testing.T, dev *devissuer.Issuer, more ...policydata.Issuer) policydata.Source {
	t.Helper()
	text, err := os.ReadFile("testdata/policies.yaml")
	if err != nil {
		t.Fatal(err)
	}
	docs, err := manifest.Parse("policies.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	source, err := compile.New().Source((&model.State{}).With(manifest.Entities(docs)), compile.Version{Epoch: 1, Generation: 5})
	if err != nil {
		t.Fatal(err)
	}
	source.Issuers = append(more, dev.Source())
	return source
}

func openDev(t *testing.T) *devissuer.Issuer {
	t.Helper()
	dev, err := devissuer.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dev
}

// compiled is where the tests keep the filter's machine code, which each would
// need seconds for.
var compiled = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "sallyport-check-test-")
	if err != nil {
		return "", err
	}
	return dir, hosttest.Precompile(dir, "../filterwasm/module/sallyport.wasm")
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := compiled(); err == nil {
		_ = os.RemoveAll(dir) // what is left in a directory for temporary files is no failure
	}
	os.Exit(code)
}

func engines(t *testing.T, source policydata.Source) map[string]check.Engine {
	t.Helper()
	native, wasm := enginesAt(t, source, clock)
	t.Cleanup(func() {
		if err := wasm.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return map[string]check.Engine{"go": native, "wasm": wasm}
}

// enginesAt returns both engines, of which the caller closes the second.
func enginesAt(t *testing.T, source policydata.Source, clock func() time.Time) (native, wasm check.Engine) {
	t.Helper()
	module, err := filterwasm.Module()
	if err != nil {
		t.Fatalf("%v (run make build)", err)
	}
	cache, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := check.Load(source)
	if err != nil {
		t.Fatal(err)
	}
	if native, err = check.NewGo(snapshot, clock); err != nil {
		t.Fatal(err)
	}
	wasm, err = check.NewWasm(t.Context(), source, check.WasmOptions{Module: module, CacheDir: cache, Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	return native, wasm
}

// TestEnginesAgree asks both engines the same and wants the same decision, byte
// for byte.
func TestEnginesAgree(t *testing.T) {
	dev := openDev(t)
	mint := func(r devissuer.MintRequest) string {
		r.User, r.TTL, r.Now = "eric", time.Hour, now
		if r.Alg == "" {
			r.Alg = "ES256"
		}
		minted, err := dev.Mint(r)
		if err != nil {
			t.Fatal(err)
		}
		return minted
	}
	raw := func(text string) json.RawMessage { return json.RawMessage(text) }
	claim := func(name, value string) devissuer.MintRequest {
		return devissuer.MintRequest{Claims: map[string]json.RawMessage{name: raw(value)}}
	}
	good := mint(devissuer.MintRequest{Groups: []string{"foo"}})
	tests := []struct {
		name string
		q    check.Query
		want string
	}{
		{"public route without a token", check.Query{Path: "/open"}, "allowed"},
		{"the query is not matched", check.Query{Path: "/open?x=/../y"}, "allowed"},
		{"a route without a token", check.Query{Path: "/workspaces/foo"}, "no_token"},
		{"another method", check.Query{Path: "/open", Method: "open"}, "no_token"},
		{"dot segments", check.Query{Path: "/open/../open"}, "bad_path"},
		{"an encoded slash", check.Query{Path: "/workspaces/foo%2Fbar"}, "bad_path"},
		{"an escaped letter", check.Query{Path: "/%6Fpen"}, "allowed"},
		{"no path", check.Query{Path: "*"}, "bad_path"},
		{"a control character", check.Query{Path: "/open\x01"}, "bad_path"},
		{"a host that is none", check.Query{Path: "/open", Host: "a..b"}, "bad_path"},
		{"host rule", check.Query{Path: "/host", Host: "X.example.org:80"}, "allowed"},
		{"host rule and another host", check.Query{Path: "/host", Host: "x.example.com"}, "no_token"},
		{"host header instead of the host", check.Query{Path: "/host", Headers: check.Headers{"Host": {"x.example.org"}}}, "no_token"},
		{"preflight", check.Query{Path: "/cors", Method: "OPTIONS", Headers: check.Headers{"Origin": {"x"}, "Access-Control-Request-Method": {"GET"}}}, "allowed"},
		{"no preflight", check.Query{Path: "/cors", Method: "OPTIONS", Headers: check.Headers{"origin": {"x"}}}, "no_token"},
		{"method override", check.Query{Path: "/open", Method: "POST", Headers: check.Headers{"X-HTTP-Method-Override": {"GET"}}}, "no_token"},

		{"good token", check.Query{Token: good, Path: "/workspaces/foo/x"}, "allowed"},
		{"RS256", check.Query{Token: mint(devissuer.MintRequest{Groups: []string{"foo"}, Alg: "RS256"}), Path: "/workspaces/foo/x"}, "allowed"},
		{"another team", check.Query{Token: good, Path: "/workspaces/bar/x"}, "no_matching_rule"},
		{"deny over allow", check.Query{Token: good, Path: "/workspaces/foo/private"}, "denied_by_rule"},
		{"tampered", check.Query{Token: good[:len(good)-8] + "AAAAAAAA", Path: "/open"}, "bad_signature"},
		{"garbage", check.Query{Token: "garbage", Path: "/open"}, "bad_token"},
		{"twice", check.Query{Token: good, Headers: check.Headers{"authorization": {"Bearer " + good}}, Path: "/open"}, "bad_token"},
		{"another scheme", check.Query{Headers: check.Headers{"authorization": {"Basic eDp5"}}, Path: "/open"}, "allowed"},
		{"expired", check.Query{Token: mint(claim("exp", "1899990000")), Path: "/open"}, "expired"},
		{"not yet valid", check.Query{Token: mint(claim("nbf", "1900001000")), Path: "/open"}, "not_yet_valid"},
		{"audience", check.Query{Token: mint(claim("aud", `"x"`)), Path: "/open"}, "bad_audience"},
		{"issuer", check.Query{Token: mint(claim("iss", `"x"`)), Path: "/open"}, "unknown_issuer"},
		{"revoked", check.Query{Token: mint(claim("sub", `"revoked"`)), Path: "/open"}, "revoked"},
		{"disabled", check.Query{Token: mint(claim("sub", `"disabled"`)), Path: "/open"}, "user_disabled"},

		{"claims", check.Query{Claims: raw(`{"sub":"eric","groups":["foo"]}`), Path: "/workspaces/foo"}, "allowed"},
		{"groups as a text", check.Query{Claims: raw(`{"sub":"eric","groups":"bar foo"}`), Path: "/workspaces/foo"}, "allowed"},
		{"claims skip times, audience and age", check.Query{Claims: raw(`{"sub":"revoked","exp":1,"nbf":4000000000,"iat":2,"aud":7}`), Path: "/open"}, "allowed"},
		{"claims of the issuer", check.Query{Claims: raw(`{"sub":"eric","iss":"` + devissuer.Iss + `"}`), Path: "/open"}, "allowed"},
		{"escaped names", check.Query{Claims: raw(`{"s\u0075b":"eric","i\u0073s":"` + devissuer.Iss + `"}`), Path: "/open"}, "allowed"},
		{"claims of a disabled user", check.Query{Claims: raw(`{"sub":"disabled"}`), Path: "/open"}, "user_disabled"},
		{"claims of an unknown issuer", check.Query{Claims: raw(`{"sub":"eric","iss":"x"}`), Path: "/open"}, "unknown_issuer"},
		{"an issuer that is no text", check.Query{Claims: raw(`{"sub":"eric","iss":null}`), Path: "/open"}, "unknown_issuer"},
		{"claims without a user", check.Query{Claims: raw(`{"groups":["foo"]}`), Path: "/open"}, "bad_token"},
		{"empty claims", check.Query{Claims: raw(`{}`), Path: "/open"}, "bad_token"},
		{"claims and duplicate names", check.Query{Claims: raw(`{"sub":"a","sub":"b"}`), Path: "/open"}, "bad_token"},
		{"a system name", check.Query{Claims: raw(`{"sub":"system:x"}`), Path: "/open"}, "bad_token"},
		{"an actor that is no service", check.Query{Claims: raw(`{"sub":"eric","act":{"sub":"x"}}`), Path: "/open"}, "service_gate"},
		{"null claims", check.Query{Claims: raw("null"), Path: "/workspaces/foo"}, "no_token"},
		{"bad path before bad claims", check.Query{Claims: raw(`{"sub":7}`), Path: "//"}, "bad_path"},
	}
	all := engines(t, policies(t, dev))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.q.Method == "" {
				tt.q.Method = "GET"
			}
			native := decide(t, all["go"], &tt.q)
			if got := gjson.Get(native, "reason").Str; got != tt.want {
				t.Errorf("go: %s, want %s", got, tt.want)
			}
			if wasm := decide(t, all["wasm"], &tt.q); wasm != native {
				t.Errorf("the engines disagree:\n  go:   %s\n  wasm: %s", native, wasm)
			}
		})
	}
}

func decide(t *testing.T, e check.Engine, q *check.Query) string {
	t.Helper()
	d, err := e.Decide(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return string(d)
}

func TestClaimsNameTheIssuerWhereThereAreSeveral(t *testing.T) {
	dev := openDev(t)
	other := dev.Source()
	other.Name, other.Issuer, other.UsernamePrefix, other.Audiences = "other", "https://other.example", "o-", []string{"b"}
	all := engines(t, policies(t, dev, other))
	tests := map[string]string{
		`{"sub":"eric"}`: `"reason":"unknown_issuer"`,
		`{"sub":"eric","iss":"https://other.example"}`: `"user":"o-eric"`,
		`{"sub":"eric","iss":"` + devissuer.Iss + `"}`: `"user":"eric"`,
		`{"sub":"eric","iss":7}`:                       `"reason":"unknown_issuer"`,
	}
	for claims, want := range tests {
		for name, e := range all {
			t.Run(name+claims, func(t *testing.T) {
				d := decide(t, e, &check.Query{Claims: json.RawMessage(claims), Method: "GET", Path: "/open"})
				if !strings.Contains(d, want) {
					t.Errorf("got %s, want %s", d, want)
				}
			})
		}
	}
}

func TestTooManyClaimsForATokenAreAnErrorOfTheFilter(t *testing.T) {
	all := engines(t, policies(t, openDev(t)))
	q := &check.Query{Method: "GET", Path: "/open", Claims: fmt.Appendf(nil, `{"sub":"eric","x":%q}`, strings.Repeat("x", token.MaxTokenBytes))}
	if _, err := all["wasm"].Decide(t.Context(), q); err == nil || !strings.Contains(err.Error(), "no token can hold as many") {
		t.Errorf("got error %v", err)
	}
}

func TestCompilingEndsWithTheContext(t *testing.T) {
	module, err := filterwasm.Module()
	if err != nil {
		t.Fatalf("%v (run make build)", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := check.NewWasm(ctx, policydata.Source{}, check.WasmOptions{Module: module, Now: clock}); err == nil || !strings.Contains(err.Error(), context.Canceled.Error()) {
		t.Errorf("got error %v, want %v", err, context.Canceled)
	}
}

func TestParseQuery(t *testing.T) {
	q, err := check.ParseQuery([]byte(` {"claims":{},"token":"x","method":"GET","path":"/","host":"h","headers":{"a":"1","b":["2","3"]}} `))
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Check(); err != nil {
		t.Errorf("the query that shows all fields: %v", err)
	}
	if q.Token != "x" || q.Headers["a"][0] != "1" || len(q.Headers["b"]) != 2 {
		t.Errorf("got %+v", q)
	}
	bad := map[string]string{
		"":                                 "ends too early",
		`{"path":`:                         "ends too early",
		`GET /`:                            "invalid character",
		`[]`:                               "JSON array",
		`{"path":7}`:                       "path: a JSON number does not fit",
		`{"headers":{"a":7}}`:              "want a text or a list of texts",
		`{"pth":"/"}`:                      `unknown field "pth"`,
		`{"path":"/"} {"path":"/"}`:        "nothing behind it",
		`{"path":"/"}]`:                    "nothing behind it",
		`{"path":"/","claims":{"a":}}`:     "invalid character",
		`{"path":"/","token":{"alg":"x"}}`: "token: a JSON object does not fit",
	}
	for text, want := range bad {
		if _, err := check.ParseQuery([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got error %v, want one with %q", text, err, want)
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	tests := map[string]check.Query{
		"want claims or token, not both":   {Method: "GET", Path: "/", Token: "x", Claims: []byte(`{"sub":"a"}`)},
		"claims: want a JSON object":       {Method: "GET", Path: "/", Claims: []byte(`["sub"]`)},
		"method is missing":                {Path: "/"},
		"path is missing":                  {Method: "GET"},
		`header ":path": this is no name`:  {Method: "GET", Path: "/", Headers: check.Headers{":path": {"/y"}}},
		`header "a": a value has control`:  {Method: "GET", Path: "/", Headers: check.Headers{"a": {"x\r\nb: y"}}},
		"want claims or a token, not both": {Method: "GET", Path: "/", Claims: []byte(`{"sub":"a"}`), Headers: check.Headers{"Authorization": {"Bearer x"}}},
	}
	for want, q := range tests {
		t.Run(want, func(t *testing.T) {
			if err := q.Check(); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got error %v, want one with %q", err, want)
			}
		})
	}
}
