package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// workshop is where mutations are made and tested, one at a time.
type workshop struct {
	dir  string // temporary
	root string // of the tree that is tested
	copy bool   // root is a copy, whose filter is built anew for each mutation
}

func newWorkshop(built bool) (*workshop, error) {
	dir, err := os.MkdirTemp("", "sallyport-mutate-")
	if err != nil {
		return nil, err
	}
	w := &workshop{dir: dir, copy: built}
	if w.root, err = os.Getwd(); err == nil && built {
		err = w.copyTree()
	}
	if err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *workshop) close() { _ = os.RemoveAll(w.dir) }

// copyTree makes root a copy of the tree without what was built.
func (w *workshop) copyTree() error {
	from := w.root
	w.root = filepath.Join(w.dir, "tree")
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		switch {
		case name == "build" || strings.HasPrefix(name, "."):
		case e.IsDir():
			err = os.CopyFS(filepath.Join(w.root, name), os.DirFS(filepath.Join(from, name)))
		default:
			err = copyFile(filepath.Join(w.root, name), filepath.Join(from, name))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func copyFile(to, from string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}

// try makes a mutation and returns the test that fails with it, or "".
func (w *workshop) try(m *mutation, tests []tests) (string, error) {
	path := filepath.Join(w.root, m.file)
	source, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	changed, err := m.apply(source)
	if err != nil {
		return "", err
	}
	var flags []string
	if w.copy {
		if err := os.WriteFile(path, changed, 0o600); err != nil {
			return "", err
		}
		defer os.WriteFile(path, source, 0o600)
		if out, err := w.command("make", "plugin").CombinedOutput(); err != nil {
			return "", fmt.Errorf("make plugin: %w: %s", err, out)
		}
	} else if flags, err = w.overlay(path, changed); err != nil {
		return "", err
	}
	for _, t := range tests {
		name, err := w.failing(t, flags)
		if err != nil || name != "" {
			return name, err
		}
	}
	return "", nil
}

// apply returns the source with the mutation.
func (m *mutation) apply(source []byte) ([]byte, error) {
	if n := bytes.Count(source, []byte(m.old)); n != 1 {
		return nil, fmt.Errorf("%s has the text to replace %d times: %q", m.file, n, m.old)
	}
	return bytes.Replace(source, []byte(m.old), []byte(m.new), 1), nil
}

// overlay returns the flags that put a changed file in the place of another.
func (w *workshop) overlay(path string, changed []byte) (flags []string, err error) {
	file, overlay := filepath.Join(w.dir, "changed.go"), filepath.Join(w.dir, "overlay.json")
	if err := os.WriteFile(file, changed, 0o600); err != nil {
		return nil, err
	}
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{path: file}})
	if err != nil {
		return nil, err
	}
	return []string{"-overlay", overlay}, os.WriteFile(overlay, replace, 0o600)
}

func (w *workshop) command(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), name, args...)
	cmd.Dir = w.root
	return cmd
}

// testTimeout is for a mutation that makes a test wait for ever.
const testTimeout = "60s"

var failed = regexp.MustCompile(`(?m)^--- FAIL: (\S+)|^panic: (test timed out|\S+)|^fatal error: (.*)`)

// failing runs tests and returns the first that fails.
func (w *workshop) failing(t tests, flags []string) (string, error) {
	args := append([]string{"test", "-vet=off", "-ldflags=-w", "-count=1", "-failfast", "-timeout", testTimeout, "-run", t.run}, flags...)
	out, err := w.command("go", append(args, t.pkg)...).CombinedOutput()
	if err == nil {
		return "", nil
	}
	var exit *exec.ExitError
	match := failed.FindSubmatch(out)
	if !errors.As(err, &exit) || match == nil {
		return "", fmt.Errorf("go test %s: %w: %s", t.pkg, err, out)
	}
	return string(bytes.Join(match[1:], nil)), nil
}
