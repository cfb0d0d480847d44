package envoyconfig

import (
	"encoding/base64"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the files of envoy/ anew")

func TestFilesOfRepositoryAreTheDefaults(t *testing.T) {
	for name, print := range map[string]func(Options) (string, error){
		"ecds.yaml":   ECDS,
		"poll.yaml":   Poll,
		"static.yaml": Static,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := print(Options{})
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("..", "..", "..", "envoy", name)
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s is not what the package prints; run the test with -update (-file +package):\n%s", file, diff)
			}
		})
	}
}

// at walks a decoded document by map keys and list indexes.
func at(t *testing.T, doc any, path ...any) any {
	t.Helper()
	for i, step := range path {
		switch key := step.(type) {
		case string:
			m, ok := doc.(map[string]any)
			if !ok || m[key] == nil {
				t.Fatalf("nothing at %v", path[:i+1])
			}
			doc = m[key]
		case int:
			l, ok := doc.([]any)
			if !ok || len(l) <= key {
				t.Fatalf("nothing at %v", path[:i+1])
			}
			doc = l[key]
		}
	}
	return doc
}

func parse(t *testing.T, text string, err error) any {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatalf("not YAML: %v\n%s", err, text)
	}
	return doc
}

var managerPath = []any{"static_resources", "listeners", 0, "filter_chains", 0, "filters", 0, "typed_config"}

func filterPath(more ...any) []any {
	return append(append(append([]any{}, managerPath...), "http_filters", 0), more...)
}

var hostile = Options{
	NodeID:     "n\": {}\n# ü",
	Listen:     "[::1]:1234",
	Admin:      "[::1]:1235",
	Upstream:   "upstream.example:80",
	Host:       "host.example:8470",
	XDS:        "host.example:8471",
	ModulePath: `/a "b"\{{.}}<c>.wasm`,
	Keys:       []string{base64.StdEncoding.EncodeToString([]byte("key"))},
}

func TestValuesArriveAsTheyAre(t *testing.T) {
	static := hostile
	static.Snapshot = []byte{0, 0xff, '"'}
	ecdsText, ecdsErr := ECDS(hostile)
	staticText, staticErr := Static(static)
	pollText, pollErr := Poll(static)
	for _, tt := range []struct {
		name   string
		doc    any
		plugin []any
		want   string // the plugin configuration
	}{
		{"ecds", parse(t, ecdsText, ecdsErr), filterPath("config_discovery", "default_config", "config"), `{"trusted_keys":["a2V5"],"host":{"cluster":"sallyport_host"}}`},
		{"static", parse(t, staticText, staticErr), filterPath("typed_config", "config"), `{"trusted_keys":["a2V5"],"snapshot":"AP8i"}`},
		{"poll", parse(t, pollText, pollErr), filterPath("typed_config", "config"), `{"trusted_keys":["a2V5"],"snapshot":"AP8i","host":{"cluster":"sallyport_host","poll":true}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			plugin := at(t, tt.doc, tt.plugin...)
			for _, c := range []struct {
				got, want any
			}{
				{at(t, tt.doc, "node", "id"), hostile.NodeID},
				{at(t, tt.doc, "admin", "address", "socket_address", "address"), "::1"},
				{at(t, tt.doc, "static_resources", "listeners", 0, "address", "socket_address", "port_value"), 1234},
				{at(t, tt.doc, "static_resources", "clusters", 0, "load_assignment", "endpoints", 0, "lb_endpoints", 0, "endpoint", "address", "socket_address", "address"), "upstream.example"},
				{at(t, plugin, "vm_config", "code", "local", "filename"), hostile.ModulePath},
				{at(t, plugin, "configuration", "value"), tt.want},
			} {
				if c.got != c.want {
					t.Errorf("got %#v, want %#v", c.got, c.want)
				}
			}
		})
	}
}

// What must hold for the proxy to be safe, whatever else changes in the texts.
func TestAllTextsAreClosed(t *testing.T) {
	ecdsText, ecdsErr := ECDS(Options{})
	staticText, staticErr := Static(Options{})
	pollText, pollErr := Poll(Options{})
	for _, tt := range []struct {
		name   string
		text   string
		err    error
		plugin []any
		want   string
	}{
		{"ecds", ecdsText, ecdsErr, filterPath("config_discovery", "default_config", "config"), `{"trusted_keys":[],"host":{"cluster":"sallyport_host"}}`},
		{"static", staticText, staticErr, filterPath("typed_config", "config"), `{"trusted_keys":[]}`},
		{"poll", pollText, pollErr, filterPath("typed_config", "config"), `{"trusted_keys":[],"host":{"cluster":"sallyport_host","poll":true}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			doc := parse(t, tt.text, tt.err)
			plugin := at(t, doc, tt.plugin...)
			manager := at(t, doc, managerPath...)
			for _, c := range []struct {
				got, want any
			}{
				{at(t, plugin, "failure_policy"), "FAIL_RELOAD"},
				{at(t, plugin, "allow_on_headers_stop_iteration"), false},
				{at(t, plugin, "vm_config", "vm_id"), "sallyport"},
				{at(t, plugin, "configuration", "value"), tt.want},
				{at(t, manager, "normalize_path"), false},
				{at(t, manager, "merge_slashes"), false},
				{at(t, manager, "path_with_escaped_slashes_action"), "KEEP_UNCHANGED"},
				{at(t, manager, "common_http_protocol_options", "headers_with_underscores_action"), "DROP_HEADER"},
				{at(t, manager, "use_remote_address"), true},
				{at(t, doc, "admin", "address", "socket_address", "address"), "127.0.0.1"},
			} {
				if c.got != c.want {
					t.Errorf("got %#v, want %#v", c.got, c.want)
				}
			}
			if n := len(at(t, manager, "http_filters").([]any)); n != 2 {
				t.Errorf("%d HTTP filters, want the filter and the router", n)
			}
		})
	}
}

func TestBadOptionsAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    Options
		want string
	}{
		{"listen address without port", Options{Listen: "127.0.0.1"}, "listen address"},
		{"listen address with a name", Options{Listen: "localhost:1"}, "bad host"},
		{"port 0", Options{Upstream: "h:0"}, "bad port"},
		{"port above 65535", Options{XDS: "h:65536"}, "bad port"},
		{"no host", Options{Upstream: ":80"}, "bad host"},
		{"host without port", Options{Host: "h"}, "host address"},
		{"admin beyond loopback", Options{Admin: "0.0.0.0:9901"}, "not a loopback address"},
		{"key that is no base64", Options{Keys: []string{"-----BEGIN"}}, "trusted key 0"},
		{"empty key", Options{Keys: []string{""}}, "trusted key 0"},
		{"snapshot in the ECDS text", Options{Snapshot: []byte{1}}, "comes from the host"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text, err := ECDS(tt.o)
			if err == nil || !strings.Contains(err.Error(), tt.want) || text != "" {
				t.Errorf("got %q, %v; want an error with %q", text, err, tt.want)
			}
		})
	}
}

func TestQuoteIsJSON(t *testing.T) {
	for _, s := range []string{"", "a", "\"\\\n\t\x00\u2028é<&>"} {
		got, err := quote(s)
		var back string
		if err != nil || json.Unmarshal([]byte(got), &back) != nil || back != s {
			t.Errorf("quote(%q) = %s, %v", s, got, err)
		}
	}
}
