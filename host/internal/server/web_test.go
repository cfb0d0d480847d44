package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"sallyport/host/internal/api"
	"sallyport/policydata/pushapi"
)

func TestWhoReadsNothingHoldsNothingUp(t *testing.T) {
	s, err := New(t.Context(), Config{
		DataDir: t.TempDir(), HTTPAddr: "127.0.0.1:0", XDSAddr: "127.0.0.1:0",
		Module: make([]byte, 64<<20), // more than any socket takes
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	web := s.newWeb()
	if web.WriteTimeout <= pushapi.MaxWait+web.ReadTimeout {
		t.Errorf("an answer may take %s, and a poll alone %s", web.WriteTimeout, pushapi.MaxWait)
	}
	web.WriteTimeout = 100 * time.Millisecond
	answered := make(chan struct{})
	next := web.Handler
	web.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(answered)
		next.ServeHTTP(w, r)
	})
	ended := make(chan error, 1)
	go func() { ended <- web.Serve(s.http) }()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", s.HTTPAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET "+api.ModulePath+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-answered
	if err := web.Shutdown(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
