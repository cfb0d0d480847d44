package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"sallyport/host/internal/devissuer"
	"sallyport/policydata"
)

// from makes a request come from somewhere.
func from(req *http.Request, addr string) *http.Request {
	req.RemoteAddr = addr
	return req
}

func (f *fixture) generation() *http.Request {
	return httptest.NewRequest(http.MethodGet, "/api/v1/generation", nil)
}

func TestFailedLoginsAreLimited(t *testing.T) {
	for name, tt := range map[string]struct {
		fail    func(f *fixture, req *http.Request, i int)
		address func(i int) string
	}{
		"wrong secrets of one key, from anywhere": {
			func(f *fixture, req *http.Request, _ int) { req.SetBasicAuth(f.key, "wrong") },
			func(i int) string { return fmt.Sprintf("192.0.2.%d:1", i) },
		},
		"keys that there are not, from one address": {
			func(_ *fixture, req *http.Request, i int) { req.SetBasicAuth(fmt.Sprint("SP", i), "wrong") },
			func(int) string { return "192.0.2.1:1" },
		},
		"bad tokens from one address": {
			func(_ *fixture, req *http.Request, i int) { req.Header.Set("Authorization", fmt.Sprint("Bearer x", i)) },
			func(int) string { return "192.0.2.1:1" },
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, options{})
			codes := map[int]int{}
			for i := range 100 {
				req := from(f.generation(), tt.address(i))
				tt.fail(f, req, i)
				w := f.do(req)
				if codes[w.Code]++; w.Code != http.StatusTooManyRequests {
					continue
				}
				wantProblem(t, w, http.StatusTooManyRequests, "too many failed logins")
				if after, err := strconv.Atoi(w.Header().Get("Retry-After")); err != nil || after < 1 || after > 10 {
					t.Errorf("Retry-After %q", w.Header().Get("Retry-After"))
				}
			}
			if len(codes) != 2 || codes[http.StatusUnauthorized] < 5 || codes[http.StatusTooManyRequests] < 5 {
				t.Errorf("answers by status: %v", codes)
			}
			// Nobody is locked out by failures of somebody else.
			for i := range 100 {
				req := from(f.generation(), tt.address(i))
				req.SetBasicAuth(f.key, f.secret)
				if w := f.do(req); w.Code != http.StatusOK {
					t.Fatalf("the holder of the key: %d %s", w.Code, w.Body)
				}
			}
			if strings.Contains(f.log.String(), f.key) {
				t.Errorf("log: %s", f.log)
			}
		})
	}
}

func TestRequestsWithoutCredentialsAreNoFailedLogins(t *testing.T) {
	f := newFixture(t, options{})
	expired := f.token(t, devissuer.MintRequest{User: "eric", Claims: map[string]json.RawMessage{"exp": json.RawMessage("1000")}})
	for range 100 {
		wantProblem(t, f.do(f.generation()), http.StatusUnauthorized, "no_token")
		req := f.generation()
		req.Header.Set("Authorization", "Bearer "+expired)
		wantProblem(t, f.do(req), http.StatusUnauthorized, "expired")
	}
}

const idpAdmins = `
apiVersion: sallyport/v1
kind: Group
metadata: {name: ops}
spec: {policies: [viewer]}
`

// idpToken returns a token of the Issuer "idp" that the development issuer's
// elliptic key signs.
func (f *fixture) idpToken(t *testing.T) string {
	t.Helper()
	return f.token(t, devissuer.MintRequest{User: "x", Groups: []string{"ops"}, Claims: map[string]json.RawMessage{
		"iss": json.RawMessage(`"https://idp"`), "aud": json.RawMessage(`"a"`),
	}})
}

func (f *fixture) elliptic(t *testing.T) policydata.Key {
	t.Helper()
	for _, k := range f.dev.Keys() {
		if k.Algorithm == "ES256" {
			return k
		}
	}
	t.Fatal("the development issuer has no ES256 key")
	return policydata.Key{}
}

// TestTokenOfANewKeyIsTaken: the API has an issuer's keys fetched for a kid that
// it does not know, as proxies do.
func TestTokenOfANewKeyIsTaken(t *testing.T) {
	f, s := newKeysFixture(t)
	f.apply(t, idpAdmins)
	key := f.elliptic(t)
	s.list(t, key, "a", key.ID)
	fetched := s.fetches.Load()
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			req := f.generation()
			req.Header.Set("Authorization", "Bearer "+f.idpToken(t))
			if w := f.do(req); w.Code != http.StatusOK {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
	all.Wait()
	if n := s.fetches.Load() - fetched; n < 1 || n > 3 {
		t.Errorf("%d fetches", n)
	}
}

func TestTokenOfAKeyThatTheIssuerDoesNotListIsRefused(t *testing.T) {
	f, s := newKeysFixture(t)
	f.apply(t, idpAdmins)
	token := f.idpToken(t)
	ask := func() *httptest.ResponseRecorder {
		req := f.generation()
		req.Header.Set("Authorization", "Bearer "+token)
		return f.do(req)
	}
	wantProblem(t, ask(), http.StatusUnauthorized, "bad_token")
	if s.fetches.Load() == 0 {
		t.Error("the issuer was not asked")
	}
	s.set.Store(nil) // and when it is down
	wantProblem(t, ask(), http.StatusUnauthorized, "bad_token")
}
