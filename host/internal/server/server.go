// Package server wires the host's parts: the store, the publisher, xDS and HTTP.
package server

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"sallyport/host/internal/compile"
	"sallyport/host/internal/condition"
	"sallyport/host/internal/devissuer"
	"sallyport/host/internal/directory"
	"sallyport/host/internal/envoyconfig"
	"sallyport/host/internal/filterwasm"
	"sallyport/host/internal/fleet"
	"sallyport/host/internal/issuerkeys"
	"sallyport/host/internal/jwks"
	"sallyport/host/internal/keyfetch"
	"sallyport/host/internal/model"
	"sallyport/host/internal/poll"
	"sallyport/host/internal/proxyauth"
	"sallyport/host/internal/publish"
	"sallyport/host/internal/signing"
	"sallyport/host/internal/store"
	"sallyport/host/internal/store/bolt"
	"sallyport/host/internal/tlsfiles"
	"sallyport/host/internal/xds"
	"sallyport/policydata"
	"sallyport/policydata/delta"
	"sallyport/policydata/pluginconfig"
	"sallyport/policydata/pushapi"
)

// Config configures a Server.
type Config struct {
	DataDir  string // store, keys, and the filter for proxies on this machine
	HTTPAddr string // API, metrics, probes, and the filter for proxies
	XDSAddr  string // ECDS

	// Files in PEM for TLS on both addresses; none: plain text, on loopback only.
	// Who proxies are they prove by certificates of ClientCAFile, or by tokens.
	TLSCertFile, TLSKeyFile string
	ClientCAFile            string

	// RequireProxyAuth has proxies prove who they are on loopback, too. Beyond it,
	// and with a ClientCAFile, they must in any case.
	RequireProxyAuth bool

	Module []byte // the filter's wasm

	// InsecureDevIssuer trusts tokens of the development issuer, whose key lies
	// in the data directory.
	InsecureDevIssuer bool

	// How the keys of issuers may be fetched; see package keyfetch.
	IssuerAllowHTTP    bool
	IssuerAllowPrivate bool
	IssuerCAFile       string // further certificate authorities, in PEM; "": the system's alone

	// Filter settings that go with every push.
	RemoveToken     bool
	IdentityHeaders bool

	// SnapshotMaxAge is for how long proxies go by what is pushed; 0: until they
	// have something newer. It is MinMaxAge or more.
	SnapshotMaxAge time.Duration

	// Audit bounds the audit records that are kept.
	Audit directory.AuditLimits

	// FirstCredentials is called once in the life of a store with the access key
	// of its first user, whose secret can't be had again. An error of it ends
	// New.
	FirstCredentials func(accessKeyID, secret string) error

	// Sinks take each snapshot, beside xDS: proxies in the same process.
	Sinks []publish.Sink

	Logger *slog.Logger // required
}

// Server is the host.
type Server struct {
	config    Config
	store     store.Store
	directory *directory.Directory
	publisher *publish.Publisher
	keys      *issuerkeys.Keeper
	key       *signing.Key
	module    string // path of the filter's file for proxies
	xds       *xds.Server
	guard     *proxyauth.Guard
	feed      *poll.Feed
	fleet     *fleet.Registry
	tls       *tlsfiles.Source // nil: plain text
	http      net.Listener
	grpc      net.Listener
	registry  *prometheus.Registry
	metrics   *metrics
	freshness *freshness
}

// Checks are the rules of documents that live outside package model.
func Checks() model.Checks {
	return model.Checks{
		Condition: func(src string, pathCaptures, hostCaptures []string) error {
			_, err := condition.Compile(src, pathCaptures, hostCaptures)
			return err
		},
		Keys: func(set []byte) error {
			_, err := jwks.Parse(set)
			return err
		},
	}
}

// New opens the data directory and the listeners. Run serves; a Server that is
// not run must be closed.
func New(ctx context.Context, c Config) (_ *Server, err error) {
	s := &Server{config: c}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if len(c.Module) == 0 {
		return nil, filterwasm.ErrNotBuilt
	}
	if c.Logger == nil {
		return nil, errors.New("a logger is required")
	}
	if err := checkMaxAge(c.SnapshotMaxAge); err != nil {
		return nil, err
	}
	bolted, err := bolt.Open(c.DataDir, 0)
	if err != nil {
		return nil, err
	}
	s.store = bolted
	policy, err := c.issuerPolicy()
	if err != nil {
		return nil, err
	}
	checks := Checks()
	checks.KeyURL = policy.CheckURL
	s.directory = directory.New(s.store, checks, time.Now)
	s.keys = issuerkeys.New(issuerkeys.Options{Directory: s.directory, Client: keyfetch.New(policy), Logger: c.Logger})
	if s.key, err = signing.Open(c.DataDir); err != nil {
		return nil, err
	}
	if s.module, err = WriteModule(c.DataDir, c.Module); err != nil {
		return nil, err
	}
	s.registry, s.metrics = newMetrics()
	s.registry.MustRegister(s.keys)
	s.newPushes()
	if s.publisher, err = s.newPublisher(); err != nil {
		return nil, err
	}
	if err := s.listen(ctx); err != nil {
		return nil, err
	}
	if err := s.ensureAdmin(ctx); err != nil {
		return nil, err
	}
	s.freshness = s.newFreshness()
	s.freshness.look(ctx) // so that the first snapshot that is published is fresh
	return s, nil
}

// newPushes makes what serves proxies.
func (s *Server) newPushes() {
	log := s.config.Logger
	s.guard = proxyauth.New(proxyauth.Options{Directory: s.directory, Logger: log, Now: time.Now})
	s.fleet = fleet.New(time.Now)
	s.feed = poll.New(poll.Options{Delta: s.delta, Failed: func(err error) {
		log.Error("no delta between two snapshots: the whole one is sent", "error", err)
	}})
	s.xds = xds.New(xds.Options{Logger: log, Hooks: s.metrics.hooks(), Proxy: func(ctx context.Context) (identity, node string) {
		p := proxyauth.From(ctx)
		return p.Identity, p.Instance
	}})
}

// delta makes the signed delta between two snapshots.
func (s *Server) delta(base, target []byte) ([]byte, error) {
	body, err := delta.Make(base, target)
	if err != nil {
		return nil, err
	}
	return s.key.Sign(body)
}

// issuerPolicy returns how the keys of issuers may be fetched.
func (c *Config) issuerPolicy() (keyfetch.Policy, error) {
	p := keyfetch.Policy{AllowHTTP: c.IssuerAllowHTTP, AllowPrivate: c.IssuerAllowPrivate}
	if c.IssuerCAFile == "" {
		return p, nil
	}
	roots, err := keyfetch.ReadRootCAs(c.IssuerCAFile)
	p.RootCAs = roots
	return p, err
}

func (s *Server) newPublisher() (*publish.Publisher, error) {
	extra, err := s.devIssuer()
	if err != nil {
		return nil, err
	}
	s.directory.LimitSize(compile.New().Sizes(extra...))
	return publish.New(publish.Options{
		Directory: s.directory,
		Key:       s.key,
		Extra:     extra,
		Logger:    s.config.Logger,
		Sinks:     append([]publish.Sink{s.push}, s.config.Sinks...),
		Observe:   s.metrics.compiled,
	}), nil
}

func (s *Server) devIssuer() ([]policydata.Issuer, error) {
	if !s.config.InsecureDevIssuer {
		return nil, nil
	}
	issuer, err := devissuer.Open(s.config.DataDir)
	if err != nil {
		return nil, err
	}
	s.config.Logger.Warn("tokens of the development issuer are trusted: whoever reads the data directory can be any user")
	return []policydata.Issuer{issuer.Source()}, nil
}

// firstUserIssuer returns whose tokens may name the first user at the API.
func (s *Server) firstUserIssuer() string {
	if s.config.InsecureDevIssuer {
		return devissuer.Iss
	}
	return ""
}

func (s *Server) ensureAdmin(ctx context.Context) error {
	creds, err := s.directory.EnsureAdmin(ctx)
	if err == nil && creds == nil {
		return s.ensureAPIPolicies(ctx)
	}
	if err != nil || s.config.FirstCredentials == nil {
		return err
	}
	if err := s.config.FirstCredentials(creds.AccessKeyID, creds.Secret.Reveal()); err != nil {
		return fmt.Errorf("the first credentials could not be handed over, and are lost: %w; delete %s, which holds nothing else yet, and start again",
			err, filepath.Join(s.config.DataDir, bolt.FileName))
	}
	return nil
}

// ensureAPIPolicies adds what an older version's store lacks.
func (s *Server) ensureAPIPolicies(ctx context.Context) error {
	added, err := s.directory.EnsureAPIPolicies(ctx)
	if len(added) > 0 && err == nil {
		s.config.Logger.Info("added policies for the API that are new in this version; nobody has them yet", "policies", added)
	}
	return err
}

// push hands a snapshot to who polls and to xDS.
func (s *Server) push(_ context.Context, p *publish.Published) error {
	s.metrics.published(p)
	version := pushapi.Version{Epoch: p.Version.Epoch, Generation: p.Version.Generation}
	if err := s.feed.Set(version, p.Bytes); err != nil {
		return err
	}
	return s.xds.Set(p.Version.String(), xds.FilterConfig{
		PluginConfiguration: s.PluginConfiguration(p),
		ModulePath:          s.module,
	})
}

// PluginConfiguration returns the plugin configuration that enforces a snapshot.
func (s *Server) PluginConfiguration(p *publish.Published) []byte {
	c := pluginconfig.Config{
		TrustedKeys:     [][]byte{s.key.SPKI()},
		Snapshot:        p.Bytes,
		RemoveToken:     s.config.RemoveToken,
		IdentityHeaders: s.config.IdentityHeaders,
		HostCluster:     envoyconfig.HostCluster,
	}
	return c.AppendBinary(nil)
}

// Directory returns the directory, for what runs in the same process.
func (s *Server) Directory() *directory.Directory { return s.directory }

// Publisher returns the publisher, for what runs in the same process.
func (s *Server) Publisher() *publish.Publisher { return s.publisher }

// ModuleFile returns the path of the filter's file.
func (s *Server) ModuleFile() string { return s.module }

// TrustedKey returns the public key that snapshots are signed with, as filters
// list it in trusted_keys.
func (s *Server) TrustedKey() string { return base64.StdEncoding.EncodeToString(s.key.SPKI()) }

// HTTPAddr returns the address of the API.
func (s *Server) HTTPAddr() string { return s.http.Addr().String() }

// XDSAddr returns the address of xDS.
func (s *Server) XDSAddr() string { return s.grpc.Addr().String() }

// Run serves until ctx is done, and closes the Server.
func (s *Server) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, s.Close()) }()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		s.publisher.Run(ctx)
		return nil
	})
	g.Go(func() error {
		s.keys.Run(ctx)
		return nil
	})
	g.Go(func() error {
		s.guard.Run(ctx)
		return nil
	})
	g.Go(func() error { return s.xds.Serve(ctx, s.grpc, s.grpcOptions()...) })
	g.Go(func() error {
		ticker := time.NewTicker(collectEvery)
		defer ticker.Stop()
		s.collect(ctx, ticker.C)
		return nil
	})
	g.Go(func() error {
		ticker := time.NewTicker(lookEvery)
		defer ticker.Stop()
		s.freshness.run(ctx, ticker.C)
		return nil
	})
	web := s.newWeb()
	g.Go(func() error {
		// The API decides by what is published: who calls at once after a start
		// waits for that instead of being refused.
		select {
		case <-s.publisher.Tried():
		case <-ctx.Done():
		}
		if err := s.serveHTTP(web); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve HTTP: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		s.feed.Stop() // or polls would hold the shutdown up
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if web.Shutdown(stop) != nil {
			return web.Close() // what is still open is cut
		}
		return nil
	})
	return g.Wait()
}

// Close releases listeners and store.
func (s *Server) Close() error {
	var errs []error
	for _, l := range []net.Listener{s.http, s.grpc} {
		if l == nil {
			continue
		}
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	return errors.Join(errs...)
}
