package tlsfiles_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sallyport/host/internal/tlsfiles"
	"sallyport/host/internal/tlsfiles/tlsfilestest"
)

// fixture is a server by files, and what its clients trust and are.
type fixture struct {
	dir       string
	authority *tlsfilestest.Authority
	log       bytes.Buffer
	source    *tlsfiles.Source
	addr      string
}

func newFixture(t *testing.T, files func(f *fixture, cert, key string) tlsfiles.Files) *fixture {
	t.Helper()
	f := &fixture{dir: t.TempDir()}
	f.authority = tlsfilestest.NewAuthority(t, f.dir, "ca")
	cert, key := f.authority.Issue(t, f.dir, "server")
	source, err := tlsfiles.Open(files(f, cert, key), slog.New(slog.NewTextHandler(&f.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	f.source = source
	l, err := tls.Listen("tcp", "127.0.0.1:0", source.Config("x"))
	if err != nil {
		t.Fatal(err)
	}
	f.addr = l.Addr().String()
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(conn, conn) // the client sees how it ends
			_ = conn.Close()
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return f
}

func serverOnly(_ *fixture, cert, key string) tlsfiles.Files {
	return tlsfiles.Files{Cert: cert, Key: key}
}

func withClients(f *fixture, cert, key string) tlsfiles.Files {
	return tlsfiles.Files{Cert: cert, Key: key, ClientCA: f.authority.File}
}

// talk connects and has a byte echoed; it returns the serial number of the
// server's certificate.
func (f *fixture) talk(t *testing.T, certFile, keyFile string) (string, error) {
	t.Helper()
	pem, err := os.ReadFile(f.authority.File)
	if err != nil {
		t.Fatal(err)
	}
	c := &tls.Config{RootCAs: x509.NewCertPool(), NextProtos: []string{"x"}}
	c.RootCAs.AppendCertsFromPEM(pem)
	if certFile != "" {
		cert, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			t.Fatal(err)
		}
		// Even one that the server does not ask for.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	}
	conn, err := tls.Dial("tcp", f.addr, c)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("x")); err != nil {
		return "", err
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		return "", err
	}
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String(), nil
}

func TestClients(t *testing.T) {
	for name, tt := range map[string]struct {
		files  func(*fixture, string, string) tlsfiles.Files
		nobody bool // whether it may connect
		ours   bool
		others bool
	}{
		"no authorities: certificates don't matter":       {serverOnly, true, true, true},
		"a certificate may be shown, and must be of ours": {withClients, true, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, tt.files)
			check := func(who string, want bool, cert, key string) {
				t.Helper()
				if _, err := f.talk(t, cert, key); (err == nil) != want {
					t.Errorf("%s: %v", who, err)
				}
			}
			check("nobody", tt.nobody, "", "")
			cert, key := f.authority.Issue(t, f.dir, "proxy")
			check("ours", tt.ours, cert, key)
			cert, key = tlsfilestest.NewAuthority(t, f.dir, "other").Issue(t, f.dir, "stranger")
			check("of another authority", tt.others, cert, key)
		})
	}
}

func TestChangedFilesAreReadAgain(t *testing.T) {
	f := newFixture(t, withClients)
	proxyCert, proxyKey := f.authority.Issue(t, f.dir, "proxy")
	serial := func() string {
		t.Helper()
		s, err := f.talk(t, proxyCert, proxyKey)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := serial()
	if serial() != first {
		t.Error("another certificate without a change")
	}
	f.authority.Issue(t, f.dir, "server")
	second := serial()
	if second == first {
		t.Error("the new certificate is not served")
	}
	// A certificate without its key yet: what was good stays.
	other, err := os.ReadFile(proxyCert)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(f.dir, "server.pem")
	if err := os.WriteFile(path, other, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if serial() != second {
			t.Error("what was good does not stay")
		}
	}
	if n := strings.Count(f.log.String(), "can't be used"); n != 1 {
		t.Errorf("said %d times: %s", n, &f.log)
	}
	f.authority.Issue(t, f.dir, "server")
	if s := serial(); s == first || s == second {
		t.Error("the certificate after that is not served")
	}
	// Who was trusted is not when the authorities change.
	next := tlsfilestest.NewAuthority(t, t.TempDir(), "ca")
	pem, err := os.ReadFile(next.File)
	if err != nil {
		t.Fatal(err)
	}
	old := f.authority.File
	f.authority = &tlsfilestest.Authority{File: filepath.Join(f.dir, "copy.pem")}
	oldPEM, err := os.ReadFile(old)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(f.authority.File, oldPEM, 0o600), os.WriteFile(old, pem, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.talk(t, proxyCert, proxyKey); err == nil {
		t.Error("a certificate of an authority that is gone is taken")
	}
	if err := os.Remove(old); err != nil {
		t.Fatal(err)
	}
	if _, err := f.talk(t, proxyCert, proxyKey); err == nil {
		t.Error("without the file a certificate is taken")
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	authority := tlsfilestest.NewAuthority(t, dir, "ca")
	cert, key := authority.Issue(t, dir, "a")
	_, otherKey := authority.Issue(t, dir, "b")
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		files tlsfiles.Files
		want  string
	}{
		"no key":                 {tlsfiles.Files{Cert: cert}, "want both"},
		"no certificate":         {tlsfiles.Files{Key: key}, "want both"},
		"no such file":           {tlsfiles.Files{Cert: cert + "x", Key: key}, "no such file"},
		"the key of another":     {tlsfiles.Files{Cert: cert, Key: otherKey}, "private key does not match"},
		"authorities of nothing": {tlsfiles.Files{Cert: cert, Key: key, ClientCA: empty}, "has no certificate"},
		"authorities nowhere":    {tlsfiles.Files{Cert: cert, Key: key, ClientCA: cert + "x"}, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := tlsfiles.Open(tt.files, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// TestOldTLSIsRefused: TLS 1.1 and older have no secure form.
func TestOldTLSIsRefused(t *testing.T) {
	f := newFixture(t, serverOnly)
	conn, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	old := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	if err := old.Handshake(); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
}
