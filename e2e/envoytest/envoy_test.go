package envoytest_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sallyport/e2e/envoytest"
)

const bootstrap = `
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  listeners:
  - name: first
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: first
          access_log:
          - name: out
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog
              log_format: {json_format: {path: "%%PATH(NQ)%%", status: "%%RESPONSE_CODE%%"}}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - {match: {prefix: /direct}, direct_response: {status: 418}}
              - {match: {prefix: /}, route: {cluster: echo}}
          http_filters:
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: echo
    type: STATIC
    load_assignment: {cluster_name: echo, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %s}}}}]}]}
`

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

func TestEnvoy(t *testing.T) {
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "upstream saw %s", r.URL)
	}))
	t.Cleanup(echo.Close)
	_, port, err := net.SplitHostPort(echo.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	e := envoytest.Start(t, fmt.Sprintf(bootstrap, port))
	url := "http://" + e.Address("first")

	before := e.CPU()
	if status, _ := get(t, url+"/direct"); status != http.StatusTeapot {
		t.Errorf("direct response: status %d", status)
	}
	if status, body := get(t, url+"/a?b"); status != http.StatusOK || body != "upstream saw /a?b" {
		t.Errorf("echo: %d %q", status, body)
	}

	log := e.AccessLog(2)
	if len(log) != 2 || log[0]["path"] != "/direct" || log[0]["status"] != 418.0 || log[1]["path"] != "/a" {
		t.Errorf("access log %v", log)
	}
	stats := e.Stats()
	if stats["http.first.downstream_rq_total"] != 2 || stats["cluster.echo.upstream_rq_total"] != 1 {
		t.Errorf("stats: %d requests, %d at the upstream", stats["http.first.downstream_rq_total"], stats["cluster.echo.upstream_rq_total"])
	}
	if cpu := e.CPU() - before; cpu <= 0 {
		t.Errorf("CPU time did not grow: %v", cpu)
	}
	if rss := e.RSS(); rss < 10<<20 {
		t.Errorf("resident memory %d bytes", rss)
	}
	if strings.Contains(e.Log(), "[critical]") {
		t.Errorf("log:\n%s", e.Log())
	}
}

func TestTwoEnvoysRunAtOnceAndStopAlone(t *testing.T) {
	text := fmt.Sprintf(bootstrap, "1")
	a, b := envoytest.Start(t, text), envoytest.Start(t, text, "--concurrency", "1")
	if a.Admin() == b.Admin() || a.Address("first") == b.Address("first") {
		t.Error("both have one address")
	}
	a.Stop()
	if status, _ := get(t, "http://"+b.Address("first")+"/direct"); status != http.StatusTeapot {
		t.Errorf("after the other one stopped: status %d", status)
	}
	if _, err := http.Get("http://" + a.Admin() + "/ready"); err == nil {
		t.Error("the stopped one still answers")
	}
}
