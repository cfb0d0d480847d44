package keyfetch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"sallyport/policydata/token"
)

// Source is where an issuer's keys are. One of the two is set.
type Source struct {
	URI    string // of a JWK Set
	Issuer string // discovery: the exact "iss"
}

// Answer is a key set as the issuer publishes it.
type Answer struct {
	Set   []byte
	URI   string        // of the set
	Fresh time.Duration // for how long it is good
}

// Fetcher fetches the set of one source, again and again. It is not safe for
// concurrent use.
type Fetcher struct {
	client        *Client
	source        Source
	configuration document // with discovery
	uri           string   // of set
	set           document
}

// Fetcher returns a Fetcher for a source.
func (c *Client) Fetcher(s Source) *Fetcher { return &Fetcher{client: c, source: s} }

// Fetch asks for the set. With force it asks the issuer even for what is still
// fresh.
func (f *Fetcher) Fetch(ctx context.Context, force bool) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, TotalTimeout)
	defer cancel()
	uri, err := f.find(ctx, force)
	if err != nil {
		return Answer{}, err
	}
	if uri != f.uri {
		f.uri, f.set = uri, document{}
	}
	set, err := f.client.fetch(ctx, uri, f.set, force)
	if err != nil {
		f.configuration.until = time.Time{} // the set may have moved
		return Answer{}, fmt.Errorf("key set %s: %w", uri, err)
	}
	f.set = set
	return Answer{Set: set.body, URI: uri, Fresh: set.until.Sub(f.client.now())}, nil
}

// find returns the URL of the set.
func (f *Fetcher) find(ctx context.Context, force bool) (string, error) {
	if f.source.URI != "" {
		return f.source.URI, nil
	}
	if f.configuration.body != nil && !force && f.client.now().Before(f.configuration.until) {
		return f.jwksURI(f.configuration.body)
	}
	locations, err := wellKnown(f.source.Issuer)
	if err != nil {
		return "", fmt.Errorf("discovery: %w", err)
	}
	uri, err := f.discover(ctx, locations[0], force)
	if errors.Is(err, statusError(http.StatusNotFound)) {
		first := err
		if uri, err = f.discover(ctx, locations[1], force); err != nil {
			err = fmt.Errorf("%w; %w", first, err)
		}
	}
	return uri, err
}

// discover fetches a configuration, and keeps it if it is one of this issuer.
func (f *Fetcher) discover(ctx context.Context, location string, force bool) (string, error) {
	fetched, err := f.client.fetch(ctx, location, f.configuration, force)
	if err != nil {
		return "", fmt.Errorf("discovery %s: %w", location, err)
	}
	uri, err := f.jwksURI(fetched.body)
	if err != nil {
		return "", fmt.Errorf("discovery %s: %w", location, err)
	}
	f.configuration = fetched
	return uri, nil
}

// jwksURI reads a configuration, which must be of the issuer that was asked for
// (OpenID Connect Discovery 1.0 section 4.3, RFC 8414 section 3.3).
func (f *Fetcher) jwksURI(configuration []byte) (string, error) {
	text := string(configuration)
	if err := token.ValidateJSON(text); err != nil {
		return "", err
	}
	object := gjson.Parse(text)
	if !object.IsObject() {
		return "", errors.New("the answer is not a JSON object")
	}
	issuer, uri := object.Get("issuer"), object.Get("jwks_uri")
	switch {
	case issuer.Type != gjson.String || uri.Type != gjson.String:
		return "", errors.New("the answer has no issuer or no jwks_uri")
	case issuer.Str != f.source.Issuer:
		return "", fmt.Errorf("the answer is of the issuer %q, not of %q: the two must be equal, byte for byte", clip(issuer.Str), f.source.Issuer)
	}
	if err := f.client.policy.CheckURL(uri.Str); err != nil {
		return "", fmt.Errorf("jwks_uri: %w", err)
	}
	return uri.Str, nil
}

// wellKnown returns where an issuer's configuration may be: as OpenID Connect
// Discovery 1.0 section 4.1 has it, and, if there is none, as RFC 8414 section 3
// does for servers of OAuth alone.
func wellKnown(issuer string) (locations [2]string, err error) {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" {
		return locations, fmt.Errorf("the issuer %q is not a URL", clip(issuer))
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	root := u.Scheme + "://" + u.Host
	return [2]string{
		root + path + "/.well-known/openid-configuration",
		root + "/.well-known/oauth-authorization-server" + path,
	}, nil
}

// clip bounds text of an issuer that goes into messages.
func clip(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
