package wasmhost

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
)

// hopByHop are headers of one connection (RFC 9110 section 7.6.1, RFC 2616
// section 13.5.1), which are neither shown to the filter nor forwarded.
var hopByHop = map[string]bool{
	"connection":          true,
	"keep-alive":          true,
	"proxy-authenticate":  true,
	"proxy-authorization": true,
	"proxy-connection":    true,
	"te":                  true,
	"trailer":             true,
	"transfer-encoding":   true,
	"upgrade":             true,
}

// filterHeaders returns a request's headers as a filter sees them: first the
// pseudo-headers, from the raw request target, then each header line by itself.
func filterHeaders(r *http.Request) ([][2]string, error) {
	authority, path, err := splitTarget(r)
	if err != nil {
		return nil, err
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	headers := make([][2]string, 0, 4+len(r.Header))
	headers = append(headers,
		[2]string{":authority", authority}, [2]string{":path", path},
		[2]string{":method", r.Method}, [2]string{":scheme", scheme})
	nominated := make(map[string]bool)
	for _, line := range r.Header["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			nominated[strings.ToLower(textproto.TrimString(name))] = true
		}
	}
	for _, key := range slices.Sorted(maps.Keys(r.Header)) {
		name := strings.ToLower(key)
		if hopByHop[name] || nominated[name] {
			continue
		}
		for _, value := range r.Header[key] {
			headers = append(headers, [2]string{name, value})
		}
	}
	return headers, nil
}

var errTarget = errors.New("request target can't be proxied")

// splitTarget returns authority and path of a request. An absolute-form target
// (RFC 9112 section 3.2.2) has its own authority, which overrides Host, and is
// taken apart by its bytes, so that its path stays as it came.
func splitTarget(r *http.Request) (authority, path string, err error) {
	if r.Host == "" { // HTTP/1.0: the upstream would get another one than the filter
		return "", "", errTarget
	}
	target := r.RequestURI
	if strings.HasPrefix(target, "/") || target == "*" && r.Method == http.MethodOptions {
		return r.Host, target, nil
	}
	scheme, rest, ok := strings.Cut(target, "://")
	if !ok || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return "", "", errTarget
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, path = rest[:end], rest[end:]
	// net/http has parsed the target, too. Where it read another host, a server
	// behind could as well.
	if authority == "" || authority != r.Host || strings.Contains(authority, "@") {
		return "", "", errTarget
	}
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return authority, path, nil
}

// outgoingRequest is what the filter made of a request.
type outgoingRequest struct {
	method, host, path string
	header             http.Header
}

type outgoingKey struct{}

// in returns a context that carries the request to rewrite.
func (o *outgoingRequest) in(ctx context.Context) context.Context {
	return context.WithValue(ctx, outgoingKey{}, o)
}

// outgoing turns headers back into a request. It refuses what net/http would
// not write as it is.
func outgoing(headers [][2]string) (*outgoingRequest, error) {
	o := &outgoingRequest{header: make(http.Header)}
	for _, p := range headers {
		switch name := p[0]; {
		case name == ":method":
			o.method = p[1]
		case name == ":authority" || name == "host":
			o.host = p[1]
		case name == ":path":
			o.path = p[1]
		case strings.HasPrefix(name, ":") || hopByHop[name]:
		default:
			o.header.Add(name, p[1])
		}
	}
	if o.method == "" || o.path == "" {
		return nil, errTarget
	}
	if u := (url.URL{Opaque: o.path}); u.RequestURI() != o.path || strings.ContainsAny(o.path, " \t") {
		return nil, errTarget
	}
	return o, nil
}

// rewrite makes the upstream request: the filter's headers and nothing else,
// apart from "TE: trailers", which httputil has set, and X-Forwarded headers,
// which are not the client's to say.
//
// An upgrade is not asked for, and so the request is an ordinary one (RFC 9110
// section 7.8): what came behind a 101 would pass by the filter, with h2c whole
// requests.
func rewrite(r *httputil.ProxyRequest, upstream *url.URL) {
	o := r.In.Context().Value(outgoingKey{}).(*outgoingRequest)
	if values := r.Out.Header["Te"]; len(values) > 0 {
		o.header["Te"] = values
	}
	for _, name := range [...]string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		o.header.Del(name)
	}
	r.Out.Header = o.header
	r.SetXForwarded()
	r.Out.Method, r.Out.Host = o.method, o.host
	// An opaque URL is written as it is; any other would be encoded anew.
	r.Out.URL = &url.URL{Scheme: upstream.Scheme, Host: upstream.Host, Opaque: o.path}
}
