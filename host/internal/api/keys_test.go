package api_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"sallyport/host/internal/issuerkeys"
	"sallyport/host/internal/jwks"
	"sallyport/host/internal/keyfetch"
	"sallyport/policydata"
)

// keyServer is an issuer's server over TLS.
type keyServer struct {
	*httptest.Server
	set     atomic.Pointer[[]byte] // nil: it answers 500
	fetches atomic.Int64
}

func newKeyServer(t *testing.T) *keyServer {
	t.Helper()
	s := &keyServer{}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.fetches.Add(1)
		set := s.set.Load()
		if set == nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(*set)
	}))
	t.Cleanup(s.Close)
	return s
}

// list lists a key under these names.
func (s *keyServer) list(t *testing.T, key policydata.Key, kids ...string) {
	t.Helper()
	keys := make([]policydata.Key, len(kids))
	for i, kid := range kids {
		keys[i] = key
		keys[i].ID = kid
	}
	set, err := jwks.Marshal(keys)
	if err != nil {
		t.Fatal(err)
	}
	s.set.Store(&set)
}

// newKeysFixture returns an API whose keeper runs, with the Issuer "idp".
func newKeysFixture(t *testing.T) (*fixture, *keyServer) {
	t.Helper()
	s := newKeyServer(t)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	f := newFixture(t, options{keyPolicy: keyfetch.Policy{AllowPrivate: true, RootCAs: roots}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.keys.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	s.list(t, f.dev.Keys()[0], "a")
	f.apply(t, fmt.Sprintf(`
apiVersion: sallyport/v1
kind: Issuer
metadata: {name: idp}
spec: {issuer: "https://idp", audiences: [a], algorithms: [RS256, ES256], jwks: {uri: "%s/keys"}}
`, s.URL))
	return f, s
}

func (f *fixture) findKey(body string) *httptest.ResponseRecorder {
	return f.do(httptest.NewRequest(http.MethodPost, "/v1/keys", strings.NewReader(body)))
}

// publishedKids returns the kids of idp in a published version.
func (f *fixture) publishedKids(t *testing.T, version string) string {
	t.Helper()
	p, _ := f.publisher.Current()
	if p.Version.String() != version {
		t.Fatalf("published is %s, answered %s", p.Version, version)
	}
	var kids []string
	for _, i := range p.Loaded.Issuers() {
		if i.Name != "idp" {
			continue
		}
		if !i.FetchedKeys {
			t.Error("the snapshot does not say that the keys are fetched")
		}
		for _, k := range i.Keys {
			kids = append(kids, k.ID)
		}
	}
	return strings.Join(kids, " ")
}

func TestFindKey(t *testing.T) {
	f, s := newKeysFixture(t)
	ask := func(kid, want string) {
		t.Helper()
		w := f.findKey(fmt.Sprintf(`{"issuer":"https://idp","kid":%q,"version":"1.1"}`, kid))
		var answer map[string]string
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK || len(answer) != 1 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if got := f.publishedKids(t, answer["version"]); got != want {
			t.Errorf("published kids %q, want %q", got, want)
		}
	}
	ask("a", "a")
	s.list(t, f.dev.Keys()[0], "a", "b")
	var all sync.WaitGroup
	before := s.fetches.Load()
	for range 100 {
		all.Go(func() {
			if w := f.findKey(`{"issuer":"https://idp","kid":"b","version":"1.1"}`); w.Code != http.StatusOK {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
	all.Wait()
	ask("b", "a b")
	if n := s.fetches.Load() - before; n > 3 {
		t.Errorf("%d fetches for 100 questions", n)
	}
}

func TestFindKeyRefuses(t *testing.T) {
	f, s := newKeysFixture(t)
	tests := map[string]struct {
		body   string
		status int
		detail string
	}{
		"a kid that there is not":     {`{"issuer":"https://idp","kid":"x","version":"1.1"}`, 404, "no such key"},
		"an issuer that there is not": {`{"issuer":"<b>x</b>","kid":"a","version":"1.1"}`, 404, "no issuer whose keys are fetched"},
		"no JSON":                     {`x`, 400, "invalid JSON"},
		"an array":                    {`[]`, 400, "want {"},
		"a name twice":                {`{"issuer":"a","issuer":"b","kid":"a","version":"1.1"}`, 400, "stands twice"},
		"an unknown name":             {`{"issuer":"a","kid":"a","version":"1.1","x":1}`, 400, "want {"},
		"a kid that is a number":      {`{"issuer":"a","kid":1,"version":"1.1"}`, 400, "want {"},
		"no issuer":                   {`{"kid":"a","version":"1.1"}`, 400, "issuer: want 1"},
		"a long issuer":               {`{"issuer":"` + strings.Repeat("x", 2049) + `","kid":"a","version":"1.1"}`, 400, "issuer: want 1"},
		"a long kid":                  {`{"issuer":"a","kid":"` + strings.Repeat("x", 1025) + `","version":"1.1"}`, 400, "kid: want 1 to"},
		"no kid":                      {`{"issuer":"https://idp","version":"1.1"}`, 400, "kid: want 1 to"},
		"no version":                  {`{"issuer":"a","kid":"a"}`, 400, "version: want"},
		"a bad version":               {`{"issuer":"a","kid":"a","version":"1.-1"}`, 400, "version: want"},
		"two documents":               {`{"issuer":"a","kid":"a","version":"1.1"}{}`, 400, "text after"},
		"too much":                    {`{"issuer":"` + strings.Repeat("x", 9000) + `"}`, 413, "larger than 8192"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := f.findKey(test.body)
			wantProblem(t, w, test.status, test.detail)
			if strings.Contains(w.Body.String(), "<b>") {
				t.Errorf("reflected: %s", w.Body)
			}
		})
	}
	t.Run("another method", func(t *testing.T) {
		wantProblem(t, f.do(httptest.NewRequest(http.MethodGet, "/v1/keys", nil)), http.StatusMethodNotAllowed, "POST")
	})
	t.Run("a page of another origin", func(t *testing.T) {
		req := httptest.NewRequest(http.MethodPost, "/v1/keys", strings.NewReader(`{"issuer":"https://idp","kid":"x","version":"1.1"}`))
		req.Header.Set("Sec-Fetch-Site", "cross-site")
		wantProblem(t, f.do(req), http.StatusForbidden, "another origin")
	})
	t.Run("limited, or the issuer is down", func(t *testing.T) {
		s.set.Store(nil)
		var answers [20]*httptest.ResponseRecorder
		var all sync.WaitGroup
		for i := range answers { // together, since each waits for its turn
			all.Go(func() {
				answers[i] = f.findKey(fmt.Sprintf(`{"issuer":"https://idp","kid":"y%d","version":"1.1"}`, i))
			})
		}
		all.Wait()
		for _, w := range answers {
			wantProblem(t, w, http.StatusServiceUnavailable, "")
			if after, err := strconv.Atoi(w.Header().Get("Retry-After")); err != nil || after < 1 || after > 10 {
				t.Errorf("Retry-After %q", w.Header().Get("Retry-After"))
			}
			if strings.Contains(w.Body.String(), s.URL) {
				t.Errorf("who asks learns where the keys are: %s", w.Body)
			}
		}
	})
}

func TestRefreshIssuer(t *testing.T) {
	f, s := newKeysFixture(t)
	refresh := func(name string) *httptest.ResponseRecorder {
		return f.do(f.admin(http.MethodPost, "/api/v1/issuers/"+name+"/refresh", nil))
	}
	s.list(t, f.dev.Keys()[0], "a", "b")
	status := func() (status issuerkeys.Status) {
		t.Helper()
		w := refresh("idp")
		if err := json.Unmarshal(w.Body.Bytes(), &status); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		return status
	}
	if got := status(); len(got.Keys) != 2 || got.LastError != "" || got.Source != s.URL+"/keys" {
		t.Errorf("got %+v", got)
	}
	s.set.Store(nil)
	if got := status(); len(got.Keys) != 2 || !strings.Contains(got.LastError, "500 Internal Server Error") {
		t.Errorf("got %+v", got)
	}
	wantProblem(t, refresh("none"), http.StatusNotFound, `no Issuer "none"`)
	anonymous := httptest.NewRequest(http.MethodPost, "/api/v1/issuers/idp/refresh", nil)
	wantProblem(t, f.do(anonymous), http.StatusUnauthorized, "no_token")
}
