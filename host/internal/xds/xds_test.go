package xds

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/wasm/v3"
	wasmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/wasm/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	extensionv3 "github.com/envoyproxy/go-control-plane/envoy/service/extension/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sallyport/e2e/logtest"
)

const patience = 20 * time.Second

// counts are what the hooks of a server counted.
type counts struct {
	pushed, acked, nacked, streams atomic.Int64
}

func (c *counts) hooks() Hooks {
	return Hooks{
		Pushed:  func(int) { c.pushed.Add(1) },
		Acked:   func() { c.acked.Add(1) },
		Nacked:  func() { c.nacked.Add(1) },
		Streams: func(change int) { c.streams.Add(int64(change)) },
	}
}

// serve runs a server and returns a connection to it.
func serve(t *testing.T, o Options) (*Server, *grpc.ClientConn) {
	t.Helper()
	s := New(o)
	l := bufconn.Listen(1 << 20)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	c, err := grpc.NewClient("passthrough:proxy",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxResponseBytes)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s, c
}

// proxy is a client that speaks as Envoy does.
type proxy struct {
	t      *testing.T
	stream interface {
		Send(*discoveryv3.DiscoveryRequest) error
		Recv() (*discoveryv3.DiscoveryResponse, error)
	}
	last *discoveryv3.DiscoveryResponse
	held string // version
}

func connect(t *testing.T, c *grpc.ClientConn) *proxy {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	stream, err := extensionv3.NewExtensionConfigDiscoveryServiceClient(c).StreamExtensionConfigs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return &proxy{t: t, stream: stream}
}

// subscribe sends the first request of a stream.
func (p *proxy) subscribe(node, version string) {
	p.t.Helper()
	p.held = version
	p.send(&discoveryv3.DiscoveryRequest{Node: &corev3.Node{Id: node}, VersionInfo: version, ResourceNames: []string{ResourceName}})
}

func (p *proxy) send(r *discoveryv3.DiscoveryRequest) {
	p.t.Helper()
	if err := p.stream.Send(r); err != nil {
		p.t.Fatal(err)
	}
}

// receive wants the next response to be of a version.
func (p *proxy) receive(version string) *discoveryv3.DiscoveryResponse {
	p.t.Helper()
	r, err := p.stream.Recv()
	if err != nil {
		p.t.Fatal(err)
	}
	if r.GetVersionInfo() != version {
		p.t.Fatalf("got version %q, want %q", r.GetVersionInfo(), version)
	}
	p.last = r
	return r
}

func (p *proxy) ack() {
	p.t.Helper()
	p.held = p.last.GetVersionInfo()
	p.answer(nil)
}

func (p *proxy) nack(message string) {
	p.t.Helper()
	p.answer(&status.Status{Message: message}) // that it is there makes a NACK, whatever its code
}

func (p *proxy) answer(problem *status.Status) {
	p.t.Helper()
	p.send(&discoveryv3.DiscoveryRequest{
		VersionInfo: p.held, ResponseNonce: p.last.GetNonce(), ErrorDetail: problem,
		ResourceNames: []string{ResourceName}, TypeUrl: TypeURL,
	})
}

// await polls the status until one entry satisfies ok.
func await(t *testing.T, s *Server, what string, ok func(NodeStatus) bool) NodeStatus {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		for _, n := range s.Status() {
			if ok(n) {
				return n
			}
		}
	}
	t.Fatalf("no proxy is %s: %+v", what, s.Status())
	return NodeStatus{}
}

// stays wants all proxies to be sent no more than a version for some time: what
// would send them more does so at once.
func stays(t *testing.T, s *Server, version string) {
	t.Helper()
	for range 50 {
		for _, n := range s.Status() {
			if n.Sent != version {
				t.Fatalf("sent %q, want %q", n.Sent, version)
			}
		}
		time.Sleep(time.Millisecond)
	}
}

func acked(version string) func(NodeStatus) bool {
	return func(n NodeStatus) bool { return n.Acked == version }
}

func filter(configuration string) FilterConfig {
	return FilterConfig{PluginConfiguration: []byte(configuration), ModulePath: "/filter.wasm"}
}

func set(t *testing.T, s *Server, version, configuration string) {
	t.Helper()
	if err := s.Set(version, filter(configuration)); err != nil {
		t.Fatal(err)
	}
}

// unpack returns the Wasm configuration and the plugin configuration of r.
func unpack(t *testing.T, r *discoveryv3.DiscoveryResponse) (*wasmv3.PluginConfig, []byte) {
	t.Helper()
	var (
		ext    corev3.TypedExtensionConfig
		wasm   filterv3.Wasm
		plugin wrapperspb.BytesValue
	)
	if r.GetTypeUrl() != TypeURL || len(r.GetResources()) != 1 {
		t.Fatalf("type %q, %d resources", r.GetTypeUrl(), len(r.GetResources()))
	}
	if err := r.GetResources()[0].UnmarshalTo(&ext); err != nil {
		t.Fatal(err)
	}
	if ext.GetName() != ResourceName {
		t.Errorf("resource %q", ext.GetName())
	}
	if err := ext.GetTypedConfig().UnmarshalTo(&wasm); err != nil {
		t.Fatal(err)
	}
	if err := wasm.GetConfig().GetConfiguration().UnmarshalTo(&plugin); err != nil {
		t.Fatal(err)
	}
	return wasm.GetConfig(), plugin.GetValue()
}

func TestResourceIsClosedAndCarriesTheBytes(t *testing.T) {
	raw := []byte{0, 0xff, 0xfe, '"', '\n'}
	for _, tt := range []struct {
		name   string
		cfg    FilterConfig
		path   string
		inline string
	}{
		{"module in a file", FilterConfig{PluginConfiguration: raw, ModulePath: "/x.wasm"}, "/x.wasm", ""},
		{"module inline", FilterConfig{PluginConfiguration: raw, Module: []byte("\x00asm")}, "", "\x00asm"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, c := serve(t, Options{})
			if err := s.Set("1.1", tt.cfg); err != nil {
				t.Fatal(err)
			}
			p := connect(t, c)
			p.subscribe("n", "")
			plugin, got := unpack(t, p.receive("1.1"))
			if !bytes.Equal(got, raw) {
				t.Errorf("plugin configuration %q, want %q", got, raw)
			}
			vm := plugin.GetVmConfig()
			code := vm.GetCode().GetLocal()
			if code.GetFilename() != tt.path || string(code.GetInlineBytes()) != tt.inline {
				t.Errorf("code %v", code)
			}
			if plugin.GetFailurePolicy() != wasmv3.FailurePolicy_FAIL_RELOAD {
				t.Errorf("failure policy %v", plugin.GetFailurePolicy())
			}
			if plugin.GetAllowOnHeadersStopIteration().GetValue() {
				t.Error("the body does not wait for the headers")
			}
			if plugin.GetName() != "sallyport" || plugin.GetRootId() != "sallyport" || vm.GetVmId() != "sallyport" || vm.GetRuntime() != "envoy.wasm.runtime.v8" {
				t.Errorf("names %v", plugin)
			}
		})
	}
}

func TestSetRefuses(t *testing.T) {
	for _, tt := range []struct {
		name    string
		version string
		cfg     FilterConfig
		want    string
	}{
		{"no version", "", filter("a"), "a version has"},
		{"endless version", strings.Repeat("1", maxVersionBytes+1), filter("a"), "a version has"},
		{"no module", "1.2", FilterConfig{}, "module is missing"},
		{"two modules", "1.2", FilterConfig{ModulePath: "/x", Module: []byte("x")}, "given twice"},
		{"module above the limit", "1.2", FilterConfig{Module: make([]byte, MaxModuleBytes+1)}, "above the limit"},
		{"configuration above the limit", "1.2", FilterConfig{ModulePath: "/x", PluginConfiguration: make([]byte, MaxConfigurationBytes+1)}, "above the limit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := New(Options{})
			set(t, s, "1.1", "good")
			before, _ := s.latest()
			err := s.Set(tt.version, tt.cfg)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
			if after, _ := s.latest(); after != before {
				t.Error("the configuration set before is gone")
			}
		})
	}
}

func TestProxyWaitsForTheFirstConfigurationThenFollows(t *testing.T) {
	var n counts
	s, c := serve(t, Options{Hooks: n.hooks()})
	p := connect(t, c)
	p.subscribe("edge-1", "")
	await(t, s, "connected", func(n NodeStatus) bool { return n.Node == "edge-1" })
	if got := n.pushed.Load(); got != 0 {
		t.Errorf("%d pushes before the first Set", got)
	}
	for _, version := range []string{"1.1", "1.2", "2.1"} {
		set(t, s, version, "configuration "+version)
		if _, got := unpack(t, p.receive(version)); string(got) != "configuration "+version {
			t.Errorf("version %s carries %q", version, got)
		}
		p.ack()
		st := await(t, s, "at "+version, acked(version))
		if st.Sent != version || st.Nacked != "" || st.Error != "" || st.LastSeen.IsZero() {
			t.Errorf("status %+v", st)
		}
	}
	if n.pushed.Load() != 3 || n.acked.Load() != 3 || n.nacked.Load() != 0 || n.streams.Load() != 1 {
		t.Errorf("pushed %d, acked %d, nacked %d, streams %d", n.pushed.Load(), n.acked.Load(), n.nacked.Load(), n.streams.Load())
	}
}

func TestRefusedConfigurationIsNotSentAgain(t *testing.T) {
	var n counts
	var log logtest.Buffer
	s, c := serve(t, Options{Hooks: n.hooks(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	set(t, s, "1.1", "good")
	p := connect(t, c)
	p.subscribe("edge-1", "")
	p.receive("1.1")
	p.ack()
	await(t, s, "at 1.1", acked("1.1"))

	set(t, s, "1.2", "bad")
	p.receive("1.2")
	p.nack("unable to create plugin")
	st := await(t, s, "refusing 1.2", func(n NodeStatus) bool { return n.Nacked == "1.2" })
	if st.Acked != "1.1" || st.Error != "unable to create plugin" {
		t.Errorf("status %+v", st)
	}
	// A repeated answer or a repeated Set of the same must not bring it back.
	p.nack("unable to create plugin")
	set(t, s, "1.2", "bad")
	set(t, s, "1.3", "good again")
	p.receive("1.3")
	p.ack()
	if st := await(t, s, "at 1.3", acked("1.3")); st.Nacked != "" || st.Error != "" {
		t.Errorf("status %+v", st)
	}
	if n.pushed.Load() != 3 || n.nacked.Load() != 1 {
		t.Errorf("pushed %d, nacked %d", n.pushed.Load(), n.nacked.Load())
	}
	if got := strings.Count(log.String(), "refused"); got != 1 {
		t.Errorf("the refusal was logged %d times:\n%s", got, log.String())
	}
}

func TestOnlyTheNewestFollowsAnAnswer(t *testing.T) {
	s, c := serve(t, Options{})
	set(t, s, "1.1", "a")
	p := connect(t, c)
	p.subscribe("n", "")
	p.receive("1.1")
	set(t, s, "1.2", "b")
	stays(t, s, "1.1") // until it has answered
	set(t, s, "1.3", "c")
	p.ack()
	p.receive("1.3")
	p.ack()
	await(t, s, "at 1.3", acked("1.3"))
}

func TestNewStreamGetsTheConfigurationWhateverItHolds(t *testing.T) {
	s, c := serve(t, Options{})
	set(t, s, "1.7", "a")
	p := connect(t, c)
	p.subscribe("n", "1.7")
	p.receive("1.7")
	// Before it answers it is known by what it has brought along.
	await(t, s, "at 1.7", acked("1.7"))
}

func TestSameVersionWithOtherContentIsSent(t *testing.T) {
	s, c := serve(t, Options{})
	set(t, s, "1.1", "a")
	p := connect(t, c)
	p.subscribe("n", "")
	p.receive("1.1")
	p.ack()
	set(t, s, "1.1", "b")
	if _, got := unpack(t, p.receive("1.1")); string(got) != "b" {
		t.Errorf("got %q", got)
	}
}

func TestAnswerToAnEarlierResponseIsIgnored(t *testing.T) {
	s, c := serve(t, Options{})
	set(t, s, "1.1", "a")
	p := connect(t, c)
	p.subscribe("n", "")
	first := p.receive("1.1")
	p.ack()
	set(t, s, "1.2", "b")
	second := p.receive("1.2")
	p.last = first
	p.nack("late")
	p.last = second
	p.ack()
	st := await(t, s, "at 1.2", acked("1.2"))
	if st.Nacked != "" {
		t.Errorf("the late answer counted: %+v", st)
	}
}

func TestWhoSubscribesAgainIsSentAgain(t *testing.T) {
	s, c := serve(t, Options{})
	set(t, s, "1.1", "a")
	p := connect(t, c)
	p.subscribe("n", "")
	p.receive("1.1")
	p.ack()
	p.send(&discoveryv3.DiscoveryRequest{VersionInfo: "1.1", ResponseNonce: p.last.GetNonce(), ResourceNames: []string{"another"}})
	p.answer(nil)
	p.receive("1.1")
}

func TestADSServesECDSAlone(t *testing.T) {
	s, c := serve(t, Options{})
	set(t, s, "1.1", "a")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(c).StreamAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, stream: stream}
	p.send(&discoveryv3.DiscoveryRequest{Node: &corev3.Node{Id: "n"}, TypeUrl: "type.googleapis.com/envoy.config.cluster.v3.Cluster"})
	await(t, s, "known", func(n NodeStatus) bool { return n.Node == "n" })
	stays(t, s, "")
	p.send(&discoveryv3.DiscoveryRequest{TypeUrl: TypeURL, ResourceNames: []string{ResourceName}})
	p.receive("1.1")
	p.ack()
	if st := await(t, s, "at 1.1", acked("1.1")); st.Node != "n" {
		t.Errorf("status %+v", st)
	}
	p.send(&discoveryv3.DiscoveryRequest{})
	if _, err := stream.Recv(); grpcstatus.Code(err) != codes.InvalidArgument {
		t.Errorf("a request without a type: %v", err)
	}
}

func TestProxyThatLeavesIsForgotten(t *testing.T) {
	var n counts
	s, c := serve(t, Options{Hooks: n.hooks()})
	ctx, leave := context.WithCancel(context.Background())
	defer leave()
	stream, err := extensionv3.NewExtensionConfigDiscoveryServiceClient(c).StreamExtensionConfigs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	gone := &proxy{t: t, stream: stream}
	gone.subscribe("b", "")
	stays := connect(t, c)
	stays.subscribe("a", "")
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if st := s.Status(); len(st) == 2 && st[0].Node == "a" && st[1].Node == "b" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not both, in order: %+v", s.Status())
		}
	}
	leave()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if st := s.Status(); len(st) == 1 && st[0].Node == "a" && n.streams.Load() == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("status %+v, %d streams", s.Status(), n.streams.Load())
		}
	}
}

// A proxy must not fill the log or the status.
func TestTextOfProxiesIsBounded(t *testing.T) {
	s, c := serve(t, Options{})
	set(t, s, "1.1", "a")
	p := connect(t, c)
	p.subscribe(strings.Repeat("n", 10*maxNodeBytes), strings.Repeat("v", 10*maxVersionBytes))
	p.receive("1.1")
	p.nack(strings.Repeat("é", maxErrorBytes))
	st := await(t, s, "refusing 1.1", func(n NodeStatus) bool { return n.Nacked == "1.1" })
	if len(st.Node) != maxNodeBytes || len(st.Acked) != maxVersionBytes || len(st.Error) > maxErrorBytes+2 {
		t.Errorf("node %d, version %d, error %d bytes", len(st.Node), len(st.Acked), len(st.Error))
	}
}

func TestLargestConfigurationArrives(t *testing.T) {
	s, c := serve(t, Options{})
	large := make([]byte, MaxConfigurationBytes)
	large[len(large)-1] = 1
	if err := s.Set("1.1", FilterConfig{PluginConfiguration: large, ModulePath: "/x"}); err != nil {
		t.Fatal(err)
	}
	p := connect(t, c)
	p.subscribe("n", "")
	if _, got := unpack(t, p.receive("1.1")); !bytes.Equal(got, large) {
		t.Errorf("got %d bytes", len(got))
	}
}

// Hammer: proxies come and answer at random while configurations change; in the
// end all have the last one.
func TestAllProxiesEndAtTheLastVersion(t *testing.T) {
	const proxies, versions = 8, 50
	s, c := serve(t, Options{})
	last := "1." + strings.Repeat("9", 3)
	var wg sync.WaitGroup
	for i := range proxies {
		p := connect(t, c)
		p.subscribe("n", "")
		wg.Go(func() {
			for turn := 0; ; turn++ {
				r, err := p.stream.Recv()
				if err != nil {
					t.Error(err)
					return
				}
				request := &discoveryv3.DiscoveryRequest{VersionInfo: r.GetVersionInfo(), ResponseNonce: r.GetNonce(), ResourceNames: []string{ResourceName}}
				if (turn+i)%3 == 0 && r.GetVersionInfo() != last {
					request.ErrorDetail = &status.Status{Message: "no"}
				}
				if err := p.stream.Send(request); err != nil {
					t.Error(err)
					return
				}
				if r.GetVersionInfo() == last {
					return
				}
			}
		})
	}
	for i := range versions {
		set(t, s, "1."+strings.Repeat("1", i+1), "x")
		s.Status()
	}
	set(t, s, last, "last")
	wg.Wait()
}
