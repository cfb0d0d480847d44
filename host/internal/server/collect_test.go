package server

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
	"sallyport/host/internal/store/mem"
	"sallyport/policydata"
)

func TestEachTickRemovesRevokedTokensThatHaveExpired(t *testing.T) {
	start := time.Now()
	var later atomic.Int64
	var log bytes.Buffer
	checks := model.Checks{Keys: func([]byte) error { return nil }}
	s := &Server{config: Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}}
	s.directory = directory.New(mem.New(), checks, func() time.Time { return start.Add(time.Duration(later.Load())) })
	issuer := model.New(model.KindIssuer).(*model.Issuer)
	issuer.Name, issuer.Issuer, issuer.Audiences, issuer.Algorithms = "idp", "https://idp", []string{"a"}, []string{"ES256"}
	issuer.JWKS.Inline = []byte(`{"keys":[]}`)
	if _, err := s.directory.Apply(t.Context(), []model.Entity{issuer}, directory.Options{}); err != nil {
		t.Fatal(err)
	}
	token := policydata.RevokedToken{Issuer: "idp", ID: "t", Expires: start.Add(time.Minute).Unix()}
	if _, err := s.directory.Revoke(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	tick := make(chan time.Time)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.collect(ctx, tick)
	}()
	tick <- start
	tick <- start // taken only when the first is done
	later.Store(int64(2 * time.Hour))
	tick <- start
	tick <- start
	cancel()
	<-done
	revision, err := s.directory.Load(t.Context())
	if err != nil || revision.Generation != 3 || len(revision.State.Revoked) != 0 {
		t.Errorf("got generation %d with %v, %v; want 3 without any", revision.Generation, revision.State.Revoked, err)
	}
	if strings.Count(log.String(), "count=1") != 1 {
		t.Errorf("log: %s", &log)
	}
}
