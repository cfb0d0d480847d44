package host_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"sallyport/host"
)

func TestServerServesUntilItsContextEnds(t *testing.T) {
	c := host.Config{
		DataDir: t.TempDir(), HTTPAddr: "127.0.0.1:0", XDSAddr: "127.0.0.1:0", Module: []byte("\x00asm\x01\x00\x00\x00"),
		Logger: slog.New(slog.DiscardHandler),
	}
	s, err := host.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	resp, err := http.Get("http://" + s.HTTPAddr() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || string(body) != "ok\n" {
		t.Errorf("got %q, %v", body, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestNewRefusesOtherAddressesThanLoopback(t *testing.T) {
	c := host.Config{
		DataDir: t.TempDir(), HTTPAddr: "127.0.0.1:0", XDSAddr: "192.0.2.1:0", Module: []byte("\x00asm\x01\x00\x00\x00"),
		Logger: slog.New(slog.DiscardHandler),
	}
	if _, err := host.New(t.Context(), c); err == nil || !strings.Contains(err.Error(), "only a loopback address is allowed") {
		t.Errorf("got error %v", err)
	}
}
