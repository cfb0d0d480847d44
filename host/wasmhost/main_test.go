package wasmhost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sallyport/e2e/hosttest"
)

// probeWasm is the compiled testdata/probe, and cacheDir its machine code, so
// that each test has its own Runtime and is quick all the same.
var (
	probeWasm []byte
	cacheDir  string
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "wasmhost")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "probe.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", out, "./testdata/probe")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build testdata/probe: %v\n%s", err, text)
		return 1
	}
	if probeWasm, err = os.ReadFile(out); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	cacheDir = filepath.Join(dir, "cache")
	if err := hosttest.Precompile(cacheDir, out); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func compileProbe(t testing.TB, opts Options) *Module {
	t.Helper()
	if opts.CacheDir == "" {
		opts.CacheDir = cacheDir
	}
	rt, err := NewRuntime(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rt.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	m, err := rt.Compile(t.Context(), probeWasm)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func newInstance(t testing.TB, opts Options, config string) *Instance {
	t.Helper()
	in, err := compileProbe(t, opts).NewInstance(t.Context(), []byte(config))
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func newPool(t testing.TB, opts Options, config string, n int) *Pool {
	t.Helper()
	p, err := NewPool(t.Context(), compileProbe(t, opts), []byte(config), n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(context.Background()); err != nil && !errors.Is(err, ErrPoolClosed) {
			t.Error(err)
		}
	})
	return p
}

// request is a request that has the probe do something.
func request(do string, more ...[2]string) [][2]string {
	return append([][2]string{
		{":authority", "a.example:80"}, {":path", "/p?q"}, {":method", "GET"}, {":scheme", "http"}, {"x-do", do},
	}, more...)
}

type requester interface {
	Request(ctx context.Context, headers [][2]string, endOfStream bool) (Result, error)
}

// ask returns the text of the probe's local response.
func ask(t testing.TB, r requester, do string, more ...[2]string) string {
	t.Helper()
	result, err := r.Request(t.Context(), request(do, more...), true)
	if err != nil {
		t.Fatalf("%s: %v", do, err)
	}
	if result.Verdict != VerdictLocal {
		t.Fatalf("%s: verdict %d, want a local response", do, result.Verdict)
	}
	return string(result.Local.Body)
}

// logBuffer is a Logger that keeps its text.
func logBuffer(level slog.Level) (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: level})), &b
}

func values(headers [][2]string, name string) []string {
	var out []string
	for _, h := range headers {
		if h[0] == name {
			out = append(out, h[1])
		}
	}
	return out
}

func wantValues(t *testing.T, headers [][2]string, name string, want ...string) {
	t.Helper()
	if got := values(headers, name); !slices.Equal(got, want) {
		t.Errorf("%s = %q, want %q", name, got, want)
	}
}

func wantContains(t *testing.T, text, part string) {
	t.Helper()
	if !strings.Contains(text, part) {
		t.Errorf("%q is not in %q", part, text)
	}
}
