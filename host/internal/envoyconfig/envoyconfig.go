package envoyconfig

import (
	"embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"text/template"

	"sallyport/policydata/pluginconfig"
	"sallyport/policydata/pushapi"
)

// Options are the values that differ from one place to the next. A field left
// at zero takes its default.
type Options struct {
	NodeID     string   // names the proxy to the host; default "sallyport-proxy"
	Listen     string   // ip:port, port 0 for any free one; default "127.0.0.1:10000"
	Admin      string   // ip:port, loopback only, port 0 for any free one; default "127.0.0.1:9901"
	Upstream   string   // host:port; default "127.0.0.1:8080"
	Host       string   // host:port of the host's HTTP service, for ECDS and Poll; default "127.0.0.1:8470"
	XDS        string   // host:port of the host's xDS service, for ECDS only; default "127.0.0.1:8471"
	ModulePath string   // of the filter's module on the proxy; default "/etc/sallyport/sallyport.wasm"
	Keys       []string // that sign snapshots: base64 of DER (SubjectPublicKeyInfo, RFC 5280 section 4.1), P-256
	Snapshot   []byte   // for Static, and for Poll to begin with

	// TLS to the host, for ECDS and Poll: files in PEM on the proxy. HostCA has the
	// authorities of the host's certificate; "": plain text. Cert and Key are what
	// the proxy shows.
	HostCA, Cert, Key string
}

// The defaults of [Options].
const (
	DefaultNodeID     = "sallyport-proxy"
	DefaultListen     = "127.0.0.1:10000"
	DefaultAdmin      = "127.0.0.1:9901"
	DefaultUpstream   = "127.0.0.1:8080"
	DefaultHost       = "127.0.0.1:8470"
	DefaultXDS        = "127.0.0.1:8471"
	DefaultModulePath = "/etc/sallyport/sallyport.wasm"
)

// HostCluster names the cluster by which a proxy reaches the host's HTTP service,
// for the filter's configuration.
const HostCluster = "sallyport_host"

//go:embed templates/*.yaml
var templateFiles embed.FS

var templates = template.Must(template.New("").
	Funcs(template.FuncMap{"quote": quote}).
	ParseFS(templateFiles, "templates/*.yaml"))

// ECDS returns the bootstrap of a proxy that gets the filter's configuration
// from the host, and answers 503 until it has got one.
func ECDS(o Options) (string, error) {
	if len(o.Snapshot) > 0 {
		return "", errors.New("envoy configuration: with ECDS the snapshot comes from the host")
	}
	return render("ecds.yaml", o, byECDS)
}

// Poll returns the bootstrap of a proxy whose filter polls the host for
// snapshots. Until it has got one, it goes by o.Snapshot, and without that it
// answers 503.
func Poll(o Options) (string, error) {
	if len(o.Keys) == 0 && len(o.Snapshot) > 0 {
		return "", errors.New("envoy configuration: a snapshot needs the keys that may sign it")
	}
	return render("poll.yaml", o, byPoll)
}

// Static returns the bootstrap of a proxy that needs no host: the snapshot is
// part of it. Without a snapshot the proxy starts and answers 503.
func Static(o Options) (string, error) { return render("static.yaml", o, inText) }

// way is how a proxy gets snapshots.
type way int

const (
	inText way = iota
	byECDS
	byPoll
)

// values are what the templates see.
type values struct {
	NodeID                             string
	Listen, Admin, Upstream, Host, XDS address
	HostCluster                        string
	ModulePath                         string
	Configuration                      string
	HostCA, Cert, Key                  string
	way                                way
}

// UsesHost reports whether the proxy knows of a host.
func (v values) UsesHost() bool { return v.way != inText }

// Poll reports whether the filter polls it for snapshots.
func (v values) Poll() bool { return v.way == byPoll }

// TokenVariable names the variable of the environment with the proxy's token.
func (values) TokenVariable() string { return pushapi.TokenVariable }

// TransportSocket returns TLS to a cluster of the host, "" for plain text.
func (v values) TransportSocket(name string, host address) (string, error) {
	if v.HostCA == "" {
		return "", nil
	}
	var text strings.Builder
	err := templates.ExecuteTemplate(&text, "transport-socket", struct {
		values
		Cluster, ServerName string
		HTTP2, IsIP         bool
	}{v, name, host.Host, name != HostCluster, net.ParseIP(host.Host) != nil})
	return text.String(), err
}

// Plugin returns the filter's part, indented by n spaces: it stands at different
// depths.
func (v values) Plugin(n int) (string, error) {
	var text strings.Builder
	if err := templates.ExecuteTemplate(&text, "plugin", v); err != nil {
		return "", err
	}
	indent := strings.Repeat(" ", n)
	body := strings.TrimSuffix(text.String(), "\n")
	return indent + strings.ReplaceAll(body, "\n", "\n"+indent), nil
}

type address struct {
	Host string
	Port uint16
}

func render(name string, o Options, w way) (string, error) {
	v, err := o.values(w)
	if err != nil {
		return "", fmt.Errorf("envoy configuration: %w", err)
	}
	var text strings.Builder
	if err := templates.ExecuteTemplate(&text, name, v); err != nil {
		return "", fmt.Errorf("envoy configuration: %w", err)
	}
	return text.String(), nil
}

func (o Options) values(w way) (values, error) {
	v := values{
		way:         w,
		NodeID:      or(o.NodeID, DefaultNodeID),
		HostCluster: HostCluster,
		ModulePath:  or(o.ModulePath, DefaultModulePath),
		HostCA:      o.HostCA, Cert: o.Cert, Key: o.Key,
	}
	if (o.Cert == "") != (o.Key == "") || o.Cert != "" && o.HostCA == "" {
		return values{}, errors.New("TLS: want the authorities of the host, and both of the proxy's certificate and its key, or neither")
	}
	for _, a := range []struct {
		to         *address
		name, text string
		bound      bool // Envoy binds to it, rather than connecting
	}{
		{&v.Listen, "listen", or(o.Listen, DefaultListen), true},
		{&v.Admin, "admin", or(o.Admin, DefaultAdmin), true},
		{&v.Upstream, "upstream", or(o.Upstream, DefaultUpstream), false},
		{&v.Host, "host", or(o.Host, DefaultHost), false},
		{&v.XDS, "xds", or(o.XDS, DefaultXDS), false},
	} {
		var err error
		if *a.to, err = parseAddress(a.text, a.bound); err != nil {
			return values{}, fmt.Errorf("%s address %q: %w", a.name, a.text, err)
		}
	}
	if ip := net.ParseIP(v.Admin.Host); !ip.IsLoopback() {
		// Who reaches the admin port can stop the proxy and read its configuration.
		return values{}, fmt.Errorf("admin address %s is not a loopback address", v.Admin.Host)
	}
	var err error
	v.Configuration, err = o.pluginConfiguration(w)
	return v, err
}

// pluginConfiguration is the filter's configuration in JSON. Without a snapshot
// the filter answers 503.
func (o Options) pluginConfiguration(w way) (string, error) {
	c := pluginconfig.Config{Snapshot: o.Snapshot}
	for i, k := range o.Keys {
		der, err := base64.StdEncoding.DecodeString(k)
		if err != nil || len(der) == 0 {
			return "", fmt.Errorf("trusted key %d is not the base64 of a key", i)
		}
		c.TrustedKeys = append(c.TrustedKeys, der)
	}
	// By ECDS, too, before the first push: workers tell the host that they are
	// there, and have nothing yet.
	if w != inText {
		c.HostCluster, c.Poll = HostCluster, w == byPoll
	}
	return string(c.AppendJSON(nil)), nil
}

// parseAddress splits host:port. An address to bind to is a number, and its port
// may be 0.
func parseAddress(text string, bound bool) (address, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return address{}, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 && !bound {
		return address{}, fmt.Errorf("bad port %q", port)
	}
	if host == "" || bound && net.ParseIP(host) == nil {
		return address{}, fmt.Errorf("bad host %q", host)
	}
	return address{Host: host, Port: uint16(n)}, nil
}

func or(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

// quote writes s as a YAML double-quoted scalar; JSON's strings are a subset of
// these.
func quote(s string) (string, error) {
	var out strings.Builder
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return "", err
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}
