package main_test

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// unwanted must not come into the filter: the path of a package, and what is
// below it, with the reason. What golang-jwt and gjson bring is known and
// measured (crypto/x509, encoding/json, net for addresses in certificates).
var unwanted = map[string]string{
	"net/http":                      "the filter calls others through its proxy only; 179 packages",
	"crypto/tls":                    "the proxy speaks TLS",
	"encoding/gob":                  "reads by reflection; the snapshot is read in place",
	"text/template":                 "keeps the linker from dropping unused methods",
	"html/template":                 "keeps the linker from dropping unused methods",
	"log":                           "the filter logs by its proxy",
	"testing":                       "is for tests",
	"os/exec":                       "there are no processes in the filter",
	"regexp":                        "patterns are segments: no request may choose what matching costs",
	"google.golang.org/protobuf":    "the few messages of hostcalls are written by hand",
	"google.golang.org/grpc":        "pushing is the host's",
	"cel.dev":                       "conditions are parsed by the host",
	"sallyport/host":                "filter and host share policydata alone",
	"sallyport/e2e":                 "nothing imports it",
	"github.com/tetratelabs/wazero": "runs the filter; is no part of it",
	"github.com/google/go-cmp":      "is for tests",
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/proxytest": "is for tests",
}

func TestDependencies(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "sallyport/plugin")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, stderr.String())
	}
	deps := strings.Fields(string(out))
	if !slices.Contains(deps, "sallyport/policydata") {
		t.Fatalf("%d dependencies without policydata: this is no list of them", len(deps))
	}
	for path, reason := range unwanted {
		for _, d := range deps {
			if d == path || strings.HasPrefix(d, path+"/") {
				t.Errorf("%s: %s", d, reason)
			}
		}
	}
}
