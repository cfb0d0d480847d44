// Command mutate shows that the tests see when the engine decides wrongly: it
// puts one mistake after another into a copy of the engine's source and runs the
// tests, which must fail. It exits with 1 if they don't, or if the text that a
// mutation replaces is not there. The tree is never touched: the compiler gets
// the changed file by an overlay (go help build).
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// A mutation replaces a text of a file, which stands there once.
type mutation struct {
	name     string
	file     string
	old, new string
}

func main() {
	only := flag.String("only", "", "run the mutations whose names contain this")
	flag.Parse()
	if err := run(*only); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(only string) error {
	dir, err := os.MkdirTemp("", "sallyport-mutate-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	survived, ran := 0, 0
	for i := range mutations {
		m := &mutations[i]
		if !strings.Contains(m.name, only) {
			continue
		}
		ran++
		begun := time.Now()
		caught, err := m.caught(dir)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		result := "caught by " + caught
		if caught == "" {
			result = "SURVIVED"
			survived++
		}
		fmt.Printf("%-48s %5.1fs  %s\n", m.name, time.Since(begun).Seconds(), result)
	}
	fmt.Printf("%d of %d mutations caught\n", ran-survived, ran)
	if survived > 0 || ran == 0 {
		return fmt.Errorf("%d of %d mutations survived", survived, ran)
	}
	return nil
}

// caught returns the test that fails with the mutation, or "".
func (m *mutation) caught(dir string) (string, error) {
	overlay, err := m.overlay(dir)
	if err != nil {
		return "", err
	}
	for _, pkg := range testedBy(m.file) {
		test, err := failing(overlay, pkg)
		if err != nil || test != "" {
			return test, err
		}
	}
	return "", nil
}

// overlay writes the changed file and the overlay that puts it in its place.
func (m *mutation) overlay(dir string) (string, error) {
	path, err := filepath.Abs(m.file)
	if err != nil {
		return "", err
	}
	source, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if n := bytes.Count(source, []byte(m.old)); n != 1 {
		return "", fmt.Errorf("%s has the text to replace %d times: %q", m.file, n, m.old)
	}
	changed := filepath.Join(dir, "changed.go")
	if err := os.WriteFile(changed, bytes.Replace(source, []byte(m.old), []byte(m.new), 1), 0o600); err != nil {
		return "", err
	}
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{path: changed}})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, replace, 0o600)
}

// testedBy lists the packages whose tests are run for a file of a package: its
// own first.
func testedBy(file string) []string {
	packages := []string{"./" + filepath.Dir(file)}
	for _, p := range []string{"./policydata", "./policydata/authorize"} {
		if p != packages[0] {
			packages = append(packages, p)
		}
	}
	return packages
}

// testTimeout is for a mutation that makes the engine run for ever.
const testTimeout = "120s"

var failed = regexp.MustCompile(`(?m)^--- FAIL: (\S+)|^panic: (test timed out|\S+)|^fatal error: (.*)`)

// failing runs the tests of a package and returns the first that fails.
func failing(overlay, pkg string) (string, error) {
	cmd := exec.CommandContext(context.Background(), "go", "test", "-overlay", overlay, "-vet=off", "-count=1", "-failfast",
		"-timeout", testTimeout, pkg)
	out, err := cmd.CombinedOutput()
	if err == nil {
		return "", nil
	}
	var exit *exec.ExitError
	match := failed.FindSubmatch(out)
	if !errors.As(err, &exit) || match == nil {
		return "", fmt.Errorf("go test %s: %w: %s", pkg, err, out)
	}
	return string(bytes.Join(match[1:], nil)), nil
}
