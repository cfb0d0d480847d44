package envoytest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// V8 compiles about 1 MB of module a second, on a free machine.
	readyTimeout = 2 * time.Minute
	stopTimeout  = 10 * time.Second
	pollInterval = 20 * time.Millisecond
	logTail      = 8 << 10
)

// Envoy is a running Envoy. Its methods fail the test if it has died.
type Envoy struct {
	t      testing.TB
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process is gone
	admin  string
	dir    string // holds bootstrap, stdout and log
	stdout string
	log    string
}

// Start runs Envoy with a bootstrap and waits until it is ready. The arguments
// are added to the command line; "--concurrency 2" and a log level of warning
// hold unless they say otherwise. It is stopped at the end of the test, and its
// log is shown if the test has failed.
func Start(t testing.TB, bootstrap string, args ...string) *Envoy {
	t.Helper()
	e := &Envoy{t: t, dir: t.TempDir(), exited: make(chan struct{})}
	e.stdout, e.log = filepath.Join(e.dir, "stdout"), filepath.Join(e.dir, "log")
	e.run(bootstrap, args)
	t.Cleanup(e.cleanup)
	e.awaitReady()
	return e
}

func (e *Envoy) run(bootstrap string, args []string) {
	e.t.Helper()
	config := filepath.Join(e.dir, "bootstrap.yaml")
	if err := os.WriteFile(config, []byte(bootstrap), 0o600); err != nil {
		e.t.Fatal(err)
	}
	line := []string{
		"--config-path", config,
		"--admin-address-path", filepath.Join(e.dir, "admin"),
		// Several Envoys share this machine.
		"--use-dynamic-base-id",
		"--file-flush-interval-msec", "50",
	}
	for _, d := range [][2]string{{"--concurrency", "2"}, {"--log-level", "warning"}} {
		if !strings.Contains(strings.Join(args, " "), d[0]) {
			line = append(line, d[0], d[1])
		}
	}
	e.cmd = exec.Command(Find(e.t), append(line, args...)...)
	dieWithParent(e.cmd)
	stdout, err := os.Create(e.stdout)
	if err != nil {
		e.t.Fatal(err)
	}
	defer stdout.Close()
	log, err := os.Create(e.log)
	if err != nil {
		e.t.Fatal(err)
	}
	defer log.Close()
	e.cmd.Stdout, e.cmd.Stderr = stdout, log
	if err := e.cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	go func() {
		// How it ended is in the log; the state is in cmd.ProcessState.
		_ = e.cmd.Wait()
		close(e.exited)
	}()
}

// awaitReady waits until the admin interface says that all is initialized.
func (e *Envoy) awaitReady() {
	e.t.Helper()
	e.Await("ready", readyTimeout, func() error {
		if e.admin == "" {
			address, err := os.ReadFile(filepath.Join(e.dir, "admin"))
			if err != nil || len(address) == 0 {
				return errors.New("no admin address yet")
			}
			e.admin = string(address)
		}
		state, err := e.get("/ready")
		if err != nil {
			return err
		}
		if s := strings.TrimSpace(state); s != "LIVE" {
			return fmt.Errorf("state %s", s)
		}
		return nil
	})
}

// Await calls check until it returns nil, and fails the test with its last error
// after the timeout, or when Envoy has died.
func (e *Envoy) Await(what string, timeout time.Duration, check func() error) {
	e.t.Helper()
	deadline := time.After(timeout)
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-e.exited:
			e.t.Fatalf("envoy: %s: the process ended: %v", what, e.cmd.ProcessState)
		case <-deadline:
			e.t.Fatalf("envoy: %s: not within %v: %v", what, timeout, err)
		case <-tick.C:
		}
	}
}

// Admin returns the address of the admin interface.
func (e *Envoy) Admin() string { return e.admin }

// Address returns the host:port of a listener by its name in the bootstrap.
func (e *Envoy) Address(listener string) string {
	e.t.Helper()
	text, err := e.get("/listeners?format=json")
	if err != nil {
		e.t.Fatalf("envoy: %v", err)
	}
	var list struct {
		Statuses []struct {
			Name    string `json:"name"`
			Address struct {
				Socket struct {
					Address string `json:"address"`
					Port    int    `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		e.t.Fatalf("envoy: listeners: %v", err)
	}
	for _, l := range list.Statuses {
		if l.Name == listener {
			return net.JoinHostPort(l.Address.Socket.Address, strconv.Itoa(l.Address.Socket.Port))
		}
	}
	e.t.Fatalf("envoy: no listener %q in %s", listener, text)
	return ""
}

// Stats returns the counters and gauges by name. What Envoy prints as text or as
// a histogram is left out.
func (e *Envoy) Stats() map[string]int64 {
	e.t.Helper()
	text, err := e.get("/stats")
	if err != nil {
		e.t.Fatalf("envoy: %v", err)
	}
	stats := make(map[string]int64)
	for line := range strings.Lines(text) {
		i := strings.LastIndex(line, ": ")
		if i < 0 {
			continue
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(line[i+2:]), 10, 64); err == nil {
			stats[line[:i]] = n
		}
	}
	return stats
}

func (e *Envoy) get(path string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+e.admin+path, nil)
	if err != nil {
		return "", err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return string(body), err
}

// Log returns what Envoy has logged so far.
func (e *Envoy) Log() string {
	e.t.Helper()
	text, err := os.ReadFile(e.log)
	if err != nil {
		e.t.Fatal(err)
	}
	return string(text)
}

// AccessLog waits until the access log has at least n lines, and returns all
// complete ones.
func (e *Envoy) AccessLog(n int) []map[string]any {
	e.t.Helper()
	var lines []map[string]any
	e.Await(fmt.Sprintf("%d lines of access log", n), 10*time.Second, func() error {
		text, err := os.ReadFile(e.stdout)
		if err != nil {
			return err
		}
		lines = nil
		for line := range strings.Lines(string(text)) {
			if !strings.HasSuffix(line, "\n") {
				break
			}
			var entry map[string]any
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				return fmt.Errorf("line %q: %w", line, err)
			}
			lines = append(lines, entry)
		}
		if len(lines) < n {
			return fmt.Errorf("%d lines", len(lines))
		}
		return nil
	})
	return lines
}

// AccessLogOf waits for the access log's line of a request, which is told by its
// host (":authority"): the workers write when they like, so the last line need
// not be that of the last request.
func (e *Envoy) AccessLogOf(host string) map[string]any {
	e.t.Helper()
	var found map[string]any
	e.Await("access log of host "+host, 10*time.Second, func() error {
		for _, line := range e.AccessLog(0) {
			if line["host"] == host {
				found = line
				return nil
			}
		}
		return errors.New("not logged")
	})
	return found
}

// Stop ends the process and waits until it is gone. Stopping twice does no harm.
func (e *Envoy) Stop() {
	e.t.Helper()
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		// An error says that it is gone already.
		_ = e.cmd.Process.Signal(signal)
		select {
		case <-e.exited:
			return
		case <-time.After(stopTimeout):
		}
	}
	e.t.Errorf("envoy: process %d does not end", e.cmd.Process.Pid)
}

func (e *Envoy) cleanup() {
	e.Stop()
	if !e.t.Failed() {
		return
	}
	log := e.Log()
	if len(log) > logTail {
		log = "...\n" + log[len(log)-logTail:]
	}
	e.t.Logf("the end of Envoy's log:\n%s", log)
}

// Refused runs Envoy with a bootstrap that it must refuse, and returns its log
// when it has ended. One that goes on fails the test.
func Refused(t testing.TB, bootstrap string) string {
	t.Helper()
	e := &Envoy{t: t, dir: t.TempDir(), exited: make(chan struct{})}
	e.stdout, e.log = filepath.Join(e.dir, "stdout"), filepath.Join(e.dir, "log")
	e.run(bootstrap, nil)
	select {
	case <-e.exited:
	case <-time.After(readyTimeout):
		e.Stop()
		t.Fatalf("envoy: it did not refuse the bootstrap:\n%s", e.Log())
	}
	if e.cmd.ProcessState.Success() {
		t.Errorf("envoy: it ended without an error:\n%s", e.Log())
	}
	return e.Log()
}
