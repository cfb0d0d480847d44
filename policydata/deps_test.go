package policydata_test

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// unwanted must not come into the filter by way of these packages: the path of
// a package, and what is below it, with the reason.
var unwanted = map[string]string{
	"net/http":                        "the filter calls others through its proxy only; 179 packages",
	"encoding/gob":                    "reads by reflection; the snapshot is read in place",
	"text/template":                   "keeps the linker from dropping unused methods",
	"html/template":                   "keeps the linker from dropping unused methods",
	"log":                             "logging is the caller's",
	"testing":                         "is for tests",
	"os/exec":                         "there are no processes in the filter",
	"regexp":                          "patterns are segments: no request may choose what matching costs",
	"google.golang.org/protobuf":      "the snapshot is no protobuf message",
	"google.golang.org/grpc":          "pushing is the host's",
	"cel.dev":                         "conditions are parsed by the host",
	"sallyport/host":                  "the engine knows nothing of the host",
	"sallyport/plugin":                "the engine knows nothing of the filter",
	"sallyport/e2e":                   "nothing imports it",
	"github.com/tetratelabs/wazero":   "runs the filter; is no part of it",
	"github.com/proxy-wasm":           "only the filter speaks to the proxy",
	"github.com/google/go-cmp":        "is for tests",
	"sallyport/policydata/decidetest": "is for tests",
}

// unwantedInEngine must not come into package policydata itself.
var unwantedInEngine = map[string]string{
	"encoding/json":         "0.9 MB; decisions are written by hand",
	"crypto":                "a signature is checked by the caller's VerifyFunc; crypto/x509 alone is 138 packages",
	"net":                   "no I/O",
	"math/rand":             "a decision is a function of its input",
	"github.com/tidwall":    "claims come mapped",
	"github.com/golang-jwt": "tokens are package token's",
}

// engineImports is all that package policydata imports itself: nothing with a
// clock, I/O or state.
var engineImports = []string{
	"cmp", "encoding/binary", "encoding/hex", "errors", "fmt", "math", "slices", "strconv", "strings", "unicode", "unicode/utf8", "unsafe",
}

func TestDependencies(t *testing.T) {
	for _, pkg := range []string{
		"sallyport/policydata", "sallyport/policydata/authorize", "sallyport/policydata/delta",
		"sallyport/policydata/pluginconfig", "sallyport/policydata/pushapi",
	} {
		t.Run(pkg, func(t *testing.T) {
			deps := goList(t, "-deps", pkg)
			if !slices.Contains(deps, "strings") {
				t.Fatalf("%d dependencies without strings: this is no list of them", len(deps))
			}
			refuse(t, deps, unwanted)
			if pkg == "sallyport/policydata" {
				refuse(t, deps, unwantedInEngine)
			}
		})
	}
}

func refuse(t *testing.T, deps []string, unwanted map[string]string) {
	t.Helper()
	for path, reason := range unwanted {
		for _, d := range deps {
			if d == path || strings.HasPrefix(d, path+"/") {
				t.Errorf("%s: %s", d, reason)
			}
		}
	}
}

func TestEngineImports(t *testing.T) {
	imports := goList(t, "-f", `{{join .Imports "\n"}}`, "sallyport/policydata")
	if len(imports) == 0 {
		t.Fatal("no imports were found")
	}
	for _, i := range imports {
		if !slices.Contains(engineImports, i) {
			t.Errorf("imports %s", i)
		}
	}
}

// goList runs go list for the filter's platform.
func goList(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, stderr.String())
	}
	return strings.Fields(string(out))
}
