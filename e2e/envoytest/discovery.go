package envoytest

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

const wasmType = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"

// Discovery is a filter's configuration in a file that Envoy watches: a push
// without a host, which may be wrong as no host of ours would let it be.
type Discovery struct {
	t       testing.TB
	path    string
	name    string
	plugin  map[string]any // of which a push sets the configuration
	version int
}

// Discover makes the listener take its filter from a file. Until there is one, the
// filter runs as it was.
func (l *Listener) Discover(t testing.TB) *Discovery {
	t.Helper()
	d := &Discovery{t: t, path: filepath.Join(t.TempDir(), "filter.json"), name: l.Name, plugin: l.Plugin()}
	if err := os.WriteFile(d.path, []byte(`{"resources":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	initial := l.Filter["typed_config"]
	delete(l.Filter, "typed_config")
	l.Filter["name"] = l.Name
	l.Filter["config_discovery"] = map[string]any{
		"config_source":                        map[string]any{"resource_api_version": "V3", "path_config_source": map[string]any{"path": d.path}},
		"type_urls":                            []any{wasmType},
		"default_config":                       initial,
		"apply_default_config_without_warming": true,
	}
	return d
}

// Push writes a configuration of the plugin. Further members of the plugin's
// config are replaced by those of change.
func (d *Discovery) Push(configuration []byte, change map[string]any) {
	d.t.Helper()
	plugin := maps.Clone(d.plugin)
	plugin["configuration"] = map[string]any{
		"@type": "type.googleapis.com/google.protobuf.BytesValue",
		"value": base64.StdEncoding.EncodeToString(configuration),
	}
	maps.Copy(plugin, change)
	d.version++
	text, err := json.Marshal(map[string]any{
		"version_info": strconv.Itoa(d.version),
		"resources": []any{map[string]any{
			"@type":        "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
			"name":         d.name,
			"typed_config": map[string]any{"@type": wasmType, "config": plugin},
		}},
	})
	if err != nil {
		d.t.Fatal(err)
	}
	// Envoy looks at a file when another is moved to its place.
	next := d.path + ".next"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		d.t.Fatal(err)
	}
	if err := os.Rename(next, d.path); err != nil {
		d.t.Fatal(err)
	}
}

// Refused returns how many pushes Envoy has refused.
func (d *Discovery) Refused(e *Envoy) int64 {
	d.t.Helper()
	return d.stat(e, "update_rejected")
}

// Taken returns how many pushes Envoy has taken.
func (d *Discovery) Taken(e *Envoy) int64 {
	d.t.Helper()
	return d.stat(e, "config_reload")
}

func (d *Discovery) stat(e *Envoy, name string) int64 {
	d.t.Helper()
	return e.Stats()["extension_config_discovery.http_filter."+d.name+"."+name]
}
