package server_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/host/internal/devissuer"
	"sallyport/host/internal/directory"
	"sallyport/host/internal/filterwasm"
	"sallyport/host/internal/manifest"
	"sallyport/host/internal/publish"
	"sallyport/host/internal/server"
	"sallyport/host/internal/store"
	"sallyport/host/internal/store/bolt"
	"sallyport/policydata/pluginconfig"
)

var module = []byte("\x00asm\x01\x00\x00\x00")

// config returns the configuration of a host in dir, on free ports.
func config(dir string) server.Config {
	return server.Config{
		DataDir: dir, HTTPAddr: "127.0.0.1:0", XDSAddr: "127.0.0.1:0", Module: module,
		Logger: slog.New(slog.DiscardHandler),
	}
}

// running is a host that runs until stop.
type running struct {
	*server.Server
	stop func() error
}

func start(t *testing.T, c server.Config) running {
	t.Helper()
	s, err := server.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stopped := false
	stop := func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-ended
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	if _, err := s.Publisher().Wait(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	return running{s, stop}
}

func TestNewRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	tests := map[string]struct {
		change func(c *server.Config)
		want   string
	}{
		"no filter":                    {func(c *server.Config) { c.Module = nil }, "make build"},
		"no logger":                    {func(c *server.Config) { c.Logger = nil }, "a logger is required"},
		"an age that no host keeps to": {func(c *server.Config) { c.SnapshotMaxAge = 10 * time.Second }, "want whole seconds, 30s or more"},
		"HTTP for all":                 {func(c *server.Config) { c.HTTPAddr = "0.0.0.0:0" }, "only a loopback address is allowed"},
		"HTTP for all, unspoken":       {func(c *server.Config) { c.HTTPAddr = ":0" }, "only a loopback address is allowed"},
		"HTTP for all by IPv6":         {func(c *server.Config) { c.HTTPAddr = "[::]:0" }, "only a loopback address is allowed"},
		"xDS for all":                  {func(c *server.Config) { c.XDSAddr = "0.0.0.0:0" }, "xDS address"},
		"a name":                       {func(c *server.Config) { c.XDSAddr = "example.com:0" }, "only a loopback address is allowed"},
		"no port":                      {func(c *server.Config) { c.HTTPAddr = "127.0.0.1" }, "missing port"},
		"a port that is taken":         {func(c *server.Config) { c.HTTPAddr = taken.Addr().String() }, "address already in use"},
		"a directory that can't be made": {func(c *server.Config) {
			c.DataDir = filepath.Join(c.DataDir, "file", "data")
		}, "not a directory"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			c := config(dir)
			c.FirstCredentials = func(string, string) error {
				t.Error("credentials were given out by a host that does not start")
				return nil
			}
			tt.change(&c)
			_, err := server.New(t.Context(), c)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
			// Nothing is held: the next one starts.
			again, err := server.New(t.Context(), config(dir))
			if err != nil {
				t.Fatal(err)
			}
			if err := again.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestASecondProcessIsToldThatTheStoreIsLocked(t *testing.T) {
	dir := t.TempDir()
	start(t, config(dir))
	_, err := server.New(t.Context(), config(dir))
	if !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), bolt.FileName) {
		t.Errorf("got %v, want ErrLocked with the file", err)
	}
}

func TestFirstCredentialsAreGivenOnceAndWork(t *testing.T) {
	c := config(filepath.Join(t.TempDir(), "data"))
	var keys []string
	c.FirstCredentials = func(key, secret string) error {
		keys = append(keys, key, secret)
		return nil
	}
	for i := range 3 {
		s := start(t, c)
		if len(keys) != 2 {
			t.Fatalf("credentials %d times after start %d", len(keys)/2, i+1)
		}
		req, err := http.NewRequest(http.MethodGet, "http://"+s.HTTPAddr()+"/api/v1/generation", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(keys[0], keys[1])
		if body := fetch(t, req, http.StatusOK); !strings.Contains(body, `"generation":"1"`) {
			t.Errorf("start %d: %s", i+1, body)
		}
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWhoCallsAtOnceAfterTheStartIsNotRefused holds the first publication back
// until a request has been sent.
func TestWhoCallsAtOnceAfterTheStartIsNotRefused(t *testing.T) {
	c := config(t.TempDir())
	var key, secret string
	c.FirstCredentials = func(k, s string) error {
		key, secret = k, s
		return nil
	}
	sent := make(chan struct{})
	c.Sinks = []publish.Sink{func(context.Context, *publish.Published) error {
		<-sent
		return nil
	}}
	s, err := server.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()

	conn, err := net.Dial("tcp", s.HTTPAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	req, err := http.NewRequest(http.MethodGet, "http://"+s.HTTPAddr()+"/api/v1/generation", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(key, secret)
	if err := req.Write(conn); err != nil {
		t.Fatal(err)
	}
	close(sent)
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("got %s", resp.Status)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func fetch(t *testing.T, req *http.Request, status int) string {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != status {
		t.Fatalf("%s: got %d %s, want %d", req.URL, resp.StatusCode, body, status)
	}
	return string(body)
}

func TestCredentialsThatCouldNotBeHandedOverEndNew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	c := config(dir)
	broken := errors.New("nobody listens")
	c.FirstCredentials = func(string, string) error { return broken }
	_, err := server.New(t.Context(), c)
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "delete "+filepath.Join(dir, bolt.FileName)) {
		t.Fatalf("got %v", err)
	}
	if err := os.Remove(filepath.Join(dir, bolt.FileName)); err != nil { // what it advises
		t.Fatal(err)
	}
	given := false
	c.FirstCredentials = func(string, string) error {
		given = true
		return nil
	}
	start(t, c)
	if !given {
		t.Error("no credentials though the store is new")
	}
}

func TestARestartKeepsGenerationKeyAndFilter(t *testing.T) {
	c := config(t.TempDir())
	s := start(t, c)
	docs, err := manifest.Parse("x.yaml", []byte("apiVersion: sallyport/v1\nkind: User\nmetadata: {name: eric}\nspec: {}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Directory().Apply(t.Context(), manifest.Entities(docs), directory.Options{}); err != nil {
		t.Fatal(err)
	}
	before, err := s.Publisher().Wait(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	key, file := s.TrustedKey(), s.ModuleFile()
	written, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	again := start(t, c)
	after, _ := again.Publisher().Current()
	if after.Version != before.Version || again.TrustedKey() != key || again.ModuleFile() != file {
		t.Errorf("version %v, key %s, filter %s; before %v, %s, %s", after.Version, again.TrustedKey(), again.ModuleFile(), before.Version, key, file)
	}
	kept, err := os.Stat(file)
	if err != nil || !os.SameFile(written, kept) {
		t.Errorf("the filter's file was written again: %v", err)
	}
	config, err := pluginconfig.Parse(again.PluginConfiguration(after))
	if err != nil || !bytes.Equal(config.Snapshot, after.Bytes) || len(config.TrustedKeys) != 1 {
		t.Errorf("plugin configuration %+v, %v", config.TrustedKeys, err)
	}
}

func TestADamagedFilterFileIsReplaced(t *testing.T) {
	dir := t.TempDir()
	path, err := server.WriteModule(dir, module)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, module[:4], 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, config(dir))
	if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, module) {
		t.Errorf("the file is %q, %v", b, err)
	}
}

func TestSecretFilesAreForTheirOwnerAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	c := config(dir)
	c.InsecureDevIssuer = true
	s := start(t, c)
	want := map[string]fs.FileMode{".": 0o700, bolt.FileName: 0o600, "snapshot-key.pem": 0o600, devissuer.KeyFile: 0o600, filepath.Base(s.ModuleFile()): 0o644}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(want)-1 {
		t.Errorf("files %v, %v", entries, err)
	}
	for name, mode := range want {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: mode %v, %v; want %v", name, info.Mode().Perm(), err, mode)
		}
	}
}

func TestTheDevelopmentIssuerCountsOnlyWithItsFlag(t *testing.T) {
	dir := t.TempDir()
	for _, insecure := range []bool{true, false} {
		var log bytes.Buffer
		c := config(dir)
		c.InsecureDevIssuer = insecure
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
		s := start(t, c)
		current, _ := s.Publisher().Current()
		if trusted := len(current.Loaded.Issuers()) == 1; trusted != insecure {
			t.Errorf("insecure %t: %d issuers", insecure, len(current.Loaded.Issuers()))
		}
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
		if warned := strings.Contains(log.String(), "level=WARN"); warned != insecure {
			t.Errorf("insecure %t: log %s", insecure, log.String())
		}
	}
}

func TestTheHostServesProbesMetricsAndTheFilter(t *testing.T) {
	filter, err := filterwasm.Module()
	if err != nil {
		t.Fatalf("%v (run make build)", err)
	}
	c := config(t.TempDir())
	c.Module = filter
	s := start(t, c)
	get := func(path string) string {
		req, err := http.NewRequest(http.MethodGet, "http://"+s.HTTPAddr()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		return fetch(t, req, http.StatusOK)
	}
	if got := get("/readyz"); got != "ok 1.1\n" {
		t.Errorf("/readyz: %s", got)
	}
	if got := get("/plugin/sallyport.wasm"); got != string(filter) {
		t.Errorf("another filter of %d bytes", len(got))
	}
	metrics := get("/metrics")
	for _, want := range []string{"sallyport_generation 1\n", "sallyport_compile_seconds_count 1\n", "sallyport_compile_failures_total 0\n", "sallyport_snapshot_bytes ", "sallyport_xds_streams 0\n"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics has no %q", want)
		}
	}
}

// TestRunEndsWithOpenConnections keeps a connection that never sends a request.
func TestRunEndsWithOpenConnections(t *testing.T) {
	s := start(t, config(t.TempDir()))
	for _, addr := range []string{s.HTTPAddr(), s.XDSAddr()} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	for _, addr := range []string{s.HTTPAddr(), s.XDSAddr()} {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Errorf("%s is not free: %v", addr, err)
			continue
		}
		_ = l.Close() // it was only asked for
	}
}
