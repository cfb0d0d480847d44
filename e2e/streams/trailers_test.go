package streams

import (
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/e2e/envoytest"
	"sallyport/e2e/hosttest"
	"sallyport/plugin/filtertest"
	"sallyport/policydata"
)

// startHTTP2 starts a server that speaks HTTP/2 without TLS, and returns its port
// and the trailers of the requests that come.
func startHTTP2(t *testing.T) (port string, trailers <-chan http.Header) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan http.Header, 10)
	server := &http.Server{Protocols: onlyHTTP2(), Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Error(err)
		}
		got <- r.Trailer
	})}
	go func() { _ = server.Serve(l) }() // ends with Close
	t.Cleanup(func() { _ = server.Close() })
	return portOf(t, l), got
}

func onlyHTTP2() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p
}

// To an upstream that speaks HTTP/2 Envoy sends trailers on: without the names
// that are taken from headers, too, also where Envoy itself would let names with
// "_" pass.
func TestTrailers(t *testing.T) {
	f := filtertest.NewFixture(t)
	port, trailers := startHTTP2(t)
	c := f.Config(t, func(s *policydata.Source) {
		s.Issuers[0].ClaimHeaders = []policydata.ClaimHeader{{Header: "x-tenant", Claim: []string{"tenant", "id"}}}
	})
	b := envoytest.Static(t, hosttest.Module(t), port)
	b.AddCluster("http2", port, true)
	b.Add("http2", func(l *envoytest.Listener) {
		l.Configure(c.AppendJSON(nil))
		delete(l.Manager["common_http_protocol_options"].(map[string]any), "headers_with_underscores_action")
		l.Route()["route"].(map[string]any)["cluster"] = "http2"
	})
	envoy := envoytest.Start(t, b.Text())
	client := &http.Client{Transport: &http.Transport{Protocols: onlyHTTP2()}, Timeout: patience}
	for _, c := range []struct {
		rule, token    string
		sent, arrives  []string
		status         int
		reachesNothing bool
	}{
		{
			rule: "of a member", token: "{tenant}", status: 200,
			sent: []string{
				"X-Checksum", "X-Sallyport-User", "X_sallyport_user", "X-Sallyport-Groups", "X-Http-Method-Override", "X-Tenant", "X_tenant", "Grpc-Status",
			},
			arrives: []string{"Grpc-Status", "X-Checksum"},
		},
		{rule: "none but what is not allowed", token: "{tenant}", status: 200, sent: []string{"X-Sallyport-User"}},
		{rule: "no trailers", token: "{tenant}", status: 200},
		{rule: "of who may not", token: "{bob}", status: 403, sent: []string{"X-Sallyport-User"}, reachesNothing: true},
	} {
		t.Run(c.rule, func(t *testing.T) {
			r, err := http.NewRequest(http.MethodPost, "http://"+envoy.Address("http2")+"/workspaces/foo/x", io.NopCloser(strings.NewReader("body")))
			if err != nil {
				t.Fatal(err)
			}
			h := f.Request("", "", [2]string{"authorization", "Bearer " + c.token})
			r.Header.Set("authorization", h[len(h)-1][1])
			r.Trailer = http.Header{}
			for _, name := range c.sent {
				r.Trailer[name] = []string{"admin"}
			}
			answer, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
			if answer.StatusCode != c.status {
				t.Errorf("status %d, want %d", answer.StatusCode, c.status)
			}
			select {
			case got := <-trailers:
				maps.DeleteFunc(got, func(_ string, values []string) bool { return values == nil }) // announced only
				if diff := cmp.Diff(c.arrives, slices.Sorted(maps.Keys(got))); diff != "" || c.reachesNothing {
					t.Errorf("trailers (-want +got):\n%s", diff)
				}
			default:
				if !c.reachesNothing {
					t.Error("nothing reached the upstream")
				}
			}
		})
	}
}
