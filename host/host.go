// Package host is Sallyport's control service. It owns users, groups, roles,
// services, policies and credentials in a store, compiles them to signed
// snapshots and pushes these to every proxy.
package host

import (
	"context"

	"sallyport/host/internal/server"
)

// Config configures a Server.
type Config = server.Config

// Server is the control service.
type Server struct{ inner *server.Server }

// New opens the data directory and the listeners.
func New(ctx context.Context, c Config) (*Server, error) {
	inner, err := server.New(ctx, c)
	if err != nil {
		return nil, err
	}
	return &Server{inner}, nil
}

// Run serves until ctx is done.
func (s *Server) Run(ctx context.Context) error { return s.inner.Run(ctx) }

// HTTPAddr returns the address that the API is served on.
func (s *Server) HTTPAddr() string { return s.inner.HTTPAddr() }

// XDSAddr returns the address that xDS is served on.
func (s *Server) XDSAddr() string { return s.inner.XDSAddr() }
