package server

import (
	"log/slog"
	"net/http"
	"time"

	"sallyport/host/internal/api"
)

const (
	// shutdownTimeout bounds how long requests may take to end when the host stops.
	shutdownTimeout = 5 * time.Second

	// writeTimeout bounds how long an answer may take from the head of its request
	// on, so that who reads nothing holds nothing up. What takes longer has a limit
	// of its own.
	writeTimeout = 5 * time.Minute
)

// newWeb returns the server of all that is HTTP.
func (s *Server) newWeb() *http.Server {
	return &http.Server{
		Handler: api.New(api.Options{
			Directory: s.directory, Store: s.store, Publisher: s.publisher, Keys: s.keys, Registry: s.registry,
			Module: api.NewModule(s.config.Module), Logger: s.config.Logger, Now: time.Now,
			FirstUserIssuer: s.firstUserIssuer(),
			Proxies: api.Proxies{
				Guard: s.guard, Proof: s.needsProof(s.http), Feed: s.feed, Fleet: s.fleet, Streams: s.xds.Status,
			},
		}),
		// "OPTIONS *" is decided like any other request.
		DisableGeneralOptionsHandler: true,

		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.config.Logger.Handler(), slog.LevelWarn),
	}
}
