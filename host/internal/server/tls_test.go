package server_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"sallyport/e2e/envoytest"
	"sallyport/host/internal/envoyconfig"
	"sallyport/host/internal/filterwasm"
	"sallyport/host/internal/server"
	"sallyport/host/internal/tlsfiles/tlsfilestest"
)

// pki is a host's certificate, a proxy's, and one that is of nobody known.
type pki struct {
	authority, others    *tlsfilestest.Authority
	proxy, proxyKey      string
	stranger, strangerAs string
}

// secure gives a host certificates.
func secure(t *testing.T, c *server.Config) pki {
	t.Helper()
	dir := t.TempDir()
	p := pki{authority: tlsfilestest.NewAuthority(t, dir, "ca"), others: tlsfilestest.NewAuthority(t, dir, "others")}
	c.TLSCertFile, c.TLSKeyFile = p.authority.Issue(t, dir, "host")
	c.ClientCAFile = p.authority.File
	p.proxy, p.proxyKey = p.authority.Issue(t, dir, "proxy")
	p.stranger, p.strangerAs = p.others.Issue(t, dir, "stranger")
	return p
}

// client returns a client that trusts the host and shows a certificate, "" for
// none.
func (p *pki) client(t *testing.T, cert, key string) *http.Client {
	t.Helper()
	pem, err := os.ReadFile(p.authority.File)
	if err != nil {
		t.Fatal(err)
	}
	c := &tls.Config{RootCAs: x509.NewCertPool()}
	c.RootCAs.AppendCertsFromPEM(pem)
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	transport := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestTLS(t *testing.T) {
	c := config(t.TempDir())
	p := secure(t, &c)
	var key, secret string
	c.FirstCredentials = func(k, s string) error {
		key, secret = k, s
		return nil
	}
	s := start(t, c)
	for name, tt := range map[string]struct {
		path      string
		as        *http.Client
		login     bool
		want      int
		refused   bool   // instead of an answer
		refusedAs string // where the client itself says so
	}{
		"a probe":                        {path: "/healthz", as: p.client(t, "", ""), want: 200},
		"the API by access key":          {path: "/api/v1/users", as: p.client(t, "", ""), login: true, want: 200},
		"the API without":                {path: "/api/v1/users", as: p.client(t, "", ""), want: 401},
		"a certificate is no login":      {path: "/api/v1/users", as: p.client(t, p.proxy, p.proxyKey), want: 401},
		"the filter for a proxy":         {path: "/plugin/sallyport.wasm", as: p.client(t, p.proxy, p.proxyKey), want: 200},
		"the filter for anybody":         {path: "/plugin/sallyport.wasm", as: p.client(t, "", ""), want: 401},
		"the filter by access key":       {path: "/plugin/sallyport.wasm", as: p.client(t, "", ""), login: true, want: 401},
		"keys for anybody":               {path: "/v1/keys", as: p.client(t, "", ""), want: 401},
		"keys for a proxy":               {path: "/v1/keys", as: p.client(t, p.proxy, p.proxyKey), want: 400}, // an empty body
		"metrics by certificate":         {path: "/metrics", as: p.client(t, p.proxy, p.proxyKey), want: 200},
		"metrics by access key":          {path: "/metrics", as: p.client(t, "", ""), login: true, want: 200},
		"metrics for anybody":            {path: "/metrics", as: p.client(t, "", ""), want: 401},
		"a certificate of others":        {path: "/healthz", as: p.client(t, p.stranger, p.strangerAs), refused: true},
		"a client that does not know us": {path: "/healthz", as: http.DefaultClient, refused: true, refusedAs: "unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			method := http.MethodGet
			if tt.path == "/v1/keys" {
				method = http.MethodPost
			}
			req, err := http.NewRequestWithContext(t.Context(), method, "https://"+s.HTTPAddr()+tt.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if tt.login {
				req.SetBasicAuth(key, secret)
			}
			resp, err := tt.as.Do(req)
			if tt.refused { // in TLS 1.3 a client may see that only as an end
				if err == nil || !strings.Contains(err.Error(), tt.refusedAs) {
					t.Errorf("%v, want %q", err, tt.refusedAs)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if body, _ := io.ReadAll(resp.Body); resp.StatusCode != tt.want {
				t.Errorf("%d, want %d: %.200s", resp.StatusCode, tt.want, body)
			}
		})
	}
}

func TestBeyondLoopback(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*server.Config)
		want   string // "": it starts
	}{
		"the API with TLS": {func(c *server.Config) { c.HTTPAddr, c.ClientCAFile = "0.0.0.0:0", "" }, ""},
		"the API in plain text": {func(c *server.Config) {
			c.HTTPAddr, c.TLSCertFile, c.TLSKeyFile, c.ClientCAFile = "0.0.0.0:0", "", "", ""
		}, "only a loopback address is allowed without TLS"},
		"xDS with certificates of proxies": {func(c *server.Config) { c.XDSAddr = "0.0.0.0:0" }, ""},
		"xDS with TLS alone, and tokens":   {func(c *server.Config) { c.XDSAddr, c.ClientCAFile = "0.0.0.0:0", "" }, ""},
		"xDS in plain text": {func(c *server.Config) {
			c.XDSAddr, c.TLSCertFile, c.TLSKeyFile, c.ClientCAFile = "0.0.0.0:0", "", "", ""
		}, "only a loopback address is allowed without TLS"},
		"authorities of clients without TLS": {func(c *server.Config) { c.TLSCertFile, c.TLSKeyFile = "", "" }, "of use only with a certificate"},
		"a certificate without its key":      {func(c *server.Config) { c.TLSKeyFile = "" }, "want both"},
	} {
		t.Run(name, func(t *testing.T) {
			c := config(t.TempDir())
			secure(t, &c)
			tt.change(&c)
			s, err := server.New(t.Context(), c)
			if err == nil {
				defer s.Close()
			}
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// TestFilterIsForNobodyBeyondLoopbackWithoutCertificates: who can't prove to be a
// proxy gets nothing of proxies.
func TestFilterIsForNobodyBeyondLoopbackWithoutCertificates(t *testing.T) {
	c := config(t.TempDir())
	p := secure(t, &c)
	c.HTTPAddr, c.ClientCAFile = "0.0.0.0:0", ""
	s := start(t, c)
	_, port, _ := strings.Cut(strings.TrimPrefix(s.HTTPAddr(), "[::]"), ":")
	resp, err := p.client(t, p.proxy, p.proxyKey).Get("https://127.0.0.1:" + port + "/plugin/sallyport.wasm")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("status %d", resp.StatusCode)
	}
}

// TestEnvoyShowsItsCertificate: the real Envoy gets its snapshot by mTLS, and
// gets none by a certificate of somebody else.
func TestEnvoyShowsItsCertificate(t *testing.T) {
	filter, err := filterwasm.Module()
	if err != nil {
		t.Fatalf("%v (run make build)", err)
	}
	c := config(t.TempDir())
	c.Module = filter
	p := secure(t, &c)
	s := start(t, c)
	upstream := httptest.NewServer(http.NotFoundHandler())
	defer upstream.Close()
	envoy := func(cert, key string) *envoytest.Envoy {
		bootstrap, err := envoyconfig.ECDS(envoyconfig.Options{
			Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Upstream: upstream.Listener.Addr().String(),
			Host: s.HTTPAddr(), XDS: s.XDSAddr(), ModulePath: s.ModuleFile(), Keys: []string{s.TrustedKey()},
			HostCA: p.authority.File, Cert: cert, Key: key,
		})
		if err != nil {
			t.Fatal(err)
		}
		return envoytest.Start(t, bootstrap)
	}
	status := func(e *envoytest.Envoy, want int) func() error {
		return func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+e.Address("ingress")+"/", nil)
			if err != nil {
				return err
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if resp.StatusCode != want {
				return fmt.Errorf("status %d, want %d", resp.StatusCode, want)
			}
			return nil
		}
	}
	ours, stranger := envoy(p.proxy, p.proxyKey), envoy(p.stranger, p.strangerAs)
	// By a snapshot nobody may do anything yet: without a token that is 401.
	ours.Await("a proxy with a certificate enforces a snapshot", time.Minute, status(ours, http.StatusUnauthorized))
	stranger.Await("the host refused the other's certificate", time.Minute, func() error {
		if n := stranger.Stats()["cluster.sallyport_xds.ssl.connection_error"] + stranger.Stats()["cluster.sallyport_xds.upstream_cx_destroy_remote"]; n == 0 {
			return fmt.Errorf("no connection was refused")
		}
		return nil
	})
	if err := status(stranger, http.StatusServiceUnavailable)(); err != nil {
		t.Errorf("a proxy without a snapshot: %v", err)
	}
}
