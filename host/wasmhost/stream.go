package wasmhost

import (
	"context"
	"errors"
	"fmt"
	"maps"
)

// Verdict is what becomes of a stream after a callback.
type Verdict int

// The verdicts. The zero Verdict is none of them and lets nothing pass.
const (
	_               Verdict = iota
	VerdictContinue         // go on, with the headers as they are now
	VerdictLocal            // answer with the filter's own response
	VerdictPause            // the filter waits for something
	VerdictClosed           // the filter closed the stream
)

// LocalResponse is an answer of the filter itself.
type LocalResponse struct {
	Status  int
	Headers [][2]string
	Body    []byte
}

// Result is what a filter decided about a request.
type Result struct {
	Verdict Verdict
	// Headers are the request's headers after the filter, pseudo-headers
	// included.
	Headers [][2]string
	// Local is the filter's response; nil unless the verdict is VerdictLocal.
	Local *LocalResponse
	// FilterState is what the filter stored for access logs: by
	// set_envoy_filter_state, and by proxy_set_property under "wasm." and the
	// property's path.
	FilterState map[string]string

	calls hostcallCounts
}

// Hostcalls returns how often each hostcall was made for the request, from
// proxy_on_context_create to proxy_on_delete.
func (r *Result) Hostcalls() map[string]int {
	out := make(map[string]int)
	for i, n := range r.calls {
		if n > 0 {
			out[hostcalls[i].name] = int(n)
		}
	}
	return out
}

// Stream is one HTTP request in a VM. Streams of one Instance may be open side
// by side, their calls one after the other.
type Stream struct {
	in          *Instance
	id          uint32
	maps        [numMaps]*headerMap // nil where the guest may not see it now
	all         [numMaps]*headerMap // what was seen so far, for proxy_on_log
	logging     bool
	body        [2][]byte // by bufferRequestBody, bufferResponseBody
	hasBody     [2]bool
	filterState map[string]string
	local       *LocalResponse
	resumed     [2]bool // by streamRequest, streamResponse
	closed      bool
}

// NewStream makes the context of a request in the guest.
func (in *Instance) NewStream() (*Stream, error) {
	if in.dead != nil {
		return nil, in.dead
	}
	s := &Stream{in: in, id: in.nextID()}
	in.streams[s.id] = s
	if _, err := in.call(onContextCreate, s.id, uint64(in.root), 0); err != nil {
		return nil, err
	}
	return s, nil
}

// Request takes a request's headers through the filter, pseudo-headers first,
// and ends its context: what the filter would do with the response is left
// out. The request may go on only if the error is nil and the verdict is
// VerdictContinue. ctx is looked at before the filter begins.
func (in *Instance) Request(ctx context.Context, headers [][2]string, endOfStream bool) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	in.calls = hostcallCounts{}
	s, err := in.NewStream()
	if err != nil {
		return Result{}, err
	}
	verdict, err := s.RequestHeaders(headers, endOfStream)
	if err != nil {
		return Result{}, err
	}
	if err := s.Close(); err != nil {
		return Result{}, err
	}
	return Result{
		Verdict:     verdict,
		Headers:     s.all[mapRequestHeaders].pairs,
		Local:       s.local,
		FilterState: s.filterState,
		calls:       in.calls,
	}, nil
}

// RequestHeaders calls proxy_on_request_headers.
func (s *Stream) RequestHeaders(headers [][2]string, endOfStream bool) (Verdict, error) {
	return s.onHeaders(onRequestHeaders, mapRequestHeaders, streamRequest, headers, endOfStream)
}

// ResponseHeaders calls proxy_on_response_headers.
func (s *Stream) ResponseHeaders(headers [][2]string, endOfStream bool) (Verdict, error) {
	return s.onHeaders(onResponseHeaders, mapResponseHeaders, streamResponse, headers, endOfStream)
}

func (s *Stream) onHeaders(cb callback, kind, dir int, headers [][2]string, end bool) (Verdict, error) {
	if s.closed {
		return 0, errors.New("wasm stream is closed")
	}
	m := newHeaderMap(headers, kind == mapRequestHeaders)
	s.maps[kind], s.all[kind] = m, m
	action, err := s.in.call3(cb, s.id, uint64(len(m.pairs)), bit(end), actionContinue)
	if err != nil {
		return 0, err
	}
	verdict := s.verdict(action, dir)
	if verdict == VerdictContinue {
		s.maps[kind] = nil
	}
	return verdict, nil
}

// RequestBody calls proxy_on_request_body with a part of the body and returns
// what the filter made of it.
func (s *Stream) RequestBody(part []byte, endOfStream bool) ([]byte, Verdict, error) {
	return s.onBody(onRequestBody, bufferRequestBody, streamRequest, part, endOfStream)
}

// ResponseBody calls proxy_on_response_body with a part of the body and returns
// what the filter made of it.
func (s *Stream) ResponseBody(part []byte, endOfStream bool) ([]byte, Verdict, error) {
	return s.onBody(onResponseBody, bufferResponseBody, streamResponse, part, endOfStream)
}

func (s *Stream) onBody(cb callback, kind, dir int, part []byte, end bool) ([]byte, Verdict, error) {
	if s.closed {
		return nil, 0, errors.New("wasm stream is closed")
	}
	s.body[kind], s.hasBody[kind] = append([]byte(nil), part...), true
	action, err := s.in.call3(cb, s.id, uint64(len(part)), bit(end), actionContinue)
	if err != nil {
		return nil, 0, err
	}
	s.hasBody[kind] = false
	return s.body[kind], s.verdict(action, dir), nil
}

// verdict weighs what the callback returned against what it did by hostcalls.
// A local response counts even where the callback says to go on.
func (s *Stream) verdict(action uint64, dir int) Verdict {
	resumed := s.resumed[dir]
	s.resumed[dir] = false
	switch {
	case s.local != nil:
		return VerdictLocal
	case s.closed:
		return VerdictClosed
	case action == actionContinue || resumed:
		return VerdictContinue
	}
	return VerdictPause
}

// Local returns the response that the filter sent, or nil.
func (s *Stream) Local() *LocalResponse { return s.local }

// FilterState returns what the filter stored for access logs, see [Result].
func (s *Stream) FilterState() map[string]string { return maps.Clone(s.filterState) }

// setFilterState stores a value for access logs.
func (s *Stream) setFilterState(key, value string) {
	if s.filterState == nil {
		s.filterState = make(map[string]string)
	}
	s.filterState[key] = value
}

// Close ends the request in the guest: proxy_on_done, proxy_on_log,
// proxy_on_delete. While it logs, the filter can read headers and not change
// them.
func (s *Stream) Close() error {
	if s.in.streams[s.id] != s {
		return errors.New("wasm stream is closed")
	}
	s.maps, s.hasBody, s.logging = s.all, [2]bool{}, true
	for _, cb := range [...]callback{onDone, onLog, onDelete} {
		if _, err := s.in.call(cb, s.id, 0, 1); err != nil {
			return fmt.Errorf("end wasm stream: %w", err)
		}
	}
	s.closed = true
	delete(s.in.streams, s.id)
	return nil
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
