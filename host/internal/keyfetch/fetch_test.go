package keyfetch

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const keys = `{"keys":[]}`

// idp is an issuer's server on loopback, over TLS.
type idp struct {
	*httptest.Server
	mux *http.ServeMux

	mu       sync.Mutex
	requests []*http.Request // guarded by mu
}

func newIDP(t *testing.T) *idp {
	t.Helper()
	s := &idp{mux: http.NewServeMux()}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, r)
		s.mu.Unlock()
		s.mux.ServeHTTP(w, r)
	}))
	s.Config.ErrorLog = nil
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// answer answers a path with a body; headers are "name: value".
func (s *idp) answer(path, body string, headers ...string) {
	s.mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			w.Header().Set(name, value)
		}
		_, _ = io.WriteString(w, body)
	})
}

func (s *idp) redirect(path, to string) {
	s.mux.Handle(path, http.RedirectHandler(to, http.StatusFound))
}

func (s *idp) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var paths []string
	for _, r := range s.requests {
		paths = append(paths, r.URL.Path)
	}
	return paths
}

func (s *idp) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return pool
}

// client trusts the server and may reach it.
func (s *idp) client() *Client { return New(Policy{AllowPrivate: true, RootCAs: s.roots()}) }

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got error %v, want %q", err, want)
	}
}

func TestFetch(t *testing.T) {
	s := newIDP(t)
	s.answer("/keys", keys, "Cache-Control: max-age=600", "Set-Cookie: a=b")
	s.redirect("/moved", "/keys")
	s.redirect("/hops/1", "/hops/2")
	s.redirect("/hops/2", "/hops/3")
	s.redirect("/hops/3", "/keys")
	for _, path := range []string{"/keys", "/moved", "/hops/1"} {
		a, err := s.client().Fetcher(Source{URI: s.URL + path}).Fetch(t.Context(), false)
		if err != nil || string(a.Set) != keys || a.URI != s.URL+path || a.Fresh <= 9*time.Minute || a.Fresh > 10*time.Minute {
			t.Errorf("%s: %q, %v, %v, %v", path, a.Set, a.URI, a.Fresh, err)
		}
	}
	for _, r := range s.requests {
		if r.Header.Get("Cookie") != "" || r.Header.Get("Authorization") != "" || r.Method != http.MethodGet {
			t.Errorf("request with %v", r.Header)
		}
	}
}

func TestPolicyRefuses(t *testing.T) {
	s := newIDP(t)
	s.answer("/keys", keys)
	plain := httptest.NewServer(s.mux)
	t.Cleanup(plain.Close)
	for i := range 5 {
		s.redirect(fmt.Sprint("/hops/", i), fmt.Sprint("/hops/", i+1))
	}
	s.redirect("/to-http", plain.URL+"/keys")
	s.redirect("/to-metadata", "https://169.254.169.254/keys")
	s.redirect("/to-file", "file:///etc/passwd")
	s.redirect("/to-credentials", strings.Replace(s.URL, "https://", "https://u:secret@", 1)+"/keys")
	named := strings.Replace(s.URL, "127.0.0.1", "localhost", 1)

	strict := New(Policy{RootCAs: s.roots()})
	open := New(Policy{AllowHTTP: true, AllowPrivate: true, RootCAs: s.roots()})
	tests := []struct {
		name   string
		client *Client
		url    string
		want   string
	}{
		{"http", strict, plain.URL + "/keys", AllowHTTPFlag},
		{"a loopback address", strict, s.URL + "/keys", AllowPrivateFlag},
		{"a name that resolves to one", strict, named + "/keys", AllowPrivateFlag},
		{"http, with private addresses allowed", s.client(), plain.URL + "/keys", AllowHTTPFlag},
		{"private addresses, with http allowed", New(Policy{AllowHTTP: true}), strings.Replace(plain.URL, "127.0.0.1", "localhost", 1), AllowPrivateFlag},
		{"a redirection from https to http, even with http allowed", open, s.URL + "/to-http", "a redirection from https to http"},
		{"a redirection to the metadata service", open, s.URL + "/to-metadata", "never allowed"},
		{"a redirection to a file", open, s.URL + "/to-file", "a redirection from https to file"},
		{"a redirection with credentials", open, s.URL + "/to-credentials", "credentials"},
		{"too many redirections", open, s.URL + "/hops/0", "more than 3 redirections"},
		{"an unknown authority", New(Policy{AllowPrivate: true}), s.URL + "/keys", CAFileFlag},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := test.client.Fetcher(Source{URI: test.url}).Fetch(t.Context(), false)
			wantError(t, err, test.want)
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
	t.Run("http where it is allowed", func(t *testing.T) {
		if _, err := open.Fetcher(Source{URI: plain.URL + "/keys"}).Fetch(t.Context(), false); err != nil {
			t.Error(err)
		}
	})
}

// TestRedirectToPrivate has a first hop that is allowed: the address is checked
// at each.
func TestRedirectToPrivate(t *testing.T) {
	s := newIDP(t)
	s.redirect("/keys", strings.Replace(s.URL, "127.0.0.1", "localhost", 1)+"/inner")
	s.answer("/inner", keys)
	c := New(Policy{RootCAs: s.roots()})
	dialed := 0
	transport := c.http.Transport.(*http.Transport)
	transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dialed++; dialed == 1 { // stands in for a public server
			addr = s.Listener.Addr().String()
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}
		return (&net.Dialer{ControlContext: c.control}).DialContext(ctx, network, addr)
	}
	transport.TLSClientConfig.ServerName = "example.com" // as the test server's certificate has it
	_, err := c.Fetcher(Source{URI: "https://public.example/keys"}).Fetch(t.Context(), false)
	wantError(t, err, AllowPrivateFlag)
	if got := s.asked(); len(got) != 1 {
		t.Errorf("asked for %v", got)
	}
}

func TestBadAnswers(t *testing.T) {
	s := newIDP(t)
	over := strings.Repeat(" ", maxBodyBytes) + keys
	s.answer("/html", "<html>", "Content-Type: text/html; charset=utf-8")
	s.answer("/brotli", "x", "Content-Encoding: br")
	s.answer("/large", over)
	s.mux.HandleFunc("/bomb", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		defer z.Close()
		for range 100 {
			_, _ = io.WriteString(z, over)
		}
	})
	s.mux.HandleFunc("/endless", func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := io.WriteString(w, over); err != nil {
				return
			}
		}
	})
	s.mux.HandleFunc("/truncated", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, keys)
	})
	for _, code := range []int{204, 304, 401, 404, 429, 500, 503} {
		s.mux.HandleFunc(fmt.Sprint("/", code), func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
	}
	s.mux.HandleFunc("/headers", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X", strings.Repeat("x", 2*maxHeaderBytes))
		_, _ = io.WriteString(w, keys)
	})
	tests := []struct{ path, want string }{
		{"/html", "text/html, not JSON"},
		{"/brotli", "Content-Encoding"},
		{"/large", "larger than 262144 bytes"},
		{"/bomb", "larger than 262144 bytes"},
		{"/endless", "larger than 262144 bytes"},
		{"/truncated", "reading the answer"},
		{"/204", "204 No Content"},
		{"/304", "304 Not Modified"},
		{"/401", "401 Unauthorized"},
		{"/404", "404 Not Found"},
		{"/429", "429 Too Many Requests"},
		{"/500", "500 Internal Server Error"},
		{"/503", "503 Service Unavailable"},
		{"/headers", "key set"},
	}
	for _, test := range tests {
		t.Run(test.path, func(t *testing.T) {
			_, err := s.client().Fetcher(Source{URI: s.URL + test.path}).Fetch(t.Context(), false)
			wantError(t, err, test.want)
			wantError(t, err, s.URL+test.path)
		})
	}
}

// TestSlowAnswers has servers that never end; the deadline is the caller's, since
// ours is too long for a test.
func TestSlowAnswers(t *testing.T) {
	s := newIDP(t)
	hang := func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	s.mux.HandleFunc("/header", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	s.mux.HandleFunc("/body", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"keys":`)
		hang(w, r)
	})
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, url := range []string{s.URL + "/header", s.URL + "/body", "https://" + silent.Addr().String()} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		_, err := s.client().Fetcher(Source{URI: url}).Fetch(ctx, false)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", url, err)
		}
	}
	c := s.client().http.Transport.(*http.Transport)
	if c.ResponseHeaderTimeout != headerTimeout || c.TLSHandshakeTimeout != connectTimeout || c.Proxy != nil {
		t.Error("the transport has other timeouts, or a proxy")
	}
}

func TestConditionalRequests(t *testing.T) {
	s := newIDP(t)
	body := `{"keys":[1]}`
	s.mux.HandleFunc("/keys", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		w.Header().Set("Last-Modified", "Sun, 01 Nov 2026 12:00:00 GMT")
		if r.Header.Get("If-None-Match") == `"1"` && r.Header.Get("If-Modified-Since") == "Sun, 01 Nov 2026 12:00:00 GMT" {
			w.Header().Set("Cache-Control", "max-age=7200")
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("Cache-Control", "max-age=3600")
		_, _ = io.WriteString(w, body)
	})
	moving := "/keys"
	s.mux.HandleFunc("/moving", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, moving, http.StatusFound) })
	s.mux.HandleFunc("/other", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = io.WriteString(w, keys)
	})

	f := s.client().Fetcher(Source{URI: s.URL + "/moving"})
	for _, want := range []string{"1h", "2h", "2h"} {
		a, err := f.Fetch(t.Context(), false)
		if err != nil || string(a.Set) != body || !strings.HasPrefix((a.Fresh+time.Second).Truncate(time.Hour).String(), want) {
			t.Errorf("got %q, good for %v, %v, want %s", a.Set, a.Fresh, err, want)
		}
	}
	// The ETag was that of another server: 304 says nothing about what we have.
	moving = "/other"
	if a, err := f.Fetch(t.Context(), false); err != nil || string(a.Set) != keys {
		t.Errorf("after the redirection changed: %q, %v", a.Set, err)
	}
}

func TestForce(t *testing.T) {
	s := newIDP(t)
	s.answer("/keys", keys)
	s.answer("/.well-known/openid-configuration", fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, s.URL, s.URL+"/keys"))
	f := s.client().Fetcher(Source{Issuer: s.URL})
	for _, force := range []bool{false, false, true} {
		if _, err := f.Fetch(t.Context(), force); err != nil {
			t.Fatal(err)
		}
	}
	want := "/.well-known/openid-configuration /keys /keys /.well-known/openid-configuration /keys"
	if got := strings.Join(s.asked(), " "); got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
	for i, want := range []string{"", "", "", "no-cache", "no-cache"} {
		if got := s.requests[i].Header.Get("Cache-Control"); got != want {
			t.Errorf("request %d: Cache-Control %q, want %q", i, got, want)
		}
	}
}

func TestDiscovery(t *testing.T) {
	config := func(issuer, uri string) string { return fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, issuer, uri) }
	tests := []struct {
		name   string
		issuer string // path
		serve  func(s *idp, iss string)
		want   string // in the error; "": keys
	}{
		{"at the root", "", func(s *idp, iss string) {
			s.answer("/.well-known/openid-configuration", config(iss, s.URL+"/keys"))
		}, ""},
		{"at the root, with a slash", "/", func(s *idp, iss string) {
			s.answer("/.well-known/openid-configuration", config(iss, s.URL+"/keys"))
		}, ""},
		{"below a path", "/realms/a", func(s *idp, iss string) {
			s.answer("/realms/a/.well-known/openid-configuration", config(iss, s.URL+"/keys"))
		}, ""},
		{"as RFC 8414 has it", "/a", func(s *idp, iss string) {
			s.answer("/.well-known/oauth-authorization-server/a", config(iss, s.URL+"/keys"))
		}, ""},
		{"nowhere", "/a", func(*idp, string) {}, "404 Not Found; discovery"},
		{"an error is no reason to look elsewhere", "/a", func(s *idp, iss string) {
			s.mux.HandleFunc("/a/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
			s.answer("/.well-known/oauth-authorization-server/a", config(iss, s.URL+"/keys"))
		}, "500 Internal"},
		{"another issuer", "/a", func(s *idp, _ string) {
			s.answer("/a/.well-known/openid-configuration", config("https://evil.example", s.URL+"/keys"))
		}, `of the issuer "https://evil.example"`},
		{"a slash too many", "/a", func(s *idp, iss string) {
			s.answer("/a/.well-known/openid-configuration", config(iss+"/", s.URL+"/keys"))
		}, "byte for byte"},
		{"no issuer", "/a", func(s *idp, _ string) {
			s.answer("/a/.well-known/openid-configuration", `{"jwks_uri":"`+s.URL+`/keys"}`)
		}, "no issuer or no jwks_uri"},
		{"no jwks_uri", "/a", func(s *idp, iss string) {
			s.answer("/a/.well-known/openid-configuration", fmt.Sprintf(`{"issuer":%q}`, iss))
		}, "no issuer or no jwks_uri"},
		{"two issuers", "/a", func(s *idp, iss string) {
			s.answer("/a/.well-known/openid-configuration", fmt.Sprintf(`{"issuer":%q,"issuer":"x","jwks_uri":%q}`, iss, s.URL+"/keys"))
		}, "stands twice"},
		{"no object", "/a", func(s *idp, _ string) { s.answer("/a/.well-known/openid-configuration", `[]`) }, "not a JSON object"},
		{"truncated", "/a", func(s *idp, _ string) { s.answer("/a/.well-known/openid-configuration", `{"issuer":`) }, "invalid JSON"},
		{"keys by http", "/a", func(s *idp, iss string) {
			s.answer("/a/.well-known/openid-configuration", config(iss, "http://idp.example/keys"))
		}, "jwks_uri: http://idp.example is not https"},
		{"keys at the metadata service", "/a", func(s *idp, iss string) {
			s.answer("/a/.well-known/openid-configuration", config(iss, "https://169.254.169.254/keys"))
		}, "never allowed"},
		{"no keys where they should be", "/a", func(s *idp, iss string) {
			s.answer("/a/.well-known/openid-configuration", config(iss, s.URL+"/none"))
		}, "/none: the answer is 404"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newIDP(t)
			s.answer("/keys", keys)
			iss := s.URL + test.issuer
			test.serve(s, iss)
			a, err := s.client().Fetcher(Source{Issuer: iss}).Fetch(t.Context(), false)
			if test.want != "" {
				wantError(t, err, test.want)
			} else if err != nil || string(a.Set) != keys || a.URI != s.URL+"/keys" {
				t.Errorf("got %q of %s, %v", a.Set, a.URI, err)
			}
		})
	}
}

// TestKeysMove has an issuer that publishes its keys elsewhere from now on: a
// failure there asks discovery again, though what it said is still fresh.
func TestKeysMove(t *testing.T) {
	s := newIDP(t)
	at := "/keys"
	s.mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, s.URL, s.URL+at)
	})
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != at {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, keys)
	})
	f := s.client().Fetcher(Source{Issuer: s.URL})
	if _, err := f.Fetch(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	at = "/new"
	_, err := f.Fetch(t.Context(), false)
	wantError(t, err, "/keys: the answer is 404")
	if a, err := f.Fetch(t.Context(), false); err != nil || a.URI != s.URL+"/new" {
		t.Errorf("got %s, %v", a.URI, err)
	}
}

func TestReadRootCAs(t *testing.T) {
	s := newIDP(t)
	s.answer("/keys", keys)
	path := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(path, block, 0o600); err != nil {
		t.Fatal(err)
	}
	roots, err := ReadRootCAs(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(Policy{AllowPrivate: true, RootCAs: roots}).Fetcher(Source{URI: s.URL + "/keys"}).Fetch(t.Context(), false); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = ReadRootCAs(path)
	wantError(t, err, "no PEM certificate")
	_, err = ReadRootCAs(path + ".none")
	wantError(t, err, "no such file")
}

// TestOldTLS pins that a server of TLS 1.1 is none.
func TestOldTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	s.StartTLS()
	t.Cleanup(s.Close)
	_, err := New(Policy{AllowPrivate: true}).Fetcher(Source{URI: s.URL}).Fetch(t.Context(), false)
	wantError(t, err, "protocol version")
}
