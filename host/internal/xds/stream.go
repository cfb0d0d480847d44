package xds

import (
	"context"
	"slices"
	"strconv"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"sallyport/policydata/pushapi"
)

// discoveryStream is what the streams of ECDS and of ADS have in common.
type discoveryStream interface {
	SendMsg(any) error // of a *response
	Recv() (*discoveryv3.DiscoveryRequest, error)
	Context() context.Context
}

// proxyStream is the state of one proxy's stream. The fields below status
// belong to the goroutine that serves it.
type proxyStream struct {
	server *Server
	grpc   discoveryStream
	only   string     // the only node that it may be; "": any
	status NodeStatus // guarded by Server.mu

	typeURL    string // of requests that name none; "" on ADS
	greeted    bool   // a request for our type has come
	subscribed bool   // the last request asks for our resource
	sent       *push  // the last one sent, nil if none was
	nonce      uint64 // of sent; counts the responses of the stream
	waiting    bool   // sent is not answered yet
}

// serveStream serves one stream until the proxy, the server or the connection
// ends it. Requests for
// types other than ECDS are ignored.
func (s *Server) serveStream(g discoveryStream, typeURL string) error {
	p := &proxyStream{server: s, grpc: g, typeURL: typeURL}
	if from, ok := peer.FromContext(g.Context()); ok {
		p.status.Address = from.Addr.String()
	}
	p.status.Identity, p.only = s.proxy(g.Context())
	p.status.Node = pushapi.Clip(p.only, maxNodeBytes)
	s.open(p)
	defer s.close(p)

	requests := make(chan *discoveryv3.DiscoveryRequest)
	go receive(g, requests)
	for {
		latest, changed := s.latest()
		if err := p.offer(latest); err != nil {
			return err
		}
		select {
		case <-changed:
		case r, ok := <-requests:
			if !ok {
				return nil
			}
			if err := p.handle(r); err != nil {
				return err
			}
		case <-g.Context().Done():
			return nil
		}
	}
}

// receive passes on the stream's requests and closes the channel at its end. It
// returns when the stream's handler does, since that ends the stream's context.
func receive(g discoveryStream, requests chan<- *discoveryv3.DiscoveryRequest) {
	defer close(requests)
	for {
		r, err := g.Recv()
		if err != nil {
			return
		}
		select {
		case requests <- r:
		case <-g.Context().Done():
			return
		}
	}
}

// offer sends latest if the proxy wants it, has answered what it was sent
// before, and has not been sent this very one. The last condition is what keeps
// a refused configuration from being sent again.
func (p *proxyStream) offer(latest *push) error {
	if !p.subscribed || p.waiting || latest == nil || latest == p.sent {
		return nil
	}
	p.nonce++
	p.sent, p.waiting = latest, true
	p.server.noteSent(p, latest.version)
	if err := p.grpc.SendMsg(newResponse(latest, strconv.FormatUint(p.nonce, 10))); err != nil {
		return err
	}
	if pushed := p.server.hooks.Pushed; pushed != nil {
		pushed(len(latest.resource))
	}
	return nil
}

// handle takes in a request: a subscription, an ACK or a NACK.
func (p *proxyStream) handle(r *discoveryv3.DiscoveryRequest) error {
	typeURL := r.GetTypeUrl()
	if typeURL == "" {
		typeURL = p.typeURL
	}
	if typeURL == "" {
		return status.Error(codes.InvalidArgument, "a request over ADS needs a type URL")
	}
	if id := r.GetNode().GetId(); p.only != "" && id != "" && id != p.only {
		return status.Errorf(codes.PermissionDenied, "this token is of the node %q alone", p.only)
	}
	p.server.noteRequest(p, r)
	if typeURL != TypeURL {
		return nil
	}
	if p.nonce > 0 && r.GetResponseNonce() != strconv.FormatUint(p.nonce, 10) {
		// Written before our last response came in: an answer to it follows.
		return nil
	}
	wasSubscribed := p.subscribed
	p.subscribed = wants(r.GetResourceNames())
	p.server.noteSubscribed(p, p.subscribed)
	if p.subscribed && !wasSubscribed {
		// Who subscribes again has dropped what it had.
		p.sent = nil
	}
	switch {
	case !p.greeted:
		p.greeted = true
		p.server.noteHolds(p, r.GetVersionInfo())
	case p.waiting:
		p.waiting = false
		p.server.noteAnswer(p, r)
	}
	return nil
}

// wants reports whether a subscription covers our resource. No names at all is
// the old form of the wildcard.
func wants(names []string) bool {
	return len(names) == 0 || slices.Contains(names, ResourceName) || slices.Contains(names, "*")
}
