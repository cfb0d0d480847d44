package oidctest

import (
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// Endpoint is a part of a Provider that is requested, counted and made to fail
// on its own.
type Endpoint string

// The endpoints.
const (
	Discovery Endpoint = "/.well-known/openid-configuration"
	Keys      Endpoint = "/keys"
	Token     Endpoint = "/token"
)

// Options say what a Provider is like from the start.
type Options struct {
	TLS  bool   // with a certificate that only Certificate's pool trusts
	Path string // of the issuer, such as "/realms/eo"; no slash at its end
	// Algorithm of the first key, which signs; default RS256.
	Algorithm string
	// CacheControl is the header field of the key set; none by default.
	CacheControl string
	// ETag lets the key set be asked for conditionally (RFC 9110 section 13).
	ETag bool
}

// Provider is a running provider. Its methods may be called at any time, also
// while it serves.
type Provider struct {
	t       testing.TB
	server  *httptest.Server
	options Options

	mu       sync.Mutex // guards all below
	keys     []*Key     // published, the newest first
	signs    *Key       // nil: none
	clients  map[string]account
	users    map[string]account
	faults   map[Endpoint]Fault
	lifted   map[Endpoint]chan struct{} // closed when the fault of the endpoint changes
	requests map[Endpoint]int
	unmoved  int // answers with 304
}

// Start starts a provider with one key. It ends with the test.
func Start(t testing.TB, o Options) *Provider {
	t.Helper()
	p := &Provider{
		t:        t,
		options:  o,
		clients:  make(map[string]account),
		users:    make(map[string]account),
		faults:   make(map[Endpoint]Fault),
		lifted:   make(map[Endpoint]chan struct{}),
		requests: make(map[Endpoint]int),
	}
	if p.options.Algorithm == "" {
		p.options.Algorithm = "RS256"
	}
	p.Rotate(p.options.Algorithm)

	mux := http.NewServeMux()
	for endpoint, serve := range map[Endpoint]http.HandlerFunc{
		Discovery: p.serveDiscovery,
		Keys:      p.serveKeys,
		Token:     p.serveToken,
	} {
		mux.HandleFunc(o.Path+string(endpoint), p.endpoint(endpoint, serve))
	}
	if o.TLS {
		p.server = httptest.NewTLSServer(mux)
	} else {
		p.server = httptest.NewServer(mux)
	}
	t.Cleanup(p.close)
	return p
}

// close lifts all faults first: the server waits for the requests in progress.
func (p *Provider) close() {
	for _, endpoint := range []Endpoint{Discovery, Keys, Token} {
		p.Fail(endpoint, Healthy)
	}
	p.server.Close()
}

// Issuer returns the issuer identifier, the "iss" of its tokens.
func (p *Provider) Issuer() string { return p.server.URL + p.options.Path }

// URL returns where an endpoint is.
func (p *Provider) URL(e Endpoint) string { return p.Issuer() + string(e) }

// Certificate returns the certificate of a provider with TLS, which has signed
// itself; nil without TLS.
func (p *Provider) Certificate() *x509.Certificate { return p.server.Certificate() }

// Client returns an HTTP client that trusts the provider's certificate.
func (p *Provider) Client() *http.Client { return p.server.Client() }

// Requests returns how often an endpoint was asked, failures included.
func (p *Provider) Requests(e Endpoint) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests[e]
}

// NotModified returns how many requests for the key set were answered by 304.
func (p *Provider) NotModified() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.unmoved
}
