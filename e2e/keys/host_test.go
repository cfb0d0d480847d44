package keys

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/wasm/v3"
	wasmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/wasm/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	extensionv3 "github.com/envoyproxy/go-control-plane/envoy/service/extension/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sallyport/policydata/pluginconfig"
	"sallyport/policydata/pushapi"
)

// control stands for the host: it pushes configurations by ECDS and answers the
// filter's questions for keys.
type control struct {
	extensionv3.UnimplementedExtensionConfigDiscoveryServiceServer

	t       *testing.T
	module  string
	answer  func(q question, w http.ResponseWriter)
	xds     string // its address
	http    *httptest.Server
	mu      sync.Mutex
	latest  *anypb.Any     // guarded by mu, as all below
	version int            // of latest
	changed chan struct{}  // closed at the next push
	asked   map[string]int // questions by kid
}

// question is the filter's.
type question struct{ Issuer, Kid, Version string }

func newControl(t *testing.T, module string, answer func(question, http.ResponseWriter)) *control {
	t.Helper()
	c := &control{t: t, module: module, answer: answer, changed: make(chan struct{}), asked: map[string]int{}}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.xds = listener.Addr().String()
	server := grpc.NewServer()
	extensionv3.RegisterExtensionConfigDiscoveryServiceServer(server, c)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) }) // ends with Stop
	t.Cleanup(func() { server.Stop(); serving.Wait() })
	c.http = httptest.NewServer(http.HandlerFunc(c.serveKeys))
	t.Cleanup(c.http.Close)
	return c
}

// push makes a configuration the one that proxies get.
func (c *control) push(config pluginconfig.Config) {
	pack := func(m proto.Message) *anypb.Any {
		a, err := anypb.New(m)
		if err != nil {
			panic(err) // of messages that are made here
		}
		return a
	}
	plugin := &wasmv3.PluginConfig{
		Name: "sallyport", RootId: "sallyport",
		Configuration:               pack(wrapperspb.Bytes(config.AppendBinary(nil))),
		FailurePolicy:               wasmv3.FailurePolicy_FAIL_RELOAD,
		AllowOnHeadersStopIteration: wrapperspb.Bool(false),
		Vm: &wasmv3.PluginConfig_VmConfig{VmConfig: &wasmv3.VmConfig{
			VmId: "sallyport", Runtime: "envoy.wasm.runtime.v8",
			Code: &corev3.AsyncDataSource{Specifier: &corev3.AsyncDataSource_Local{
				Local: &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: c.module}},
			}},
		}},
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.latest = pack(&corev3.TypedExtensionConfig{Name: "sallyport", TypedConfig: pack(&filterv3.Wasm{Config: plugin})})
	c.version++
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *control) StreamExtensionConfigs(s extensionv3.ExtensionConfigDiscoveryService_StreamExtensionConfigsServer) error {
	if _, err := s.Recv(); err != nil {
		return err
	}
	go func() {
		for { // acknowledgements; it ends with the stream
			if _, err := s.Recv(); err != nil {
				return
			}
		}
	}()
	for sent := 0; ; {
		c.mu.Lock()
		latest, version, changed := c.latest, c.version, c.changed
		c.mu.Unlock()
		if version != sent {
			err := s.Send(&discoveryv3.DiscoveryResponse{
				VersionInfo: strconv.Itoa(version), Nonce: strconv.Itoa(version), Resources: []*anypb.Any{latest},
				TypeUrl: "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
			})
			if err != nil {
				return err
			}
			sent = version
		}
		select {
		case <-changed:
		case <-s.Context().Done():
			return nil
		}
	}
}

func (c *control) serveKeys(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == pushapi.ReportPath {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	var q question
	if r.Method != http.MethodPost || r.URL.Path != pushapi.KeysPath || r.Host != pluginconfig.DefaultAuthority {
		c.t.Errorf("the filter asked %s %s of %s", r.Method, r.URL, r.Host)
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil || q.Kid == "" || !strings.HasPrefix(q.Version, "1.") {
		c.t.Errorf("question %+v: %v", q, err)
	}
	c.mu.Lock()
	c.asked[q.Kid]++
	c.mu.Unlock()
	c.answer(q, w)
}

func (c *control) questions(kid string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked[kid]
}

// thereIn answers that a generation has the key.
func thereIn(w http.ResponseWriter, generation int) {
	fmt.Fprintf(w, `{"version":"1.%d"}`, generation)
}

func notThere(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(http.StatusNotFound)
	fmt.Fprint(w, `{"type":"about:blank","title":"Not Found","status":404}`)
}
