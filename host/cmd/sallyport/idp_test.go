package main

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"

	"sallyport/host/internal/devissuer"
	"sallyport/host/internal/jwks"
	"sallyport/policydata"
)

// idpKey is where a script's environment has its issuer.
type idpKey struct{}

// idpServer is an issuer that a script runs, over TLS.
type idpServer struct {
	server *httptest.Server

	mu   sync.Mutex
	set  []byte // guarded by mu; nil: it is down
	keys []policydata.Key
}

// runIDP serves the script command idp: "idp KID..." has an issuer that lists
// these keys, "idp down" one that answers nothing of use. The first call starts
// it, and writes ca.pem and idp.yaml, an Issuer that is found by discovery.
func runIDP(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: idp KID...|down")
	}
	s := ts.Value(idpKey{}).(*idpServer)
	if s.server == nil {
		s.start(ts)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if args[0] == "down" {
		s.set = nil
		return
	}
	var list []policydata.Key
	for _, kid := range args {
		key := s.keys[0]
		key.ID = kid
		list = append(list, key)
	}
	set, err := jwks.Marshal(list)
	ts.Check(err)
	s.set = set
}

func (s *idpServer) start(ts *testscript.TestScript) {
	issuer, err := devissuer.Open(ts.MkAbs("idp"))
	ts.Check(err)
	s.keys = issuer.Keys()
	s.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch {
		case s.set == nil:
			w.WriteHeader(http.StatusBadGateway)
		case r.URL.Path == "/.well-known/openid-configuration":
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, "https://"+r.Host, "https://"+r.Host+"/keys")
		case r.URL.Path == "/keys":
			_, _ = w.Write(s.set)
		default:
			http.NotFound(w, r)
		}
	}))
	ts.Defer(s.server.Close)
	writeFile(ts, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.server.Certificate().Raw})))
	writeFile(ts, "idp.yaml", fmt.Sprintf(`apiVersion: sallyport/v1
kind: Issuer
metadata: {name: idp}
spec:
  issuer: %s
  jwks: {discovery: true}
  audiences: [api]
  algorithms: [%s]
`, s.server.URL, s.keys[0].Algorithm))
}
