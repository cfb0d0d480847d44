package envoytest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Version is the Envoy that the tests are written for.
const Version = "1.40.0"

// Find returns the path of the Envoy binary: $ENVOY, else the one that
// `make envoy` puts below build/. A test without it fails: a skipped one would
// look like a passed one.
func Find(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("ENVOY"); path != "" {
		if _, err := os.Stat(path); err != nil {
			t.Fatalf("ENVOY: %v", err)
		}
		return path
	}
	path := filepath.Join(Root(t), "build", "envoy-"+Version, "envoy")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("no Envoy: run `make envoy` or set ENVOY to a binary: %v", err)
	}
	return path
}

// Root returns the repository's root, found from the working directory of the
// test.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(mod), "module sallyport\n") {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("the working directory is not in the repository")
		}
		dir = parent
	}
}
