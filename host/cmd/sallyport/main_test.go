package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"sallyport/e2e/hosttest"
	"sallyport/host/internal/tlsfiles/tlsfilestest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sallyport": main})
}

// TestScript runs the program as its users do. The scripts have these commands
// beside testscript's own:
//
//	tokens         writes dev.yaml, an Issuer with the keys of the development
//	               issuer in ./data, and tokens.jsonl for token verify
//	serve [FLAG]   starts a host on ./data and free ports, and sets
//	               SALLYPORT_SERVER, and the credentials if it prints some
//	stop           ends it, and writes serve.out and serve.err
//	idp KID...     has an issuer list these keys, or be down ("idp down"); the first
//	               writes ca.pem and idp.yaml, an Issuer found by discovery
//	http M URL [N] asks the host as the first user, or as nobody where N is
//	               "anonymous", or with a token, and prints status and body
//	certs          writes ca.pem, and host.pem with its key, host-key.pem
//	plain          has SALLYPORT_SERVER begin with http
//	use FILE       sets the credentials that FILE exports
//	fetch PATH F   writes what the host answers anybody to a file
func TestScript(t *testing.T) {
	dir := filepath.Join("testdata", "script")
	scripts, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts in %s: %v", dir, err)
	}
	cache := t.TempDir()
	warmCache(t, cache)
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("XDG_CACHE_HOME", cache)
			// The race detector sleeps for a second at the end of each process,
			// for goroutines that are still running.
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			env.Values[hostKey{}] = &runningHost{}
			env.Values[idpKey{}] = &idpServer{}
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"tokens":  writeTokens,
			"serve":   serve,
			"stop":    stop,
			"http":    ask,
			"fetch":   fetch,
			"use":     use,
			"workers": workers,
			"plain": func(ts *testscript.TestScript, _ bool, _ []string) {
				ts.Setenv("SALLYPORT_SERVER", strings.Replace(ts.Getenv("SALLYPORT_SERVER"), "https:", "http:", 1))
			},
			"certs": func(ts *testscript.TestScript, _ bool, _ []string) {
				tlsfilestest.NewAuthority(t, ts.MkAbs("."), "ca").Issue(t, ts.MkAbs("."), "host")
			},
			"idp": runIDP,
		},
	})
}

// warmCache compiles the filter once for all scripts.
func warmCache(t *testing.T, dir string) {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", dir)
	if err := hosttest.Precompile(wasmCacheDir(), hosttest.Module(t)); err != nil {
		t.Fatal(err)
	}
}

// brokenWriter is a standard output that nobody reads.
type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestOutputThatCannotBeWrittenIsAnError(t *testing.T) {
	policies := filepath.Join("..", "..", "internal", "demo", "story.yaml")
	requests := filepath.Join(t.TempDir(), "requests.jsonl")
	if err := os.WriteFile(requests, []byte(`{"method":"GET","path":"/healthz"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string][]string{
		"check":      {"check", "-f", policies, "--path", "/healthz"},
		"batch":      {"check", "-f", policies, "--batch", requests},
		"token mint": {"token", "mint", "--user", "eric", "--data-dir", t.TempDir()},
		"snapshot":   {"snapshot", "build", "-f", policies, "-o", "-", "--data-dir", t.TempDir()},
	}
	for name, args := range tests {
		t.Run(name, func(t *testing.T) {
			var stderr bytes.Buffer
			if code := run(t.Context(), args, strings.NewReader(""), brokenWriter{}, &stderr); code != exitError {
				t.Errorf("exit code %d, want %d", code, exitError)
			}
			if !strings.Contains(stderr.String(), io.ErrClosedPipe.Error()) {
				t.Errorf("standard error %q does not say why", stderr.String())
			}
		})
	}
}

func TestCredentialsThatCannotBePrintedEndServe(t *testing.T) {
	var stderr bytes.Buffer
	dir := filepath.Join(t.TempDir(), "data")
	args := []string{"serve", "--data-dir", dir, "--http", "127.0.0.1:0", "--xds", "127.0.0.1:0"}
	if code := run(t.Context(), args, strings.NewReader(""), brokenWriter{}, &stderr); code != exitError {
		t.Errorf("exit code %d, want %d", code, exitError)
	}
	if text := stderr.String(); !strings.Contains(text, "are lost") || !strings.Contains(text, "delete "+dir) {
		t.Errorf("standard error %q does not say what to do", text)
	}
}

func TestLoggerWritesText(t *testing.T) {
	var out bytes.Buffer
	newLogger(&out).Log(context.Background(), slog.LevelInfo, "serving", "http", "127.0.0.1:1")
	if !strings.Contains(out.String(), "msg=serving http=127.0.0.1:1") {
		t.Errorf("log line %q", out.String())
	}
}

// watchedBuffer is a buffer that tells when a text was written to it.
type watchedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
	want string
	seen chan struct{} // closed when want is in text
}

func (b *watchedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := strings.Contains(b.text.String(), b.want)
	b.text.Write(p)
	if !before && strings.Contains(b.text.String(), b.want) {
		close(b.seen)
	}
	return len(p), nil
}

func (b *watchedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
