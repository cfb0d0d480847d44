package xds

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	extensionv3 "github.com/envoyproxy/go-control-plane/envoy/service/extension/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

const (
	// A request is small; what is large in it are the names of all extensions
	// of an Envoy build and an error text.
	maxRequestBytes = 1 << 20
	// Around configuration and module: the resource's wrappers.
	maxResponseBytes = MaxConfigurationBytes + MaxModuleBytes + 1<<16
	// A connection needs one stream, or two where ADS is used beside ECDS.
	maxStreams = 16

	maxVersionBytes = 128

	handshakeTimeout = 5 * time.Second
)

// Options configures a [Server].
type Options struct {
	Logger *slog.Logger     // nil: nothing is logged
	Hooks  Hooks            // counters
	Now    func() time.Time // nil: time.Now

	// Proxy says whose stream a context is of, and which node alone that may say
	// it is, "" for any. Nil: nobody's.
	Proxy func(ctx context.Context) (identity, node string)
}

// Hooks are called as things happen, from several goroutines at once; a nil one
// is left out. They carry no node names: these come from the proxies, so that a
// metric labelled by them could grow without bound.
type Hooks struct {
	Pushed  func(bytes int) // a configuration was sent
	Acked   func()
	Nacked  func()
	Streams func(change int) // a stream was opened (1) or closed (-1)
}

// Server serves the configuration to proxies. Its methods may be called at the
// same time.
type Server struct {
	log   *slog.Logger
	hooks Hooks
	now   func() time.Time
	proxy func(ctx context.Context) (identity, node string)

	mu      sync.Mutex
	current *push         // nil until the first Set
	changed chan struct{} // closed when current is replaced
	streams map[*proxyStream]struct{}
}

// push is one configuration on its way to all proxies. It is never modified.
type push struct {
	version  string
	resource []byte // see FilterConfig.resource
}

// New returns a server that has nothing to send yet. Until the first [Server.Set]
// a proxy waits, and goes by its default configuration.
func New(o Options) *Server {
	s := &Server{
		log:     o.Logger,
		hooks:   o.Hooks,
		now:     o.Now,
		proxy:   o.Proxy,
		changed: make(chan struct{}),
		streams: make(map[*proxyStream]struct{}),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.proxy == nil {
		s.proxy = func(context.Context) (string, string) { return "", "" }
	}
	return s
}

// Set makes cfg what every proxy is to run, under the version
// "<epoch>.<generation>". If version and cfg are what is already set, nothing is
// sent. On an error the configuration set before stays.
func (s *Server) Set(version string, cfg FilterConfig) error {
	if version == "" || len(version) > maxVersionBytes {
		return fmt.Errorf("a version has 1 to %d bytes", maxVersionBytes)
	}
	resource, err := cfg.resource()
	if err != nil {
		return fmt.Errorf("filter configuration %s: %w", version, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil && s.current.version == version && bytes.Equal(s.current.resource, resource) {
		return nil
	}
	s.current = &push{version: version, resource: resource}
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

// latest returns the configuration to send, nil if there is none yet, and a
// channel that is closed when there is a newer one.
func (s *Server) latest() (*push, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current, s.changed
}

// Register adds the discovery services to r, a server with [ServerOptions].
func (s *Server) Register(r grpc.ServiceRegistrar) {
	extensionv3.RegisterExtensionConfigDiscoveryServiceServer(r, ecdsService{server: s})
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(r, adsService{server: s})
}

// ServerOptions returns how a gRPC server encodes what it sends here, the limits
// that it needs to carry the largest configuration, and the keepalive that finds
// dead proxies.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(maxRequestBytes),
		grpc.MaxSendMsgSize(maxResponseBytes),
		grpc.MaxConcurrentStreams(maxStreams),
		// A stop waits for connections that are still to say what they are.
		grpc.ConnectionTimeout(handshakeTimeout),
		// A proxy that vanished without closing its connection is found within
		// a minute and a half and leaves the status list.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}),
		// Our bootstraps ping every 30 s; a stream may be idle for days.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
	}
}

// Serve serves l until ctx is done, then ends all streams and returns nil. The
// options are added to [ServerOptions], and are where credentials come in.
func (s *Server) Serve(ctx context.Context, l net.Listener, opts ...grpc.ServerOption) error {
	g := grpc.NewServer(append(ServerOptions(), opts...)...)
	s.Register(g)
	// Streams never end by themselves, so a graceful stop would wait for ever;
	// a proxy that is cut off goes on with what it has.
	stop := context.AfterFunc(ctx, g.Stop)
	defer stop()
	err := g.Serve(l)
	if ctx.Err() != nil && (err == nil || errors.Is(err, grpc.ErrServerStopped)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("serve xDS: %w", err)
	}
	return nil
}

// ecdsService is a type of its own, as is adsService, since both services have
// a generated base type to embed.
type ecdsService struct {
	extensionv3.UnimplementedExtensionConfigDiscoveryServiceServer
	server *Server
}

// StreamExtensionConfigs serves a proxy that asks for ECDS alone.
func (e ecdsService) StreamExtensionConfigs(g extensionv3.ExtensionConfigDiscoveryService_StreamExtensionConfigsServer) error {
	return e.server.serveStream(g, TypeURL)
}

type adsService struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	server *Server
}

// StreamAggregatedResources serves a proxy that asks for all types on one
// stream. Types other than ECDS are never answered.
func (a adsService) StreamAggregatedResources(g discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return a.server.serveStream(g, "")
}
