package proxyauth

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
	"sallyport/host/internal/store/mem"
)

// fixture is a guard whose clock tests set.
type fixture struct {
	directory *directory.Directory
	guard     *Guard
	later     atomic.Int64 // by how much the clock is ahead
	log       bytes.Buffer
}

func newFixture() *fixture {
	f := &fixture{}
	start := time.Now()
	now := func() time.Time { return start.Add(time.Duration(f.later.Load())) }
	f.directory = directory.New(mem.New(), model.Checks{}, now)
	f.guard = New(Options{Directory: f.directory, Logger: slog.New(slog.NewTextHandler(&f.log, nil)), Now: now})
	return f
}

func (f *fixture) token(t *testing.T, n directory.NewProxyToken) (id, text string) {
	t.Helper()
	made, secret, err := f.directory.CreateProxyToken(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return made.ID, secret.Reveal()
}

func shown(c *x509.Certificate) *tls.ConnectionState {
	return &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{c}}}
}

func TestWhoseACertificateIs(t *testing.T) {
	spiffe := &url.URL{Scheme: "spiffe", Host: "example.org", Path: "/edge"}
	long := strings.Repeat("x", maxNameBytes+1)
	for name, tt := range map[string]struct {
		cert x509.Certificate
		want string
	}{
		"by URI":         {x509.Certificate{URIs: []*url.URL{spiffe}, DNSNames: []string{"a.example"}, Subject: pkix.Name{CommonName: "cn"}}, "cert:spiffe://example.org/edge"},
		"by DNS name":    {x509.Certificate{DNSNames: []string{"a.example", "b.example"}, Subject: pkix.Name{CommonName: "cn"}}, "cert:a.example"},
		"by common name": {x509.Certificate{Subject: pkix.Name{CommonName: "cn"}}, "cert:cn"},
		"by its key":     {x509.Certificate{}, "cert:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		"of a long name": {x509.Certificate{DNSNames: []string{long}}, "cert:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
	} {
		f := newFixture()
		tt.cert.NotAfter = time.Now().Add(time.Hour)
		p, err := f.guard.Authenticate(t.Context(), Proof{TLS: shown(&tt.cert)}, true)
		if err != nil || p.Identity != tt.want || p.Instance != "" {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
		f.later.Store(int64(2 * time.Hour))
		if _, err := f.guard.Authenticate(t.Context(), Proof{TLS: shown(&tt.cert)}, false); !errors.Is(err, ErrBadProof) {
			t.Errorf("%s, expired: %v", name, err)
		}
	}
}

func TestProofs(t *testing.T) {
	f := newFixture()
	_, edge := f.token(t, directory.NewProxyToken{Name: "edge-1"})
	cert := shown(&x509.Certificate{DNSNames: []string{"a"}, NotAfter: time.Now().Add(time.Hour)})
	for name, tt := range map[string]struct {
		authorization []string
		tls           *tls.ConnectionState
		needed        bool
		identity      string
		want          error
	}{
		"a token":                       {[]string{"Bearer " + edge}, nil, true, "proxy:edge-1", nil},
		"another case of the scheme":    {[]string{"bEARER " + edge}, nil, true, "proxy:edge-1", nil},
		"a token before a certificate":  {[]string{"Bearer " + edge}, cert, true, "proxy:edge-1", nil},
		"a token though none is needed": {[]string{"Bearer " + edge}, nil, false, "proxy:edge-1", nil},
		"a variable without a value":    {[]string{"Bearer "}, cert, true, "cert:a", nil},
		"a variable that is not set":    {[]string{"Bearer -"}, cert, true, "cert:a", nil},
		"nothing where none is needed":  {nil, nil, false, "", nil},
		"nothing":                       {nil, nil, true, "", ErrNoProof},
		"a certificate nobody verified": {nil, &tls.ConnectionState{PeerCertificates: cert.VerifiedChains[0]}, true, "", ErrNoProof},
		"two tokens":                    {[]string{"Bearer " + edge, "Bearer " + edge}, nil, true, "", ErrBadProof},
		"another scheme":                {[]string{"Basic " + edge}, cert, false, "", ErrBadProof},
		"the token alone":               {[]string{edge}, nil, true, "", ErrBadProof},
		"a bad token, none is needed":   {[]string{"Bearer x"}, nil, false, "", ErrBadProof},
		"a bad token and a certificate": {[]string{"Bearer x"}, cert, true, "", ErrBadProof},
	} {
		p, err := f.guard.Authenticate(t.Context(), Proof{Authorization: tt.authorization, TLS: tt.tls}, tt.needed)
		if p.Identity != tt.identity || !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	if strings.Contains(f.log.String(), edge[21:]) {
		t.Error("the token is in the log")
	}
}

func TestWhatBeganEndsWithItsProof(t *testing.T) {
	f := newFixture()
	id, edge := f.token(t, directory.NewProxyToken{Name: "edge-1"})
	_, short := f.token(t, directory.NewProxyToken{Name: "edge-2", TTL: time.Hour})
	cert := shown(&x509.Certificate{DNSNames: []string{"a"}, NotAfter: time.Now().Add(time.Hour)})
	running, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.guard.Run(running)
	}()
	begin := func(proof Proof) (context.Context, func()) {
		t.Helper()
		p, err := f.guard.Authenticate(t.Context(), proof, false)
		if err != nil {
			t.Fatal(err)
		}
		return f.guard.Begin(t.Context(), p)
	}
	byToken, end := begin(Proof{Authorization: []string{"Bearer " + edge}})
	defer end()
	byShort, endShort := begin(Proof{Authorization: []string{"Bearer " + short}})
	byCert, endCert := begin(Proof{TLS: cert})
	byNobody, endNobody := begin(Proof{})
	if _, err := f.directory.RevokeProxyToken(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	<-byToken.Done()
	if cause := context.Cause(byToken); !errors.Is(cause, ErrBadProof) {
		t.Errorf("revoked: %v", cause)
	}
	if byShort.Err() != nil || byCert.Err() != nil || byNobody.Err() != nil {
		t.Error("others ended with it")
	}
	f.later.Store(int64(2 * time.Hour))
	<-byShort.Done()
	<-byCert.Done()
	if byNobody.Err() != nil {
		t.Error("who proved nothing can't expire")
	}
	endShort()
	endCert()
	endNobody()
	stop()
	<-done
	if n := len(f.guard.sessions()); n != 1 {
		t.Errorf("%d sessions, one has not ended", n)
	}
}

func TestGates(t *testing.T) {
	fill := func(g *Gate, p Principal) (leave []func()) {
		for {
			l, err := g.Enter(p)
			if errors.Is(err, ErrTooMany) {
				return leave
			}
			leave = append(leave, l)
		}
	}
	g := NewGate(400)
	proxy := fill(g, Principal{Identity: "proxy:a", Instance: "a"})
	fleet := fill(g, Principal{Identity: "fleet:f"})
	anybody := fill(g, Principal{})
	if len(proxy) != mostOfProxy || len(fleet) != 300 || len(anybody) != 36 || g.Held() != 400 {
		t.Errorf("%d of a proxy, %d of a fleet, %d of anybody", len(proxy), len(fleet), len(anybody))
	}
	for _, leave := range [][]func(){proxy, fleet, anybody} {
		for _, l := range leave {
			l()
			l() // twice is once
		}
	}
	if g.Held() != 0 || len(g.of) != 0 {
		t.Errorf("%d held, %v", g.Held(), g.of)
	}
}
