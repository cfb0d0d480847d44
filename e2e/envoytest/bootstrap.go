package envoytest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// Bootstrap is a bootstrap of ours which has any number of listeners in the place
// of its one, each with settings of its own: one Envoy then shows what each does.
type Bootstrap struct {
	t         testing.TB
	doc       map[string]any
	template  []byte // the listener
	listeners []any
}

// Listener is a listener of a Bootstrap, as its YAML is.
type Listener struct {
	Name    string
	Manager map[string]any // the HTTP connection manager
	Filter  map[string]any // its first HTTP filter, which is Sallyport's
}

// Plugin returns the PluginConfig of a filter that stands in the bootstrap.
func (l *Listener) Plugin() map[string]any {
	return l.Filter["typed_config"].(map[string]any)["config"].(map[string]any)
}

// Configure sets the plugin's configuration.
func (l *Listener) Configure(configuration []byte) {
	l.Plugin()["configuration"].(map[string]any)["value"] = string(configuration)
}

// Route returns the one route.
func (l *Listener) Route() map[string]any {
	hosts := l.Manager["route_config"].(map[string]any)["virtual_hosts"].([]any)
	return hosts[0].(map[string]any)["routes"].([]any)[0].(map[string]any)
}

// ParseBootstrap reads a bootstrap. Its listener is taken out: it is what [Bootstrap.Add]
// begins with.
func ParseBootstrap(t testing.TB, text string) *Bootstrap {
	t.Helper()
	b := &Bootstrap{t: t}
	if err := yaml.Unmarshal([]byte(text), &b.doc); err != nil {
		t.Fatal(err)
	}
	list := b.doc["static_resources"].(map[string]any)["listeners"].([]any)
	if len(list) != 1 {
		t.Fatalf("%d listeners, want one", len(list))
	}
	var err error
	if b.template, err = yaml.Marshal(list[0]); err != nil {
		t.Fatal(err)
	}
	return b
}

// Static is envoy/static.yaml on free ports, before an upstream on a port of
// loopback.
func Static(t testing.TB, module, upstreamPort string) *Bootstrap {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(Root(t), "envoy", "static.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, r := range [][2]string{
		{"port_value: 10000", "port_value: 0"},
		{"port_value: 9901", "port_value: 0"},
		{"port_value: 8080", "port_value: " + upstreamPort},
		{"/etc/sallyport/sallyport.wasm", module},
	} {
		if !strings.Contains(text, r[0]) {
			t.Fatalf("envoy/static.yaml has no %q", r[0])
		}
		text = strings.ReplaceAll(text, r[0], r[1])
	}
	return ParseBootstrap(t, text)
}

// Add adds a listener with what change makes different. Its filter's plugin is
// named after it where it stands in the bootstrap.
func (b *Bootstrap) Add(name string, change func(l *Listener)) {
	b.t.Helper()
	var doc map[string]any
	if err := yaml.Unmarshal(b.template, &doc); err != nil {
		b.t.Fatal(err)
	}
	doc["name"] = name
	filter := doc["filter_chains"].([]any)[0].(map[string]any)["filters"].([]any)[0].(map[string]any)
	l := &Listener{Name: name, Manager: filter["typed_config"].(map[string]any)}
	l.Filter = l.Manager["http_filters"].([]any)[0].(map[string]any)
	if _, ok := l.Filter["typed_config"]; ok {
		l.Plugin()["name"] = name
	}
	change(l)
	b.listeners = append(b.listeners, doc)
}

// Text returns the bootstrap as YAML.
func (b *Bootstrap) Text() string {
	b.t.Helper()
	b.doc["static_resources"].(map[string]any)["listeners"] = b.listeners
	out, err := yaml.Marshal(b.doc)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(out)
}

// AddCluster adds a cluster of one endpoint on loopback. It speaks HTTP/2 where
// http2 is true.
func (b *Bootstrap) AddCluster(name, port string, http2 bool) {
	b.t.Helper()
	options := ""
	if http2 {
		options = `
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: {http2_protocol_options: {allow_connect: true}}
`
	}
	var cluster map[string]any
	err := yaml.Unmarshal([]byte(`
name: `+name+`
type: STATIC
connect_timeout: 1s
load_assignment:
  cluster_name: `+name+`
  endpoints:
  - lb_endpoints:
    - endpoint: {address: {socket_address: {address: "127.0.0.1", port_value: `+port+`}}}
`+options), &cluster)
	if err != nil {
		b.t.Fatal(err)
	}
	resources := b.doc["static_resources"].(map[string]any)
	resources["clusters"] = append(resources["clusters"].([]any), cluster)
}
