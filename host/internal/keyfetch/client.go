package keyfetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"sallyport/host/internal/jwks"
)

// Bounds on one fetch.
const (
	maxRedirects   = 3
	maxBodyBytes   = jwks.MaxSetBytes
	maxHeaderBytes = 64 << 10
	maxURLBytes    = 2048

	maxValidatorBytes = 1024

	// TotalTimeout bounds a fetch: discovery, the set, and all redirections.
	TotalTimeout   = 10 * time.Second
	connectTimeout = 5 * time.Second
	headerTimeout  = 5 * time.Second
)

// Policy says what may be fetched. Its zero value is the strictest.
type Policy struct {
	AllowHTTP    bool           // http, not only https
	AllowPrivate bool           // loopback and private networks
	RootCAs      *x509.CertPool // nil: the system's
}

// ReadRootCAs returns the system's certificate authorities with those of a file
// of PEM certificates.
func ReadRootCAs(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("certificate authorities of issuers: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a system without any
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("certificate authorities of issuers: %s holds no PEM certificate", path)
	}
	return pool, nil
}

// CheckURL says whether the policy allows to fetch a URL, as far as its text
// tells: names are resolved when it is fetched.
func (p Policy) CheckURL(text string) error {
	if len(text) > maxURLBytes {
		return fmt.Errorf("a URL of %d bytes: at most %d are allowed", len(text), maxURLBytes)
	}
	u, err := url.Parse(text)
	if err != nil {
		return errors.New("not a URL")
	}
	return p.checkURL(u)
}

func (p Policy) checkURL(u *url.URL) error {
	switch {
	case u.Host == "" || u.Opaque != "":
		return errors.New("not an absolute URL")
	case u.User != nil:
		return errors.New("a URL of an issuer must not hold credentials")
	case u.Scheme == "http" && !p.AllowHTTP:
		return fmt.Errorf("%s is not https: %s allows http", origin(u), AllowHTTPFlag)
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("%s is not https", origin(u))
	}
	if addr, err := netip.ParseAddr(u.Hostname()); err == nil {
		return p.checkAddr(addr)
	}
	return nil
}

// origin is what messages show of a URL: what is behind may be long, or secret.
func origin(u *url.URL) string { return clip(u.Scheme + "://" + u.Host) }

// Client fetches by a policy. It is safe for concurrent use.
type Client struct {
	policy Policy
	http   http.Client
	now    func() time.Time
}

// New returns a Client.
func New(p Policy) *Client {
	c := &Client{policy: p, now: time.Now}
	dialer := &net.Dialer{Timeout: connectTimeout, ControlContext: c.control}
	c.http = http.Client{
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{RootCAs: p.RootCAs, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    connectTimeout,
			ResponseHeaderTimeout:  headerTimeout,
			MaxResponseHeaderBytes: maxHeaderBytes,
			ForceAttemptHTTP2:      true,
			// Minutes pass between two fetches, and each is to be checked anew.
			DisableKeepAlives: true,
		},
		CheckRedirect: c.redirect,
	}
	return c
}

// control checks the address that is about to be connected to.
func (c *Client) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	return c.policy.checkAddr(addr.Addr())
}

func (c *Client) redirect(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("more than %d redirections", maxRedirects)
	}
	if via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return fmt.Errorf("a redirection from https to %s", origin(req.URL))
	}
	return c.policy.checkURL(req.URL)
}

// statusError is an answer that is no document.
type statusError int

func (e statusError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("the answer is %d %s", int(e), http.StatusText(int(e))))
}

// document is a document as it was fetched last.
type document struct {
	body     []byte // nil: not fetched yet
	final    string // the URL that answered, after redirections
	etag     string
	modified string
	until    time.Time // it is good until then
}

// fetch returns the document at a URL. old is what it was before, if that is
// known; with force, no cache in between may answer.
func (c *Client) fetch(ctx context.Context, location string, old document, force bool) (document, error) {
	if err := c.policy.CheckURL(location); err != nil {
		return document{}, err
	}
	d, notModified, err := c.get(ctx, location, old, force)
	if err == nil && notModified && d.final != old.final {
		// Another server than the one that gave the ETag.
		old = document{}
		d, notModified, err = c.get(ctx, location, old, force)
	}
	if err != nil {
		return document{}, explain(err)
	}
	if notModified {
		if old.body == nil {
			return document{}, statusError(http.StatusNotModified)
		}
		d.body = old.body
		if d.etag == "" {
			d.etag = old.etag
		}
		if d.modified == "" {
			d.modified = old.modified
		}
	}
	return d, nil
}

func (c *Client) get(ctx context.Context, location string, old document, force bool) (d document, notModified bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, location, nil)
	if err != nil {
		return d, false, err
	}
	req.Header.Set("Accept", "application/json, application/jwk-set+json")
	req.Header.Set("User-Agent", "sallyport")
	if force {
		req.Header.Set("Cache-Control", "no-cache") // RFC 9111 section 5.2.1.4
	}
	if old.etag != "" {
		req.Header.Set("If-None-Match", old.etag)
	}
	if old.modified != "" {
		req.Header.Set("If-Modified-Since", old.modified)
	}
	requested := c.now()
	resp, err := c.http.Do(req)
	if err != nil {
		return d, false, err
	}
	defer resp.Body.Close()
	received := c.now()
	d = document{
		final:    resp.Request.URL.String(),
		etag:     validator(resp.Header, "ETag"),
		modified: validator(resp.Header, "Last-Modified"),
		until:    received.Add(freshness(resp.Header, requested, received)),
	}
	if resp.StatusCode == http.StatusNotModified {
		return d, true, nil
	}
	d.body, err = body(resp)
	return d, false, err
}

// validator returns a header that is sent back, unless it is so long that the
// request would be refused for it.
func validator(h http.Header, name string) string {
	v := h.Get(name)
	if len(v) > maxValidatorBytes {
		return ""
	}
	return v
}

// body reads what may be a JSON document.
func body(resp *http.Response) ([]byte, error) {
	if resp.StatusCode != http.StatusOK {
		return nil, statusError(resp.StatusCode)
	}
	if encoding := resp.Header.Get("Content-Encoding"); encoding != "" { // gzip is undone by the transport
		return nil, errors.New("the answer has a Content-Encoding that was not asked for")
	}
	if mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); mediaType == "text/html" {
		return nil, errors.New("the answer is text/html, not JSON: is the URL right?")
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxBodyBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	if len(b) > maxBodyBytes {
		return nil, fmt.Errorf("the answer is larger than %d bytes", maxBodyBytes)
	}
	return b, nil
}

// explain says in a user's words what the standard library says in its own.
func explain(err error) error {
	var asked *url.Error
	if errors.As(err, &asked) { // it would repeat the URL
		err = asked.Err
	}
	if certificate := (*tls.CertificateVerificationError)(nil); errors.As(err, &certificate) {
		return fmt.Errorf("%w (%s adds certificate authorities)", err, CAFileFlag)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no whole answer within %s: %w", TotalTimeout, err)
	}
	return err
}
