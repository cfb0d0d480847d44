package wasmhost

import (
	"context"
	"errors"
	"fmt"
)

// Verdict is what becomes of a stream after a callback.
type Verdict int

// The verdicts. The zero Verdict is none of them and lets nothing pass.
const (
	_               Verdict = iota
	VerdictContinue         // go on, with the headers as they are now
	VerdictLocal            // answer with the filter's own response
	VerdictPause            // the filter waits for something; a Result's only of trailers
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
	// Trailers are the request's after the filter; nil where the request has not
	// come so far.
	Trailers [][2]string
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

// Stream is one HTTP request in a VM. Streams of one Instance are open side by
// side, their callbacks one after the other. The Instance's mu guards it.
type Stream struct {
	in          *Instance
	id          uint32
	root        *root               // whose configuration decides it, also where another is in force by now
	maps        [numMaps]*headerMap // nil where the guest may not see it now
	all         [numMaps]*headerMap // what was seen so far, for proxy_on_log
	logging     bool
	body        [2][]byte // by bufferRequestBody, bufferResponseBody
	hasBody     [2]bool
	filterState map[string]string
	local       *LocalResponse
	resumed     [2]bool // by streamRequest, streamResponse
	closed      bool
	calls       hostcallCounts

	paused    bool
	pausedDir int           // streamRequest or streamResponse, while paused
	pausedMap int           // the map that is seen while paused
	outcome   Verdict       // of the request's headers; where they were paused, of what ended that
	settled   chan struct{} // closed when a paused stream has an outcome, or its VM is dead
}

// Request takes a request's headers through the filter, pseudo-headers first,
// and ends its context: what the filter would do with the response is left
// out. The request may go on only if the error is nil and the verdict is
// VerdictContinue.
//
// Where the filter pauses the request, Request waits until a later callback
// resumes or answers it, while other requests pass through the Instance. When
// ctx is done before that, the request's context is ended in the filter, and
// the error is ctx's.
func (in *Instance) Request(ctx context.Context, headers [][2]string, endOfStream bool) (Result, error) {
	s, _, err := in.begin(ctx, headers, endOfStream)
	if err != nil {
		return Result{}, err
	}
	return s.end(ctx)
}

// RequestWithTrailers is Request for one that has trailers, which go through the
// filter when its headers have. It may go on only if both verdicts are
// VerdictContinue; the Result's is the one that is not.
func (in *Instance) RequestWithTrailers(ctx context.Context, headers, trailers [][2]string) (Result, error) {
	s, _, err := in.begin(ctx, headers, false)
	if err != nil {
		return Result{}, err
	}
	if s.wait(ctx) == nil {
		in.mu.Lock()
		if s.outcome == VerdictContinue {
			s.outcome, err = s.requestTrailers(trailers)
		}
		in.mu.Unlock()
		if err != nil {
			return Result{}, err
		}
	}
	return s.end(ctx)
}

// begin takes a request's headers through the filter and says whether it has
// paused the request. The Stream is to be ended.
func (in *Instance) begin(ctx context.Context, headers [][2]string, endOfStream bool) (s *Stream, paused bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if s, err = in.openStream(); err != nil {
		return nil, false, err
	}
	s.outcome, err = s.requestHeaders(headers, endOfStream)
	return s, s.paused, err
}

// end waits while the request is paused, ends it in the guest, and returns what
// the filter decided.
func (s *Stream) end(ctx context.Context) (Result, error) {
	gone := s.wait(ctx)
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	if err := s.close(); err != nil {
		return Result{}, err
	}
	if gone != nil {
		return Result{}, gone
	}
	result := Result{
		Verdict:     s.outcome,
		Headers:     s.all[mapRequestHeaders].pairs,
		FilterState: s.filterState,
		calls:       s.calls,
	}
	if m := s.all[mapRequestTrailers]; m != nil {
		result.Trailers = m.pairs
	}
	if s.outcome == VerdictLocal { // not what was sent when the request was on its way
		result.Local = s.local
	}
	return result, nil
}

// wait returns when the stream is not paused any more, its VM is dead, or ctx
// is done; then it returns ctx's error.
func (s *Stream) wait(ctx context.Context) error {
	s.in.mu.Lock()
	settled := s.settled
	s.in.mu.Unlock()
	if settled == nil {
		return nil
	}
	select {
	case <-settled:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// openStream makes the context of a request in the guest.
func (in *Instance) openStream() (*Stream, error) {
	if in.dead != nil {
		return nil, in.dead
	}
	s := &Stream{in: in, id: in.nextID(), root: in.root}
	in.streams[s.id] = s
	in.root.streams++
	if _, err := in.call(onContextCreate, 0, s.id, in.root.id); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Stream) requestHeaders(headers [][2]string, endOfStream bool) (Verdict, error) {
	return s.onHeaders(onRequestHeaders, mapRequestHeaders, streamRequest, headers, endOfStream)
}

func (s *Stream) responseHeaders(headers [][2]string, endOfStream bool) (Verdict, error) {
	return s.onHeaders(onResponseHeaders, mapResponseHeaders, streamResponse, headers, endOfStream)
}

// requestTrailers takes trailers through the filter. What it pauses here stays
// paused.
func (s *Stream) requestTrailers(trailers [][2]string) (Verdict, error) {
	if s.closed {
		return 0, errStreamClosed
	}
	m := newHeaderMap(trailers, false)
	s.maps[mapRequestTrailers], s.all[mapRequestTrailers], s.resumed[streamRequest] = m, m, false
	action, err := s.in.call(onRequestTrailers, actionContinue, s.id, uint32(len(m.pairs)))
	if err != nil {
		return 0, err
	}
	s.maps[mapRequestTrailers] = nil
	return s.verdict(action, streamRequest), nil
}

var errStreamClosed = errors.New("wasm stream is closed")

func (s *Stream) onHeaders(cb callback, kind, dir int, headers [][2]string, end bool) (Verdict, error) {
	if s.closed {
		return 0, errStreamClosed
	}
	m := newHeaderMap(headers, kind == mapRequestHeaders)
	s.maps[kind], s.all[kind], s.resumed[dir] = m, m, false
	action, err := s.in.call(cb, actionContinue, s.id, uint32(len(m.pairs)), bit(end))
	if err != nil {
		return 0, err
	}
	switch v := s.verdict(action, dir); v {
	case VerdictContinue:
		s.maps[kind] = nil
		return v, nil
	case VerdictPause:
		s.paused, s.pausedDir, s.pausedMap, s.settled = true, dir, kind, make(chan struct{})
		return v, nil
	default:
		return v, nil
	}
}

// settle ends the pause where the guest has resumed the request or answered it.
func (s *Stream) settle() {
	if !s.paused {
		return
	}
	s.outcome = s.verdict(actionPause, s.pausedDir)
	if s.outcome == VerdictPause {
		return
	}
	if s.outcome == VerdictContinue {
		s.maps[s.pausedMap] = nil
	}
	s.wake()
}

// wake ends the pause.
func (s *Stream) wake() {
	if s.paused {
		s.paused = false
		close(s.settled)
	}
}

func (s *Stream) requestBody(part []byte, endOfStream bool) ([]byte, Verdict, error) {
	return s.onBody(onRequestBody, bufferRequestBody, streamRequest, part, endOfStream)
}

// onBody calls a callback with a part of a body and returns what the filter
// made of it.
func (s *Stream) onBody(cb callback, kind, dir int, part []byte, end bool) ([]byte, Verdict, error) {
	if s.closed {
		return nil, 0, errStreamClosed
	}
	s.body[kind], s.hasBody[kind], s.resumed[dir] = append([]byte(nil), part...), true, false
	action, err := s.in.call(cb, actionContinue, s.id, uint32(len(part)), bit(end))
	if err != nil {
		return nil, 0, err
	}
	s.hasBody[kind] = false
	return s.body[kind], s.verdict(action, dir), nil
}

// verdict weighs what the callback returned against what was done by hostcalls.
// A local response counts even where the callback says to go on.
func (s *Stream) verdict(action uint64, dir int) Verdict {
	switch {
	case s.local != nil:
		return VerdictLocal
	case s.closed:
		return VerdictClosed
	case action == actionContinue || s.resumed[dir]:
		return VerdictContinue
	}
	return VerdictPause
}

// setFilterState stores a value for access logs.
func (s *Stream) setFilterState(key, value string) {
	if s.filterState == nil {
		s.filterState = make(map[string]string)
	}
	s.filterState[key] = value
}

// close ends the request in the guest: proxy_on_done, proxy_on_log,
// proxy_on_delete. While it logs, the filter can read headers and not change
// them. A root that was replaced ends with its last stream.
func (s *Stream) close() error {
	in := s.in
	if in.streams[s.id] != s {
		return errStreamClosed
	}
	s.paused = false
	s.maps, s.hasBody, s.logging = s.all, [2]bool{}, true
	for _, cb := range [...]callback{onDone, onLog, onDelete} {
		if _, err := in.call(cb, 1, s.id); err != nil {
			return fmt.Errorf("end wasm stream: %w", err)
		}
	}
	s.closed = true
	delete(in.streams, s.id)
	s.root.streams--
	if s.root.retired && s.root.streams == 0 {
		return in.endRoot(s.root)
	}
	return nil
}

func bit(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}
