package tlsfiles

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
)

// Files are paths of files in PEM.
type Files struct {
	Cert, Key string // the server's certificate with those between it and a root, and its key
	ClientCA  string // authorities whose certificates clients prove themselves by; "": none
}

// Source is a certificate and client authorities, as the files have them.
type Source struct {
	files  Files
	logger *slog.Logger

	mu      sync.Mutex
	loaded  *material // guarded by mu
	refused []stamp   // guarded by mu; what the files were when they were refused last
}

// material is what the files had at one time.
type material struct {
	stamps  []stamp
	cert    tls.Certificate
	clients *x509.CertPool // nil: none
	// One configuration a use for as long as the files stay: a configuration has
	// the keys of its sessions, so that no session outlives the authorities that
	// it was begun under.
	configs map[string]*tls.Config
}

// stamp tells a file from a later one.
type stamp struct {
	info os.FileInfo
}

func (s stamp) same(other stamp) bool {
	return os.SameFile(s.info, other.info) && s.info.Size() == other.info.Size() && s.info.ModTime().Equal(other.info.ModTime())
}

// Open reads the files.
func Open(files Files, logger *slog.Logger) (*Source, error) {
	if files.Cert == "" || files.Key == "" {
		return nil, errors.New("TLS: want both, the file of a certificate and that of its key")
	}
	s := &Source{files: files, logger: logger}
	stamps, err := s.stamps()
	if err != nil {
		return nil, err
	}
	s.loaded, err = s.read(stamps)
	return s, err
}

func (s *Source) stamps() ([]stamp, error) {
	var stamps []stamp
	for _, path := range []string{s.files.Cert, s.files.Key, s.files.ClientCA} {
		if path == "" {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("TLS: %w", err)
		}
		stamps = append(stamps, stamp{info})
	}
	return stamps, nil
}

func (s *Source) read(stamps []stamp) (*material, error) {
	m := &material{stamps: stamps, configs: map[string]*tls.Config{}}
	var err error
	if m.cert, err = tls.LoadX509KeyPair(s.files.Cert, s.files.Key); err != nil {
		return nil, fmt.Errorf("TLS: %s and %s: %w", s.files.Cert, s.files.Key, err)
	}
	if s.files.ClientCA == "" {
		return m, nil
	}
	pem, err := os.ReadFile(s.files.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	m.clients = x509.NewCertPool()
	if !m.clients.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("TLS: %s has no certificate in PEM", s.files.ClientCA)
	}
	return m, nil
}

// current returns what the files have, or had when they were last good.
func (s *Source) current() *material {
	stamps, err := s.stamps()
	if err == nil && sameStamps(stamps, s.loaded.stamps) {
		return s.loaded
	}
	var next *material
	if err == nil {
		next, err = s.read(stamps)
	}
	switch {
	case err == nil:
		s.loaded, s.refused = next, nil
		s.logger.Info("TLS certificate read again", "file", s.files.Cert, "until", next.cert.Leaf.NotAfter.Format(time.RFC3339))
	case s.refused == nil || !sameStamps(stamps, s.refused): // once for each change
		s.refused = append([]stamp{}, stamps...)
		s.logger.Error("the changed TLS files can't be used; those before stay in force", "error", err)
	}
	return s.loaded
}

func sameStamps(a, b []stamp) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !a[i].same(b[i]) {
			return false
		}
	}
	return true
}

// Config returns the configuration of a server that speaks these protocols. Where
// there are authorities for it, clients may show a certificate; whether they must
// is for whoever serves them to say.
func (s *Source) Config(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: protocols,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return s.config(protocols), nil
		},
	}
}

func (s *Source) config(protocols []string) *tls.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.current()
	use := strings.Join(protocols, " ")
	if c, ok := m.configs[use]; ok {
		return c
	}
	// Envoy's clients speak TLS 1.2 unless they are told otherwise.
	c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: protocols, Certificates: []tls.Certificate{m.cert}}
	if m.clients != nil {
		c.ClientCAs, c.ClientAuth = m.clients, tls.VerifyClientCertIfGiven
	}
	m.configs[use] = c
	return c
}
