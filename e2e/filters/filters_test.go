// Package filters tests several filters of one Envoy: each with settings of its
// own, in VMs that they share. It runs the table of plugin/filtertest.
package filters

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/e2e/envoytest"
	"sallyport/e2e/hosttest"
	"sallyport/plugin/filtertest"
	"sallyport/policydata"
	"sallyport/policydata/pluginconfig"
)

// upstream answers with the head that it got.
func upstream(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head := [][2]string{{":path", r.RequestURI}}
		for name, values := range r.Header {
			for _, v := range values {
				head = append(head, [2]string{name, v})
			}
		}
		w.Header().Set("X-Upstream", "reached")
		_ = json.NewEncoder(w).Encode(head)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// bootstrap is envoy/static.yaml, to which listeners for filters are added that
// have the same vm_id and code. It lets pass what the tests send, where Envoy
// itself would refuse it.
func bootstrap(t *testing.T) *envoytest.Bootstrap {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(envoytest.Root(t), "envoy", "static.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(upstream(t))
	if err != nil {
		t.Fatal(err)
	}
	for old, value := range map[string]string{
		"port_value: 10000":                        "port_value: 0",
		"port_value: 9901":                         "port_value: 0",
		"port_value: 8080":                         "port_value: " + port,
		"/etc/sallyport/sallyport.wasm":            hosttest.Module(t),
		"DROP_HEADER":                              "ALLOW",
		"max_headers_count: 100":                   "max_headers_count: 2000",
		"max_request_headers_kb: 64":               "max_request_headers_kb: 2048",
		"per_connection_buffer_limit_bytes: 65536": "per_connection_buffer_limit_bytes: 4194304",
	} {
		if !strings.Contains(string(text), old) {
			t.Fatalf("envoy/static.yaml has no %q", old)
		}
		text = []byte(strings.ReplaceAll(string(text), old, value))
	}
	return envoytest.ParseBootstrap(t, string(text))
}

// proxy is Envoy with several filters.
type proxy struct {
	*envoytest.Envoy
	addresses map[string]string // by filter
	logged    int               // lines of the access log that were read
}

func start(t *testing.T, filters map[string][]byte) *proxy {
	t.Helper()
	b := bootstrap(t)
	for name, config := range filters {
		b.Add(name, func(l *envoytest.Listener) { l.Configure(config) })
	}
	p := &proxy{Envoy: envoytest.Start(t, b.Text()), addresses: map[string]string{}}
	for name := range filters {
		p.addresses[name] = p.Address(name)
	}
	return p
}

// request sends a request with the very bytes of its head to a filter.
func (p *proxy) request(t *testing.T, filter string, head [][2]string) filtertest.Outcome {
	t.Helper()
	out, err := p.exchange(filter, head)
	if err != nil {
		t.Fatal(err)
	}
	lines := p.AccessLog(p.logged + 1)
	p.logged++
	out.FilterState, _ = lines[p.logged-1]["sallyport"].(string)
	return out
}

func (p *proxy) exchange(filter string, head [][2]string) (out filtertest.Outcome, err error) {
	conn, err := net.DialTimeout("tcp", p.addresses[filter], 5*time.Second)
	if err != nil {
		return out, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return out, err
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s HTTP/1.1\r\nhost: %s\r\n", head[0][1], head[1][1], head[3][1])
	for _, h := range head[4:] { // behind the pseudo-headers
		fmt.Fprintf(&text, "%s: %s\r\n", h[0], h[1])
	}
	text.WriteString("content-length: 0\r\nconnection: close\r\n\r\n")
	if _, err := io.WriteString(conn, text.String()); err != nil {
		return out, err
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return out, err
	}
	body, err := io.ReadAll(answer.Body)
	if err := errors.Join(err, answer.Body.Close()); err != nil {
		return out, err
	}
	if out.Allowed = answer.Header.Get("X-Upstream") != ""; out.Allowed {
		return out, json.Unmarshal(body, &out.Headers)
	}
	out.Status, out.Body = answer.StatusCode, string(body)
	for name, values := range answer.Header {
		out.Answer = append(out.Answer, [2]string{name, strings.Join(values, "|")})
	}
	return out, nil
}

// Each setting of the table is a filter of its own: token in a header or a
// cookie, token removed or not, another snapshot or none.
func TestTableInEnvoy(t *testing.T) {
	f := filtertest.NewFixture(t)
	filters := map[string][]byte{}
	name := func(c *filtertest.Case) string { return "filter " + c.Setting }
	// No request without a path gets to a filter in Envoy.
	cases := slices.DeleteFunc(slices.Clone(filtertest.Cases(t)), func(c filtertest.Case) bool { return c.Target == "" })
	for i := range cases {
		config, err := pluginconfig.Parse(f.Setting(t, cases[i].Setting))
		if err != nil {
			t.Fatal(err)
		}
		filters[name(&cases[i])] = config.AppendJSON(nil)
	}
	if len(filters) < 5 {
		t.Fatalf("%d filters", len(filters))
	}
	p := start(t, filters)
	for i := range cases {
		c := &cases[i]
		t.Run(c.Name, func(t *testing.T) { f.Check(t, c, p.request(t, name(c), f.Headers(c))) })
	}
	f.CheckNoToken(t, p.Log())
}

// Filters of one VM with policies of their own, under generations of their own:
// one's newer snapshot is nothing to the other.
func TestFiltersHaveTheirOwnPolicies(t *testing.T) {
	f := filtertest.NewFixture(t)
	config := func(generation uint64, open bool) []byte {
		c := f.Config(t, func(s *policydata.Source) {
			s.Generation = generation
			if !open {
				s.Groups = s.Groups[:1]
			}
		})
		return c.AppendJSON(nil)
	}
	p := start(t, map[string][]byte{"open": config(3, true), "closed": config(9, false)})
	for range 8 { // to both workers
		for filter, want := range map[string]string{"open": `"allowed" 3`, "closed": `"no_token" 9`} {
			got := p.request(t, filter, f.Request("GET", "/healthz"))
			var state struct{ Reason, Generation string }
			if err := json.Unmarshal([]byte(got.FilterState), &state); err != nil {
				t.Fatal(err)
			}
			if s := fmt.Sprintf("%q %s", state.Reason, state.Generation); s != want || got.Allowed != (filter == "open") {
				t.Errorf("%s: %s, want %s", filter, s, want)
			}
		}
	}
}

// One filter's policy changes with each push, while requests come to it and to
// others in its VM: each request is decided by the policy of its own filter, as it
// was at the generation that the decision names.
func TestPushesToOneFilterLeaveTheOthersAlone(t *testing.T) {
	const pushes = 25
	f := filtertest.NewFixture(t)
	// /healthz is public in odd generations.
	config := func(generation uint64) []byte {
		c := f.Config(t, func(s *policydata.Source) {
			s.Generation = generation
			if generation%2 == 0 {
				s.Groups = s.Groups[:1]
			}
		})
		return c.AppendBinary(nil)
	}
	b := bootstrap(t)
	discoveries := map[string]*envoytest.Discovery{}
	for _, name := range []string{"changes", "open", "closed"} {
		b.Add(name, func(l *envoytest.Listener) { discoveries[name] = l.Discover(t) })
	}
	p := &proxy{Envoy: envoytest.Start(t, b.Text()), addresses: map[string]string{}}
	for name, d := range discoveries {
		p.addresses[name] = p.Address(name)
		d.Push(config(map[string]uint64{"changes": 1, "open": 1001, "closed": 2000}[name]), nil)
	}
	names, asked := slices.Sorted(maps.Keys(discoveries)), 0
	p.Await("the first policies", 30*time.Second, func() error {
		for range 12 * len(discoveries) { // to both workers
			name := names[asked%len(names)]
			asked++
			if out, err := p.exchange(name, request(f, name)); err != nil || out.Status == http.StatusServiceUnavailable {
				return fmt.Errorf("%s: %d, %w", name, out.Status, err)
			}
		}
		return nil
	})
	before := len(p.AccessLog(asked))
	asked = p.whilePushing(t, f, func() {
		for generation := uint64(2); generation <= pushes; generation++ {
			taken := discoveries["changes"].Taken(p.Envoy)
			discoveries["changes"].Push(config(generation), nil)
			p.Await("push", 30*time.Second, func() error {
				if discoveries["changes"].Taken(p.Envoy) == taken {
					return errors.New("not taken")
				}
				return nil
			})
		}
	})
	seen := map[string]map[string]bool{"changes": {}, "open": {}, "closed": {}}
	for _, line := range p.AccessLog(before + asked)[before:] {
		checkLine(t, line, seen)
	}
	if n := len(seen["changes"]); n < pushes/2 || len(seen["open"]) != 1 || len(seen["closed"]) != 1 {
		t.Errorf("generations that decided: %d of the one that changes, %v, %v", n, seen["open"], seen["closed"])
	}
}

// request asks a filter for /healthz, which tells the filter as its host.
func request(f *filtertest.Fixture, filter string) [][2]string {
	head := f.Request("GET", "/healthz")
	head[3][1] = filter
	return head
}

// whilePushing asks all filters, from several clients each, until push returns. It
// returns how many requests there were.
func (p *proxy) whilePushing(t *testing.T, f *filtertest.Fixture, push func()) int {
	t.Helper()
	stop := make(chan struct{})
	var clients sync.WaitGroup
	var asked atomic.Int64
	for name := range p.addresses {
		for range 2 {
			clients.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if _, err := p.exchange(name, request(f, name)); err != nil {
						t.Errorf("%s: %v", name, err)
						return
					}
					asked.Add(1)
				}
			})
		}
	}
	push()
	close(stop)
	clients.Wait()
	return int(asked.Load())
}

// checkLine wants a decision to be that of its filter's generation.
func checkLine(t *testing.T, line map[string]any, seen map[string]map[string]bool) {
	t.Helper()
	filter, _ := line["host"].(string)
	state, _ := line["sallyport"].(string)
	var d struct{ Reason, Generation string }
	if err := json.Unmarshal([]byte(state), &d); err != nil || seen[filter] == nil {
		t.Fatalf("line %v: %v", line, err)
	}
	generation, err := strconv.Atoi(d.Generation)
	if err != nil {
		t.Fatal(err)
	}
	want := "no_token"
	if generation%2 == 1 {
		want = "allowed"
	}
	mine := map[string]bool{"changes": generation <= 1000, "open": generation == 1001, "closed": generation == 2000}[filter]
	if d.Reason != want || !mine || (want == "allowed") != (line["status"] == 200.0) {
		t.Errorf("%s: %v, %s", filter, line["status"], state)
	}
	seen[filter][d.Generation] = true
}
