package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"sallyport/host/internal/proxyauth"
	"sallyport/host/internal/tlsfiles"
)

// listen opens the listeners. Beyond loopback, nothing is served in plain text,
// and what is for proxies only to who proves to be one: a snapshot says who may
// do what.
func (s *Server) listen(ctx context.Context) (err error) {
	c := &s.config
	if c.TLSCertFile != "" || c.TLSKeyFile != "" {
		files := tlsfiles.Files{Cert: c.TLSCertFile, Key: c.TLSKeyFile, ClientCA: c.ClientCAFile}
		if s.tls, err = tlsfiles.Open(files, c.Logger); err != nil {
			return err
		}
	} else if c.ClientCAFile != "" {
		return errors.New("TLS: authorities of clients are of use only with a certificate and its key")
	}
	needs := ""
	if s.tls == nil {
		needs = "without TLS (--tls-cert, --tls-key)"
	}
	if s.http, err = listen(ctx, "HTTP", c.HTTPAddr, needs); err != nil {
		return err
	}
	s.grpc, err = listen(ctx, "xDS", c.XDSAddr, needs)
	return err
}

// listen opens a listener, on a loopback address only if something is needed for
// others.
func listen(ctx context.Context, what, addr, needs string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("%s address %q: %w", what, addr, err)
	}
	if ip := net.ParseIP(host); needs != "" && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("%s address %q: only a loopback address is allowed %s", what, addr, needs)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s address: %w", what, err)
	}
	if needs != "" && !onLoopback(l) { // a localhost that is none
		return nil, errors.Join(fmt.Errorf("%s address %q: this is %s, and only a loopback address is allowed %s", what, addr, l.Addr(), needs), l.Close())
	}
	return l, nil
}

func onLoopback(l net.Listener) bool {
	tcp, ok := l.Addr().(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// needsProof reports whether proxies that come to a listener must prove who they
// are: beyond loopback, and where there is something to prove it by or the
// operator wants it.
func (s *Server) needsProof(l net.Listener) bool {
	return s.config.RequireProxyAuth || s.config.ClientCAFile != "" || !onLoopback(l)
}

// maxXDSStreams bounds the streams of proxies.
const maxXDSStreams = 4096

func (s *Server) grpcOptions() []grpc.ServerOption {
	options := []grpc.ServerOption{
		grpc.StreamInterceptor(s.guard.Streams(s.needsProof(s.grpc), proxyauth.NewGate(maxXDSStreams))),
	}
	if s.tls != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(s.tls.Config("h2"))))
	}
	return options
}

func (s *Server) serveHTTP(web *http.Server) error {
	if s.tls == nil {
		return web.Serve(s.http)
	}
	web.TLSConfig = s.tls.Config("h2", "http/1.1")
	return web.ServeTLS(s.http, "", "")
}
