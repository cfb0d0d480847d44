// Package spoiler is a plugin of another in the same Envoy, for tests: it writes
// into the shared data of the filter, which proxy-wasm keeps by vm_id alone. There
// is no hostcall that lists keys, so a test names those that the filter uses; in
// wazero, SharedKeys of wasmhost.Runtime tells them.
//
//	module := spoiler.Build(t)
//	b := envoytest.Static(t, hosttest.Module(t), port)
//	b.Add("ingress", func(l *envoytest.Listener) {
//		l.Configure(config)
//		spoiler.Add(t, l, module, map[string][]byte{"sallyport/process": []byte("garbage")})
//	})
package spoiler

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"sallyport/e2e/envoytest"
)

// Build builds the plugin and returns the path of its module.
func Build(t testing.TB) string {
	t.Helper()
	module := filepath.Join(t.TempDir(), "spoiler.wasm")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-buildmode=c-shared", "-o", module, "sallyport/e2e/spoiler/testdata/spoiler")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the spoiler: %v\n%s", err, out)
	}
	return module
}

// Add puts the plugin behind the filter of a listener, with the filter's vm_id. On
// each worker it writes the values to their keys every 20 ms, from its start on. It
// tells what stands at the first of the keys, sorted, in the header x-spoiled of
// answers that come from the upstream.
func Add(t testing.TB, l *envoytest.Listener, module string, values map[string][]byte) {
	t.Helper()
	type entry struct {
		Key   string `json:"key"`
		Value []byte `json:"value"` // as base64
	}
	var entries []entry
	for _, key := range slices.Sorted(maps.Keys(values)) {
		entries = append(entries, entry{key, values[key]})
	}
	configuration, err := json.Marshal(map[string]any{"entries": entries})
	if err != nil {
		t.Fatal(err)
	}
	own := l.Plugin()["vm_config"].(map[string]any)
	plugin := map[string]any{
		"name": "spoiler", "root_id": "spoiler", "failure_policy": "FAIL_CLOSED",
		"configuration": map[string]any{"@type": "type.googleapis.com/google.protobuf.StringValue", "value": string(configuration)},
		"vm_config": map[string]any{
			"vm_id": own["vm_id"], "runtime": own["runtime"],
			"code": map[string]any{"local": map[string]any{"filename": module}},
		},
	}
	filters := l.Manager["http_filters"].([]any)
	spoiler := map[string]any{"name": "spoiler", "typed_config": map[string]any{
		"@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm", "config": plugin,
	}}
	l.Manager["http_filters"] = append([]any{filters[0], spoiler}, filters[1:]...)
}
