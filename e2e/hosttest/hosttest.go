// Package hosttest runs the built control service in tests, as a user does: the
// binary that make build leaves in build/.
package hosttest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sallyport/e2e/envoytest"
)

const (
	startTimeout = 30 * time.Second
	stopTimeout  = 10 * time.Second
)

// Program returns the path of the built program. A test without it fails.
func Program(t testing.TB) string {
	t.Helper()
	path := filepath.Join(envoytest.Root(t), "build", "sallyport")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("no program: run `make build`: %v", err)
	}
	return path
}

// Module returns the path of the built filter.
func Module(t testing.TB) string {
	t.Helper()
	path := filepath.Join(envoytest.Root(t), "build", "sallyport.wasm")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("no filter: run `make build`: %v", err)
	}
	return path
}

// TrapModule builds the filter that a request can make trap, as the filter is
// built, and returns its path.
func TrapModule(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	whole, trimmed := filepath.Join(dir, "whole.wasm"), filepath.Join(dir, "trap.wasm")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-buildmode=c-shared", "-o", whole, "sallyport/plugin/filtertest/testdata/trap")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	for _, cmd := range []*exec.Cmd{build, exec.Command("go", "run", "sallyport/plugin/cmd/trim", whole, trimmed)} {
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
		}
	}
	return trimmed
}

// Precompile compiles a wasm module in a process of its own and puts its machine
// code into a directory, which the test can then use as a cache of wasmhost.
func Precompile(dir, module string) error {
	// A test binary does not know wazero's version, and its cache is that of
	// "dev".
	const version = "-X github.com/tetratelabs/wazero/internal/version.version=dev"
	text, err := exec.Command("go", "run", "-ldflags", version, "sallyport/host/wasmhost/precompile", dir, module).CombinedOutput()
	if err != nil {
		return fmt.Errorf("precompile %s: %w\n%s", module, err, text)
	}
	return nil
}

// Run runs the program with arguments and returns its standard output. It fails
// the test unless the exit code is wanted.
func Run(t testing.TB, want int, stdin string, args ...string) string {
	t.Helper()
	return run(t, want, stdin, os.Environ(), args...)
}

func run(t testing.TB, want int, stdin string, env []string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, Program(t), args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = env
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("sallyport %s: %v", strings.Join(args, " "), err)
	}
	if code := cmd.ProcessState.ExitCode(); code != want {
		t.Fatalf("sallyport %s: exit code %d, want %d\n%s", strings.Join(args, " "), code, want, stderr.String())
	}
	return stdout.String()
}

// Host is a running control service.
type Host struct {
	t       testing.TB
	cmd     *exec.Cmd
	exited  chan struct{}
	DataDir string
	HTTP    string // address of the API
	XDS     string // address of xDS
	env     []string

	mu  sync.Mutex
	log bytes.Buffer // guarded by mu
}

// Start starts a host on free ports over a data directory; a new one if it is
// "". It is stopped at the end of the test, and its log is shown if that failed.
func Start(t testing.TB, dataDir string, args ...string) *Host {
	t.Helper()
	if dataDir == "" {
		dataDir = t.TempDir()
	}
	return StartAt(t, dataDir, "127.0.0.1:0", "127.0.0.1:0", args...)
}

// StartAt is Start with addresses, for a host that comes back where it was.
func StartAt(t testing.TB, dataDir, http, xds string, args ...string) *Host {
	t.Helper()
	h := &Host{t: t, DataDir: dataDir, exited: make(chan struct{}), env: os.Environ()}
	line := append([]string{"serve", "--data-dir", dataDir, "--http", http, "--xds", xds}, args...)
	h.cmd = exec.Command(Program(t), line...)
	stdout, err := h.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := h.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	serving := make(chan struct{})
	var readers sync.WaitGroup
	readers.Go(func() { h.readCredentials(stdout) })
	readers.Go(func() { h.readLog(stderr, serving) })
	go func() {
		readers.Wait()
		_ = h.cmd.Wait() // how it ended is in the log
		close(h.exited)
	}()
	t.Cleanup(h.cleanup)
	select {
	case <-serving:
	case <-h.exited:
		t.Fatalf("the host ended:\n%s", h.Log())
	case <-time.After(startTimeout):
		t.Fatalf("the host did not serve within %s:\n%s", startTimeout, h.Log())
	}
	return h
}

// CredentialsFile keeps the first credentials for a second host on a data
// directory, to which they are not shown again.
const CredentialsFile = "test-credentials"

var credential = regexp.MustCompile(`SALLYPORT_[A-Z_]+=\S+`)

func (h *Host) readCredentials(r io.Reader) {
	path := filepath.Join(h.DataDir, CredentialsFile)
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if c := credential.FindString(lines.Text()); c != "" {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
			if err != nil {
				h.t.Error(err)
				return
			}
			_, err = fmt.Fprintln(f, c)
			if err := errors.Join(err, f.Close()); err != nil {
				h.t.Error(err)
			}
		}
	}
}

var served = regexp.MustCompile(`msg=serving .*http=(\S+) xds=(\S+)`)

func (h *Host) readLog(r io.Reader, serving chan<- struct{}) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		h.mu.Lock()
		fmt.Fprintln(&h.log, lines.Text())
		h.mu.Unlock()
		if m := served.FindStringSubmatch(lines.Text()); m != nil && h.HTTP == "" {
			h.HTTP, h.XDS = m[1], m[2]
			close(serving)
		}
	}
}

// Log returns what the host has logged so far.
func (h *Host) Log() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.log.String()
}

// Run runs the program as a client of this host, with its first credentials.
func (h *Host) Run(want int, stdin string, args ...string) string {
	h.t.Helper()
	env := append(os.Environ(), "SALLYPORT_SERVER=http://"+h.HTTP)
	return run(h.t, want, stdin, append(env, h.credentials()...), args...)
}

// credentials returns the first credentials as lines of an environment. They
// come on another pipe than the log, so it waits for them.
func (h *Host) credentials() []string {
	h.t.Helper()
	var lines []string
	for deadline := time.Now().Add(startTimeout); len(lines) != 2; {
		if time.Now().After(deadline) {
			h.t.Fatal("the host showed no credentials")
		}
		if content, err := os.ReadFile(filepath.Join(h.DataDir, CredentialsFile)); err == nil {
			lines = strings.Fields(string(content))
		}
		time.Sleep(5 * time.Millisecond)
	}
	return lines
}

// Credentials returns the first access key and its secret.
func (h *Host) Credentials() (accessKeyID, secret string) {
	h.t.Helper()
	lines := h.credentials()
	_, accessKeyID, _ = strings.Cut(lines[0], "=")
	_, secret, _ = strings.Cut(lines[1], "=")
	return accessKeyID, secret
}

// PID returns the process.
func (h *Host) PID() int { return h.cmd.Process.Pid }

// Apply applies documents and returns the generation that they made.
func (h *Host) Apply(yaml string, args ...string) string {
	h.t.Helper()
	out := h.Run(0, yaml, append([]string{"apply", "-f", "-", "-o", "json"}, args...)...)
	var result struct{ Generation string }
	if err := json.Unmarshal([]byte(out), &result); err != nil || result.Generation == "" {
		h.t.Fatalf("apply: %v in %s", err, out)
	}
	return result.Generation
}

// Kill ends the host without giving it time for anything.
func (h *Host) Kill() { h.stop(syscall.SIGKILL) }

// Stop ends the host as Ctrl-C does.
func (h *Host) Stop() { h.stop(syscall.SIGINT) }

func (h *Host) stop(signal syscall.Signal) {
	h.t.Helper()
	_ = h.cmd.Process.Signal(signal) // an error says that it is gone already
	select {
	case <-h.exited:
	case <-time.After(stopTimeout):
		_ = h.cmd.Process.Kill()
		h.t.Errorf("the host did not end within %s", stopTimeout)
	}
}

func (h *Host) cleanup() {
	h.stop(syscall.SIGTERM)
	if h.t.Failed() {
		h.t.Logf("the host's log:\n%s", h.Log())
	}
}
