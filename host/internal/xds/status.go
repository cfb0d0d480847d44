package xds

import (
	"cmp"
	"log/slog"
	"slices"
	"strings"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"sallyport/policydata/pushapi"
)

const (
	// What a proxy says of itself and of an error is cut to these lengths.
	maxNodeBytes  = pushapi.MaxInstanceBytes // so that it is what the node's workers report
	maxErrorBytes = 1024
)

// NodeStatus is what a connected proxy has said last.
type NodeStatus struct {
	Identity string // of who it proved to be, see package proxyauth
	Node     string // node.id of its bootstrap; it need not be unique
	Address  string // where its connection comes from
	// Subscribed is true while it asks for our resource.
	Subscribed bool
	// Acked is the version that its main thread runs, as far as it has said so:
	// on a new stream the one that it brings along. "" if it runs none.
	Acked string
	Sent  string // the last version sent to it; "" if none was
	// Nacked is the version that it has refused, with the reason in Error; both
	// are "" once it has taken a later one.
	Nacked   string
	Error    string
	LastSeen time.Time // of its last request
}

// Status returns the connected proxies, ordered by node and address. One that
// has gone is not listed: what it enforces is no longer known here.
func (s *Server) Status() []NodeStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]NodeStatus, 0, len(s.streams))
	for p := range s.streams {
		out = append(out, p.status)
	}
	slices.SortFunc(out, func(a, b NodeStatus) int {
		return cmp.Or(strings.Compare(a.Node, b.Node), strings.Compare(a.Address, b.Address))
	})
	return out
}

func (s *Server) open(p *proxyStream) {
	s.mu.Lock()
	p.status.LastSeen = s.now()
	s.streams[p] = struct{}{}
	s.mu.Unlock()
	if s.hooks.Streams != nil {
		s.hooks.Streams(1)
	}
}

func (s *Server) close(p *proxyStream) {
	s.mu.Lock()
	delete(s.streams, p)
	st := p.status
	s.mu.Unlock()
	if s.hooks.Streams != nil {
		s.hooks.Streams(-1)
	}
	s.log.Info("proxy disconnected", "node", st.Node, "address", st.Address, "version", st.Acked)
}

func (s *Server) noteRequest(p *proxyStream, r *discoveryv3.DiscoveryRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.status.LastSeen = s.now()
	// Only the first request of a stream needs to name the node.
	if id := r.GetNode().GetId(); id != "" {
		p.status.Node = pushapi.Clip(id, maxNodeBytes)
	}
}

func (s *Server) noteSubscribed(p *proxyStream, subscribed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.status.Subscribed = subscribed
}

// noteHolds takes in what a proxy brings along on a new stream.
func (s *Server) noteHolds(p *proxyStream, version string) {
	s.mu.Lock()
	p.status.Acked = pushapi.Clip(version, maxVersionBytes)
	st := p.status
	s.mu.Unlock()
	s.log.Info("proxy connected", "node", st.Node, "address", st.Address, "version", st.Acked)
}

func (s *Server) noteSent(p *proxyStream, version string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.status.Sent = version
}

// noteAnswer takes in the answer to what was sent last: a NACK if it carries an
// error, else an ACK.
func (s *Server) noteAnswer(p *proxyStream, r *discoveryv3.DiscoveryRequest) {
	problem := r.GetErrorDetail()
	s.mu.Lock()
	if problem == nil {
		p.status.Acked, p.status.Nacked, p.status.Error = p.status.Sent, "", ""
	} else {
		p.status.Nacked, p.status.Error = p.status.Sent, pushapi.Clip(problem.GetMessage(), maxErrorBytes)
	}
	st := p.status
	s.mu.Unlock()

	who := []any{slog.String("node", st.Node), slog.String("address", st.Address), slog.String("version", st.Sent)}
	hook := s.hooks.Acked
	if problem == nil {
		s.log.Info("proxy took a configuration", who...)
	} else {
		hook = s.hooks.Nacked
		s.log.Warn("proxy refused a configuration", append(who, slog.String("keeps", st.Acked), slog.String("error", st.Error))...)
	}
	if hook != nil {
		hook()
	}
}
