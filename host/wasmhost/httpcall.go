package wasmhost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds on what a filter sends and gets by proxy_http_call. Headers and
// trailers have the bounds of any map, see maxPairs.
const (
	maxCalls            = 128 // outstanding ones of one VM
	maxCallRequestBody  = 1 << 20
	maxCallResponseBody = 32 << 20
)

// Cluster is a service that filters may call.
type Cluster struct {
	// URL is where it is; only scheme and host are used.
	URL *url.URL
	// Transport sends the requests. Nil is a transport like
	// http.DefaultTransport that adds no Accept-Encoding of its own and uses no
	// proxy from the environment.
	Transport http.RoundTripper
}

func checkClusters(clusters map[string]Cluster) error {
	for name, c := range clusters {
		if c.URL == nil || !isUpstream(c.URL) {
			return fmt.Errorf("wasm cluster %q: no http or https URL with a host", name)
		}
	}
	return nil
}

func withTransports(clusters map[string]Cluster) map[string]Cluster {
	out := make(map[string]Cluster, len(clusters))
	for name, c := range clusters {
		if c.Transport == nil {
			c.Transport = newTransport()
		}
		out[name] = c
	}
	return out
}

// callResponse is the answer to an HTTP call, while the guest may read it. The
// zero callResponse, without any header, is a call that failed.
type callResponse struct {
	headers, trailers *headerMap
	body              []byte
}

// proxyHTTPCall sends a request. Its answer is the root context's, which may
// live longer than the stream for which the filter asked.
func proxyHTTPCall(in *Instance, p params) Status {
	name, ok1 := in.text(p.u32(0), p.u32(1))
	headers, ok2 := in.text(p.u32(2), p.u32(3))
	body, ok3 := in.text(p.u32(4), p.u32(5))
	trailers, ok4 := in.text(p.u32(6), p.u32(7))
	if !ok1 || !ok2 || !ok3 || !ok4 || !in.writable(p.u32(9), 4) {
		return StatusInvalidMemoryAccess
	}
	r := in.contextRoot()
	cluster, known := in.module.rt.opts.Clusters[name]
	if r == nil || !known || len(body) > maxCallRequestBody {
		return StatusBadArgument
	}
	req, err := callRequest(cluster.URL, headers, body, trailers)
	if err != nil {
		return StatusBadArgument
	}
	if in.calls >= maxCalls {
		return StatusInternalFailure
	}
	id := in.startCall(r, cluster, req, time.Duration(p.u32(8))*time.Millisecond)
	return in.putUint32(p.u32(9), id)
}

// startCall sends a request on a goroutine of its own; a timeout of 0 is none,
// as in Envoy.
func (in *Instance) startCall(r *root, cluster Cluster, req *http.Request, timeout time.Duration) uint32 {
	if timeout == 0 {
		timeout = math.MaxInt64
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	in.lastCallID++
	id := in.lastCallID
	r.calls[id] = cancel
	in.calls++
	go func() {
		response := roundTrip(cluster.Transport, req.WithContext(ctx))
		in.finishCall(r, id, response)
	}()
	return id
}

// finishCall hands an answer to the guest, unless nobody waits for it any more.
func (in *Instance) finishCall(r *root, id uint32, response *callResponse) {
	in.mu.Lock()
	defer in.mu.Unlock()
	cancel, ok := r.calls[id]
	if !ok {
		return
	}
	cancel()
	in.forgetCall(r, id)
	in.response = response
	// An error is a dead VM, as its next user learns.
	_, _ = in.call(onHTTPCallResponse, 0, r.id, id,
		uint32(response.headers.size()), uint32(len(response.body)), uint32(response.trailers.size()))
	in.response = nil
}

func (in *Instance) forgetCall(r *root, id uint32) {
	delete(r.calls, id)
	in.calls--
}

// callRequest makes a request of what the guest said. Like Envoy it wants
// method, path and authority; the target is sent as it is.
func callRequest(base *url.URL, headers, body, trailers string) (*http.Request, error) {
	pairs, err := decodePairs([]byte(headers))
	if err != nil {
		return nil, err
	}
	after, err := decodePairs([]byte(trailers))
	if err != nil {
		return nil, err
	}
	o, err := outgoing(newHeaderMap(pairs, true).pairs)
	if err != nil {
		return nil, err
	}
	if o.host == "" || !strings.HasPrefix(o.path, "/") {
		return nil, errTarget
	}
	o.header.Del("Content-Length") // the body's is sent
	req := &http.Request{
		Method:        o.method,
		Host:          o.host,
		URL:           &url.URL{Scheme: base.Scheme, Host: base.Host, Opaque: o.path},
		Header:        o.header,
		Body:          io.NopCloser(strings.NewReader(body)),
		ContentLength: int64(len(body)),
	}
	if body == "" {
		req.Body = http.NoBody
	}
	if len(after) > 0 {
		req.Trailer = make(http.Header)
		for _, p := range after {
			req.Trailer.Add(p[0], p[1])
		}
		req.Body = io.NopCloser(strings.NewReader(body))
		req.ContentLength = -1 // only a chunked body has trailers
	}
	return req, nil
}

// roundTrip sends a request and reads its answer whole. Where there is none,
// the answer is what Envoy's is: 503 without a connection, 504 after a timeout,
// and nothing if the response was cut or too large.
func roundTrip(transport http.RoundTripper, req *http.Request) *callResponse {
	resp, err := transport.RoundTrip(req)
	switch {
	case errors.Is(req.Context().Err(), context.DeadlineExceeded) && err != nil:
		return localAnswer(http.StatusGatewayTimeout, "upstream request timeout")
	case err != nil:
		return localAnswer(http.StatusServiceUnavailable, "upstream connect error or disconnect/reset before headers")
	}
	defer resp.Body.Close()
	var body bytes.Buffer
	if n, err := io.Copy(&body, io.LimitReader(resp.Body, maxCallResponseBody+1)); err != nil || n > maxCallResponseBody {
		return &callResponse{}
	}
	headers := answerHeaders(resp.Header, [2]string{":status", strconv.Itoa(resp.StatusCode)})
	trailers := answerHeaders(resp.Trailer)
	if tooLarge(headers) || tooLarge(trailers) {
		return &callResponse{}
	}
	return &callResponse{headers: headers, body: body.Bytes(), trailers: trailers}
}

func localAnswer(status int, text string) *callResponse {
	return &callResponse{headers: newHeaderMap([][2]string{
		{":status", strconv.Itoa(status)},
		{"content-length", strconv.Itoa(len(text))},
		{"content-type", "text/plain"},
	}, false), body: []byte(text)}
}

// answerHeaders returns headers in the order of their names.
func answerHeaders(h http.Header, first ...[2]string) *headerMap {
	m := newHeaderMap(first, false)
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			m.add(name, value)
		}
	}
	return m
}

func tooLarge(m *headerMap) bool {
	return len(m.pairs) > maxPairs || len(encodePairs(m.pairs)) > maxPairsBytes
}
