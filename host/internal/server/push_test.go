package server_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	extensionv3 "github.com/envoyproxy/go-control-plane/envoy/service/extension/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"sallyport/e2e/envoytest"
	"sallyport/host/internal/directory"
	"sallyport/host/internal/envoyconfig"
	"sallyport/host/internal/filterwasm"
	"sallyport/host/internal/manifest"
	"sallyport/host/internal/xds"
	"sallyport/policydata/pushapi"
)

// commit writes a user and returns the generation.
func (s *running) commit(t testing.TB, name string) uint64 {
	t.Helper()
	docs, err := manifest.Parse("x.yaml", []byte("apiVersion: sallyport/v1\nkind: User\nmetadata: {name: "+name+"}\n"))
	if err != nil {
		t.Fatal(err)
	}
	result, err := s.Directory().Apply(t.Context(), manifest.Entities(docs), directory.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return result.Generation
}

func (s *running) proxyToken(t *testing.T, n directory.NewProxyToken) (id, text string) {
	t.Helper()
	made, secret, err := s.Directory().CreateProxyToken(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return made.ID, secret.Reveal()
}

// poll asks for a snapshot.
func poll(ctx context.Context, c *http.Client, url, query, token string) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+pushapi.SnapshotPath+query, nil)
	if err != nil {
		return nil, nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

// metric returns the value of a metric of a host without proofs, by its text.
func metric(t *testing.T, s *running, name string) string {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+s.HTTPAddr()+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(fetch(t, req, http.StatusOK)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("no metric %s", name)
	return ""
}

func awaitMetric(t *testing.T, s *running, name, want string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for metric(t, s, name) != want {
		if time.Now().After(deadline) {
			t.Fatalf("%s is %s, not %s", name, metric(t, s, name), want)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestAThousandPollers: all get what is published, and what they took is free
// again when they have gone.
func TestAThousandPollers(t *testing.T) {
	const pollers = 1000
	s := start(t, config(t.TempDir()))
	transport := &http.Transport{MaxIdleConnsPerHost: pollers}
	client := &http.Client{Transport: transport}
	before := runtime.NumGoroutine()
	want := fmt.Sprintf(`"1.%d-`, 2)
	var wg sync.WaitGroup
	for range pollers {
		wg.Go(func() {
			resp, body, err := poll(t.Context(), client, "http://"+s.HTTPAddr(), "?after=1.1&wait=60s", "")
			if err != nil || resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("ETag"), want) || len(body) == 0 {
				t.Errorf("%v, %v", resp, err)
			}
		})
	}
	awaitMetric(t, &s, "sallyport_pollers", fmt.Sprint(pollers))
	s.commit(t, "eric")
	wg.Wait()
	ctx, leave := context.WithCancel(t.Context())
	for range pollers {
		wg.Go(func() {
			if resp, _, err := poll(ctx, client, "http://"+s.HTTPAddr(), "?after=1.2&wait=60s", ""); err == nil {
				t.Errorf("answered by %s", resp.Status)
			}
		})
	}
	awaitMetric(t, &s, "sallyport_pollers", fmt.Sprint(pollers))
	leave()
	wg.Wait()
	awaitMetric(t, &s, "sallyport_pollers", "0")
	transport.CloseIdleConnections()
	for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > before+20; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

// TestAStopAnswersPolls: a stop does not wait for polls, nor cut them.
func TestAStopAnswersPolls(t *testing.T) {
	const pollers = 20
	s := start(t, config(t.TempDir()))
	var wg sync.WaitGroup
	for range pollers {
		wg.Go(func() {
			resp, _, err := poll(t.Context(), http.DefaultClient, "http://"+s.HTTPAddr(), "?after=1.1&wait=60s", "")
			if err != nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
				t.Errorf("%v, %v", resp, err)
			}
		})
	}
	awaitMetric(t, &s, "sallyport_pollers", fmt.Sprint(pollers))
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

// stream is an xDS stream by a token.
func stream(t *testing.T, addr string, c *tls.Config, token, node string) extensionv3.ExtensionConfigDiscoveryService_StreamExtensionConfigsClient {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(credentials.NewTLS(c)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	g, err := extensionv3.NewExtensionConfigDiscoveryServiceClient(conn).StreamExtensionConfigs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	err = g.Send(&discoveryv3.DiscoveryRequest{
		Node: &corev3.Node{Id: node}, TypeUrl: xds.TypeURL, ResourceNames: []string{xds.ResourceName},
	})
	if err != nil && !errors.Is(err, io.EOF) { // EOF: it has ended already, and Recv says why
		t.Fatal(err)
	}
	return g
}

func TestTokensAndCertificatesOfProxies(t *testing.T) {
	c := config(t.TempDir())
	p := secure(t, &c)
	s := start(t, c)
	id, edge := s.proxyToken(t, directory.NewProxyToken{Name: "edge-1"})
	_, prod := s.proxyToken(t, directory.NewProxyToken{Name: "prod", Fleet: true})
	if _, err := s.Publisher().Wait(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	nobody, cert := p.client(t, "", ""), p.client(t, p.proxy, p.proxyKey)
	oldHTTP := p.client(t, "", "")
	oldHTTP.Transport.(*http.Transport).ForceAttemptHTTP2 = false
	url := "https://" + s.HTTPAddr()
	for name, tt := range map[string]struct {
		as     *http.Client
		token  string
		want   int
		protos int
	}{
		"nobody":                           {nobody, "", http.StatusUnauthorized, 2},
		"a certificate":                    {cert, "", http.StatusOK, 2},
		"a proxy's token":                  {nobody, edge, http.StatusOK, 2},
		"a fleet's token by HTTP/1.1":      {oldHTTP, prod, http.StatusOK, 1},
		"a bad token beside a certificate": {cert, edge + "x", http.StatusUnauthorized, 2},
	} {
		resp, _, err := poll(t.Context(), tt.as, url, "", tt.token)
		if err != nil || resp.StatusCode != tt.want || resp.ProtoMajor != tt.protos {
			t.Errorf("%s: %v, %v", name, resp, err)
		}
	}

	trust := nobody.Transport.(*http.Transport).TLSClientConfig
	shows := cert.Transport.(*http.Transport).TLSClientConfig
	for name, tt := range map[string]struct {
		tls         *tls.Config
		token, node string
		want        codes.Code
	}{
		"nobody":                        {trust, "", "edge-1", codes.Unauthenticated},
		"a certificate":                 {shows, "", "any", codes.OK},
		"a proxy's token":               {trust, edge, "edge-1", codes.OK},
		"a proxy that says no name":     {trust, edge, "", codes.OK},
		"a proxy that says another one": {trust, edge, "edge-2", codes.PermissionDenied},
		"a fleet's token":               {trust, prod, "edge-2", codes.OK},
		"a bad token":                   {trust, edge + "x", "edge-1", codes.Unauthenticated},
	} {
		if _, err := stream(t, s.XDSAddr(), tt.tls, tt.token, tt.node).Recv(); status.Code(err) != tt.want {
			t.Errorf("xDS, %s: %v", name, err)
		}
	}

	// A revoked token ends what it began.
	xdsStream := stream(t, s.XDSAddr(), trust, edge, "edge-1")
	if _, err := xdsStream.Recv(); err != nil {
		t.Fatal(err)
	}
	polled := make(chan int)
	go func() {
		resp, _, err := poll(t.Context(), nobody, url, "?after=9.9&wait=60s", edge)
		if err != nil {
			t.Error(err)
			polled <- 0
			return
		}
		polled <- resp.StatusCode
	}()
	for len(s.polls(t, cert)) == 0 {
		time.Sleep(time.Millisecond)
	}
	if _, err := s.Directory().RevokeProxyToken(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if status := <-polled; status != http.StatusUnauthorized {
		t.Errorf("the poll ends by %d", status)
	}
	for {
		_, err := xdsStream.Recv()
		if err == nil {
			continue // what was on its way
		}
		if status.Code(err) != codes.Unauthenticated {
			t.Errorf("the stream ends by %v", err)
		}
		break
	}
}

// polls returns "1" once a poll is held, by the metrics, which are for who shows a
// certificate.
func (s *running) polls(t *testing.T, cert *http.Client) string {
	t.Helper()
	resp, err := cert.Get("https://" + s.HTTPAddr() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(body), "sallyport_pollers 1\n") {
		return "1"
	}
	return ""
}

// TestEnvoyShowsItsToken: the real Envoy gets its configuration by the token in
// its environment, and one without a token gets none.
func TestEnvoyShowsItsToken(t *testing.T) {
	filter, err := filterwasm.Module()
	if err != nil {
		t.Fatalf("%v (run make build)", err)
	}
	c := config(t.TempDir())
	c.Module, c.RequireProxyAuth = filter, true
	s := start(t, c)
	_, token := s.proxyToken(t, directory.NewProxyToken{Name: "edge-1"})
	upstream := httptest.NewServer(http.NotFoundHandler())
	defer upstream.Close()
	bootstrap, err := envoyconfig.ECDS(envoyconfig.Options{
		NodeID: "edge-1", Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Upstream: upstream.Listener.Addr().String(),
		Host: s.HTTPAddr(), XDS: s.XDSAddr(), ModulePath: s.ModuleFile(), Keys: []string{s.TrustedKey()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(pushapi.TokenVariable, token)
	shows := envoytest.Start(t, bootstrap)
	if err := os.Unsetenv(pushapi.TokenVariable); err != nil {
		t.Fatal(err)
	}
	shows.Await("the proxy with a token enforces a snapshot", time.Minute, answers(shows, http.StatusUnauthorized))
	nobody := envoytest.Start(t, bootstrap)
	nobody.Await("the host has refused the proxy without", time.Minute, func() error {
		if nobody.Stats()["cluster.sallyport_xds.upstream_rq_total"] == 0 {
			return fmt.Errorf("no stream yet")
		}
		return answers(nobody, http.StatusServiceUnavailable)()
	})
}

// answers returns an error unless a proxy answers a request by a status.
func answers(e *envoytest.Envoy, want int) func() error {
	return func() error {
		resp, err := http.Get("http://" + e.Address("ingress") + "/")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != want {
			return fmt.Errorf("status %d, want %d", resp.StatusCode, want)
		}
		return nil
	}
}
