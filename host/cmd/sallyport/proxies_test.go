package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

func TestAWatchOutlivesTheHost(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	asked := 0
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch asked++; asked {
		case 2:
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		case 4:
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, `{"published":"1.2","complete":false,"incomplete":"a report of \u001b was refused: x","results":[]}`)
	}))
	defer host.Close()
	defer cancel()
	var out, errs bytes.Buffer
	cmd := &cobra.Command{}
	cmd.SetContext(ctx)
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	err := watchProxies(cmd, &client{server: host.URL}, formTable, time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "403 Forbidden") {
		t.Errorf("it ended by %v", err)
	}
	const why = `"a report of \x1b was refused: x": there may be workers that are not known`
	if strings.Count(out.String(), why) != 2 || strings.Contains(out.String(), "\x1b") {
		t.Errorf("it showed %q", out.String())
	}
	if !strings.HasPrefix(errs.String(), "sallyport: 503 Service Unavailable") || strings.Count(errs.String(), "\n") != 1 {
		t.Errorf("it said %q", errs.String())
	}
	cancel()
	if err := watchProxies(cmd, &client{server: host.URL}, formTable, time.Millisecond); err != nil {
		t.Errorf("interrupted: %v", err)
	}
}
