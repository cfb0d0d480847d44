package wasmhost

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Limits of NewServer. The headers' is Envoy's default; net/http allows 4 KiB
// on top of it.
const (
	maxHeaderBytes    = 60 << 10
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
)

// DefaultTimeout bounds a decision where ProxyOptions doesn't.
const DefaultTimeout = 30 * time.Second

// ProxyOptions configures a ReverseProxy.
type ProxyOptions struct {
	// Transport carries requests to the upstream. Nil is a transport like
	// http.DefaultTransport that adds no Accept-Encoding of its own and uses no
	// proxy from the environment.
	Transport http.RoundTripper
	// Logger receives failures of the filter and of the upstream; nil is none.
	Logger *slog.Logger
	// Timeout bounds how long the filter may take for its decision, the time
	// included in which it pauses the request; DefaultTimeout if 0.
	Timeout time.Duration
	// Observe is called with each decision that the filter made; nil is none.
	Observe func(r *http.Request, result Result)
}

// ReverseProxy asks the filter about each request and forwards those that may
// go on, as a proxy with a proxy-wasm filter in front of its router does. The
// filter sees the headers that the upstream would get; hop-by-hop headers are
// removed before it, so that a client can't have one removed behind it. The
// request's target is not normalized and reaches the upstream byte for byte.
// Bodies are streamed. The filter does not see bodies and responses.
//
// It fails closed: where there is no decision, the answer is 503.
type ReverseProxy struct {
	pool    *Pool
	forward *httputil.ReverseProxy
	opts    ProxyOptions
}

// NewReverseProxy returns a handler that forwards to an upstream, of which only
// scheme and host are used.
func NewReverseProxy(pool *Pool, upstream *url.URL, opts ProxyOptions) (*ReverseProxy, error) {
	if !isUpstream(upstream) {
		return nil, errors.New("wasm reverse proxy: the upstream is no http or https URL with a host")
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Transport == nil {
		opts.Transport = newTransport()
	}
	if opts.Timeout == 0 {
		opts.Timeout = DefaultTimeout
	}
	p := &ReverseProxy{pool: pool, opts: opts}
	p.forward = &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { rewrite(r, upstream) },
		Transport:     opts.Transport,
		FlushInterval: -1, // pass on what there is
		ErrorLog:      slog.NewLogLogger(opts.Logger.Handler(), slog.LevelWarn),
		ErrorHandler:  p.upstreamFailed,
	}
	return p, nil
}

// isUpstream reports whether requests can be sent there.
func isUpstream(u *url.URL) bool {
	return u.Host != "" && (u.Scheme == "http" || u.Scheme == "https")
}

func newTransport() http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableCompression = true
	t.Proxy = nil
	return t
}

// NewServer returns a server for a ReverseProxy that bounds what a client may
// send before the filter is asked: 431 for headers that are too large. It
// passes "OPTIONS *" to the handler, as any other request.
func NewServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:                      h,
		MaxHeaderBytes:               maxHeaderBytes,
		ReadHeaderTimeout:            readHeaderTimeout,
		IdleTimeout:                  idleTimeout,
		DisableGeneralOptionsHandler: true,
	}
}

// ServeHTTP has the only place where a request goes on.
func (p *ReverseProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	headers, err := filterHeaders(r)
	if err != nil {
		problem(w, http.StatusBadRequest)
		return
	}
	result, err := p.decide(r, headers)
	if err != nil {
		if r.Context().Err() == nil { // the client has not gone away
			p.opts.Logger.Error("no decision by the wasm filter", slog.Any("error", err))
		}
		problem(w, http.StatusServiceUnavailable)
		return
	}
	if p.opts.Observe != nil {
		p.opts.Observe(r, result)
	}
	if result.Verdict == VerdictLocal {
		writeLocal(w, result.Local)
		return
	}
	if result.Verdict != VerdictContinue {
		p.opts.Logger.Error("the wasm filter left a request without an answer", slog.Int("verdict", int(result.Verdict)))
		problem(w, http.StatusServiceUnavailable)
		return
	}
	out, err := outgoing(result.Headers)
	if err != nil {
		p.opts.Logger.Error("the wasm filter made a request that can't be forwarded", slog.Any("error", err))
		problem(w, http.StatusServiceUnavailable)
		return
	}
	p.forward.ServeHTTP(w, r.WithContext(out.in(r.Context())))
}

// decide asks the filter.
func (p *ReverseProxy) decide(r *http.Request, headers [][2]string) (Result, error) {
	ctx, cancel := context.WithTimeout(r.Context(), p.opts.Timeout)
	defer cancel()
	return p.pool.Request(ctx, headers, r.Body == nil || r.Body == http.NoBody)
}

func (p *ReverseProxy) upstreamFailed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() == nil {
		p.opts.Logger.Warn("upstream failed", slog.Any("error", err))
	}
	problem(w, http.StatusBadGateway)
}

// writeLocal answers with the filter's response. Its body is plain text where
// the filter says nothing else, as in Envoy.
func writeLocal(w http.ResponseWriter, local *LocalResponse) {
	h := w.Header()
	for _, p := range local.Headers {
		if strings.HasPrefix(p[0], ":") || hopByHop[p[0]] || p[0] == "content-length" {
			continue
		}
		h.Add(p[0], p[1])
	}
	if len(local.Body) > 0 && h.Get("Content-Type") == "" {
		h.Set("Content-Type", "text/plain")
	}
	h.Set("Content-Length", strconv.Itoa(len(local.Body)))
	w.WriteHeader(local.Status)
	_, _ = w.Write(local.Body) // the client is gone
}

// problem answers with an RFC 9457 problem that says no more than the status.
func problem(w http.ResponseWriter, status int) {
	body, err := json.Marshal(struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
	}{"about:blank", http.StatusText(status), status})
	if err != nil {
		panic("wasmhost: internal error: " + err.Error())
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client is gone
}
