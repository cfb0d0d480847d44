package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"sallyport/host/internal/tlsfiles"
)

// listen opens the listeners. Beyond loopback, nothing is served in plain text,
// and xDS only to who shows a certificate: a snapshot says who may do what.
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
	httpNeeds, xdsNeeds := "", ""
	if s.tls == nil {
		httpNeeds = "without TLS (--tls-cert, --tls-key)"
	}
	if c.ClientCAFile == "" {
		xdsNeeds = "unless proxies show certificates (--tls-cert, --tls-key, --client-ca)"
	}
	if s.http, err = listen(ctx, "HTTP", c.HTTPAddr, httpNeeds); err != nil {
		return err
	}
	s.grpc, err = listen(ctx, "xDS", c.XDSAddr, xdsNeeds)
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

// proxiesByCertificate reports whether what is for proxies is for who shows a
// certificate: where there are authorities for these, and beyond loopback.
func (s *Server) proxiesByCertificate() bool {
	return s.config.ClientCAFile != "" || !onLoopback(s.http)
}

func (s *Server) grpcOptions() []grpc.ServerOption {
	if s.tls == nil {
		return nil
	}
	return []grpc.ServerOption{grpc.Creds(credentials.NewTLS(s.tls.Config(tlsfiles.MustShow, "h2")))}
}

func (s *Server) serveHTTP(web *http.Server) error {
	if s.tls == nil {
		return web.Serve(s.http)
	}
	web.TLSConfig = s.tls.Config(tlsfiles.MayShow, "h2", "http/1.1")
	return web.ServeTLS(s.http, "", "")
}
