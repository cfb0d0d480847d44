package streams

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"sallyport/e2e/envoytest"
	"sallyport/plugin/filtertest"
	"sallyport/policydata"
)

// proxy is one Envoy with listeners that differ in what they let through.
type proxy struct {
	*envoytest.Envoy
	f  *filtertest.Fixture
	up *upstream
}

// upgrade answers an upgrade where it is asked for one on a path that has
// "socket" in it.
func upgrade(head string) string {
	head = strings.ToLower(head)
	line, _, _ := strings.Cut(head, "\r\n")
	if strings.Contains(head, "\r\nupgrade: websocket") && strings.Contains(line, "socket") {
		return "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello"
	}
	if strings.Contains(line, "redirect") {
		return "HTTP/1.1 302 Found\r\nlocation: http://api.example.com/workspaces/foo/x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
	}
	if strings.Contains(line, "slow") {
		time.Sleep(300 * time.Millisecond) // in which what is sent early would come
	}
	return yes(head)
}

// Listeners.
const (
	printed   = "as we print it"
	upgrades  = "upgrades"     // WebSocket and CONNECT are let through
	continues = "100-continue" // the upstream says whether to go on
	redirects = "redirects"    // Envoy itself follows the upstream's redirects
)

// gets adds a policy that lets everybody GET below /get.
func gets(s *policydata.Source) {
	s.Policies = append(s.Policies, policydata.Policy{Name: "zz-get", Rules: []policydata.Rule{
		{Effect: policydata.EffectAllow, Methods: []string{"GET"}, Paths: []string{"/get/**"}},
	}})
	for i := range s.Groups {
		s.Groups[i].Policies = append(s.Groups[i].Policies, "zz-get")
	}
}

func start(t *testing.T) *proxy {
	t.Helper()
	p := &proxy{f: filtertest.NewFixture(t), up: startUpstream(t, upgrade)}
	c := p.f.Config(t, gets)
	b := static(t, p.up)
	for name, change := range map[string]func(l *envoytest.Listener){
		printed: func(*envoytest.Listener) {},
		upgrades: func(l *envoytest.Listener) {
			l.Manager["upgrade_configs"] = []any{
				map[string]any{"upgrade_type": "websocket"},
				map[string]any{"upgrade_type": "CONNECT"},
			}
			l.Manager["http2_protocol_options"].(map[string]any)["allow_connect"] = true
			l.Route()["route"].(map[string]any)["timeout"] = "0s"
			host := l.Manager["route_config"].(map[string]any)["virtual_hosts"].([]any)[0].(map[string]any)
			host["routes"] = append([]any{map[string]any{
				"match": map[string]any{"connect_matcher": map[string]any{}},
				"route": map[string]any{"cluster": "upstream"},
			}}, host["routes"].([]any)...)
		},
		continues: func(l *envoytest.Listener) { l.Manager["proxy_100_continue"] = true },
		redirects: func(l *envoytest.Listener) {
			l.Route()["route"].(map[string]any)["internal_redirect_policy"] = map[string]any{}
		},
	} {
		b.Add(name, func(l *envoytest.Listener) {
			l.Configure(c.AppendJSON(nil))
			change(l)
		})
	}
	p.Envoy = envoytest.Start(t, b.Text())
	return p
}

func TestStreams(t *testing.T) {
	p := start(t)
	t.Run("bodies", p.testBodies)
	t.Run("100-continue", p.testContinue)
	t.Run("upgrades", p.testUpgrades)
	t.Run("CONNECT", p.testConnect)
	t.Run("HTTP2", p.testHTTP2)
	t.Run("redirects", p.testRedirects)
	if rest := p.up.take(); rest != "" {
		t.Errorf("this came late:\n%.300s", rest)
	}
}

// denied wants a status, and nothing at the upstream.
func (p *proxy) denied(t *testing.T, answer *http.Response, status int) {
	t.Helper()
	if answer.StatusCode != status {
		t.Errorf("status %d, want %d", answer.StatusCode, status)
	}
	if got := p.up.take(); got != "" {
		t.Errorf("this reached the upstream:\n%.300s", got)
	}
}

// No byte of the body of a request that is denied reaches the upstream.
func (p *proxy) testBodies(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", 1<<19) // 8 MiB
	for _, c := range []struct{ name, token, headers, body string }{
		{"length", "{bob}", "content-length: 8388608", large},
		{"length, no token", "", "content-length: 8388608", large},
		{"chunks", "{bob}", "transfer-encoding: chunked", chunk(large) + "0\r\n\r\n"},
		{"chunks and trailers", "{bob}", "transfer-encoding: chunked", chunk("x") + "0\r\nauthorization: Bearer x\r\n\r\n"},
		{"body that never ends", "{bob}", "content-length: 1000000", "x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := dial(t, p.Address(printed))
			conn.head(p.f, "POST /workspaces/foo/x", c.token, c.headers)
			go conn.try(c.body)
			status := 403
			if c.token == "" {
				status = 401
			}
			p.denied(t, conn.response(), status)
		})
	}
	t.Run("of who may", func(t *testing.T) {
		conn := dial(t, p.Address(printed))
		conn.head(p.f, "POST /workspaces/foo/x", "{eric}", "transfer-encoding: chunked")
		conn.write(chunk("bytes") + "0\r\nx-sallyport-user: admin\r\n\r\n")
		if got := conn.response().StatusCode; got != 200 {
			t.Errorf("status %d", got)
		}
		if got := p.up.take(); !strings.Contains(got, "bytes") || strings.Contains(got, "x-sallyport-user") {
			t.Errorf("the upstream got:\n%s", got)
		}
	})
}

// Envoy itself says 100 before it asks the filter, unless it is told to leave that
// to the upstream. Nothing reaches the upstream either way.
func (p *proxy) testContinue(t *testing.T) {
	for listener, first := range map[string]int{printed: 100, continues: 403} {
		t.Run(listener, func(t *testing.T) {
			conn := dial(t, p.Address(listener))
			conn.head(p.f, "POST /workspaces/foo/x", "{bob}", "expect: 100-continue", "content-length: 5")
			answer := conn.response()
			if answer.StatusCode != first {
				t.Errorf("first answer %d, want %d", answer.StatusCode, first)
			}
			if answer.StatusCode == 100 {
				conn.try("bytes")
				answer = conn.response()
			}
			p.denied(t, answer, 403)
		})
	}
}

var webSocket = []string{
	"connection: upgrade", "upgrade: websocket", "sec-websocket-version: 13", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
}

func (p *proxy) testUpgrades(t *testing.T) {
	t.Run("not let through", func(t *testing.T) {
		conn := dial(t, p.Address(printed))
		conn.head(p.f, "GET /workspaces/foo/socket", "{eric}", webSocket...)
		p.denied(t, conn.response(), 403)
	})
	for _, c := range []struct {
		rule, line, token string
		status            int
	}{
		{"is decided by its path", "GET /workspaces/foo/socket", "{bob}", 403},
		{"needs a token", "GET /workspaces/foo/socket", "", 401},
		{"is decided by its method", "POST /get/socket", "{eric}", 403},
		{"has no path with two readings", "GET /get/../workspaces/foo/socket", "{eric}", 400},
	} {
		t.Run(c.rule, func(t *testing.T) {
			conn := dial(t, p.Address(upgrades))
			conn.head(p.f, c.line, c.token, webSocket...)
			conn.try("early data")
			p.denied(t, conn.response(), c.status)
		})
	}
	for _, path := range []string{"/workspaces/foo/socket", "/get/socket"} {
		t.Run("is let through as a GET: "+path, func(t *testing.T) {
			conn := dial(t, p.Address(upgrades))
			conn.head(p.f, "GET "+path, "{eric}", append(webSocket, "x-sallyport-user: admin")...)
			if got := conn.response().StatusCode; got != 101 {
				t.Fatalf("status %d, want 101", got)
			}
			conn.write("through the tunnel")
			hello := make([]byte, 5)
			if _, err := io.ReadFull(conn.r, hello); err != nil || string(hello) != "hello" {
				t.Errorf("the upstream says %q, %v", hello, err)
			}
			p.arrives(t, "through the tunnel", "x-sallyport-user")
		})
	}
	p.testEarlyData(t)
}

// arrives waits for text at the upstream, and wants another not to be there.
func (p *proxy) arrives(t *testing.T, text, absent string) {
	t.Helper()
	var all string
	p.Await(text, patience, func() error {
		if all += p.up.take(); !strings.Contains(all, text) {
			return errNotYet
		}
		return nil
	})
	if strings.Contains(all, absent) {
		t.Errorf("%q reached the upstream:\n%s", absent, all)
	}
}

// What a client sends behind the head of an upgrade, before the upstream has
// agreed to it, would be a request to one that does not: Envoy holds it back.
func (p *proxy) testEarlyData(t *testing.T) {
	t.Run("early data", func(t *testing.T) {
		conn := dial(t, p.Address(upgrades))
		conn.head(p.f, "GET /get/slow", "", webSocket...)
		conn.try("GET /workspaces/foo/x HTTP/1.1\r\nhost: a\r\n\r\n")
		if got := conn.response().StatusCode; got != 200 {
			t.Errorf("status %d, want that of an upstream which does not upgrade", got)
		}
		p.arrives(t, "GET /get/slow", "/workspaces/foo")
	})
}

func (p *proxy) testConnect(t *testing.T) {
	for listener, statuses := range map[string][2]int{printed: {400, 400}, upgrades: {400, 400}} {
		for i, target := range []string{"upstream.example:443", "/workspaces/foo/x"} {
			t.Run(listener+": "+target, func(t *testing.T) {
				conn := dial(t, p.Address(listener))
				conn.head(p.f, "CONNECT "+target, "{eric}")
				conn.try("early data")
				p.denied(t, conn.response(), statuses[i])
			})
		}
	}
}

// A redirect that Envoy follows is a request of its own, and is decided as one.
func (p *proxy) testRedirects(t *testing.T) {
	for token, status := range map[string]int{"{eric}": 200, "{bob}": 403, "": 401} {
		t.Run(token, func(t *testing.T) {
			conn := dial(t, p.Address(redirects))
			conn.head(p.f, "GET /get/redirect", token)
			if got := conn.response().StatusCode; got != status {
				t.Errorf("status %d, want %d", got, status)
			}
			if got := p.up.take(); strings.Contains(got, "GET /workspaces/foo/x") != (status == 200) {
				t.Errorf("the upstream got:\n%s", got)
			}
		})
	}
}

// ask2 sends a stream in HTTP/2 that is not ended, and returns the status, 0 if
// it was reset, and what comes behind.
func (p *proxy) ask2(t *testing.T, listener string, fields [][2]string, data string) (status, text string) {
	t.Helper()
	conn := dial(t, p.Address(listener))
	var block, out bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, h := range fields {
		if err := encoder.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}); err != nil {
			t.Fatal(err)
		}
	}
	out.WriteString(http2.ClientPreface)
	w := http2.NewFramer(&out, nil)
	err := w.WriteSettings()
	if err == nil {
		err = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
	}
	if err == nil && data != "" {
		err = w.WriteData(1, false, []byte(data))
	}
	if err != nil {
		t.Fatal(err)
	}
	conn.write(out.String())
	r := http2.NewFramer(io.Discard, conn.r)
	r.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		frame, err := r.ReadFrame()
		if err != nil {
			return "reset", ""
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			status = frame.PseudoValue("status")
			if status != "200" || frame.StreamEnded() {
				return status, text
			}
		case *http2.DataFrame:
			return status, string(frame.Data())
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return "reset", text
		}
	}
}

func (p *proxy) testHTTP2(t *testing.T) {
	token := func(name string) [2]string {
		h := p.f.Request("", "", [2]string{"authorization", "Bearer " + name})
		return h[len(h)-1]
	}
	socket := func(path string, more ...[2]string) [][2]string {
		return append([][2]string{
			{":method", "CONNECT"},
			{":protocol", "websocket"},
			{":scheme", "http"},
			{":path", path},
			{":authority", "api.example.com"},
			{"sec-websocket-version", "13"},
		}, more...)
	}
	connect := [][2]string{{":method", "CONNECT"}, {":authority", "upstream.example:443"}, token("{eric}")}
	for _, c := range []struct {
		rule, listener string
		fields         [][2]string
		status         string
	}{
		{"WebSocket that is not let through", printed, socket("/workspaces/foo/socket", token("{eric}")), "reset"},
		{"WebSocket is decided by its path", upgrades, socket("/workspaces/foo/socket", token("{bob}")), "403"},
		{"WebSocket needs a token", upgrades, socket("/workspaces/foo/socket"), "401"},
		{"WebSocket has no path with two readings", upgrades, socket("/get/..%2fworkspaces/foo/socket", token("{eric}")), "400"},
		{"CONNECT that is not let through", printed, connect, "400"},
		{"CONNECT has no path that a rule could allow", upgrades, connect, "400"},
		{"CONNECT with another protocol", upgrades, append([][2]string{{":protocol", "connect-udp"}}, socket("/get/socket", token("{eric}"))...), "reset"},
		{"body that is denied", printed, [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", "/workspaces/foo/x"}, {":authority", "a"}, token("{bob}")}, "403"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			status, _ := p.ask2(t, c.listener, c.fields, "early data")
			if status != c.status {
				t.Errorf("status %s, want %s", status, c.status)
			}
			if got := p.up.take(); got != "" {
				t.Errorf("this reached the upstream:\n%.300s", got)
			}
		})
	}
	t.Run("WebSocket is let through as a GET", func(t *testing.T) {
		status, text := p.ask2(t, upgrades, socket("/get/socket", token("{eric}"), [2]string{"x-sallyport-user", "admin"}), "")
		if status != "200" || text != "hello" {
			t.Errorf("status %s, the upstream says %q", status, text)
		}
		p.arrives(t, "GET /get/socket HTTP/1.1", "x-sallyport-user")
	})
}
