package wasmhost

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// echo answers with the request line and headers that reached it, and the body
// as it comes.
func echo(reached *atomic.Int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached.Add(1)
		fmt.Fprintf(w, "%s %s %s\n", r.Method, r.RequestURI, r.Host)
		for name, list := range r.Header {
			for _, v := range list {
				fmt.Fprintf(w, "%s: %s\n", name, v)
			}
		}
		_, _ = io.Copy(w, r.Body)
	})
}

type proxyTest struct {
	addr    string
	reached atomic.Int64
}

func startProxy(t *testing.T, opts ProxyOptions) *proxyTest {
	t.Helper()
	pt := &proxyTest{}
	upstream := httptest.NewServer(echo(&pt.reached))
	t.Cleanup(upstream.Close)
	u, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	h, err := NewReverseProxy(newPool(t, Options{}, "hello", 2), u, opts)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := NewServer(h)
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close() })
	pt.addr = ln.Addr().String()
	return pt
}

// send writes a raw request and reads the answer.
func (pt *proxyTest) send(t *testing.T, raw string) (*http.Response, string) {
	t.Helper()
	conn, err := net.Dial("tcp", pt.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, raw); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func get(target string, headers ...string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n" +
		strings.Join(append(headers, "", ""), "\r\n")
}

func TestProxyKeepsTheTarget(t *testing.T) {
	pt := startProxy(t, ProxyOptions{})
	tests := []struct{ rule, target, want string }{
		{"escapes and dot segments stay", "/a%2Fb/../c", "/a%2Fb/../c"},
		{"the query stays", "/x?a=%zz;b&&c=d?e", "/x?a=%zz;b&&c=d?e"},
		{"an empty query stays", "/x?", "/x?"},
		{"odd bytes stay", "/;v=1/\\/{x}|%41\xc3\xa9", "/;v=1/\\/{x}|%41\xc3\xa9"},
		{"an absolute target is taken apart", "http://a.example/b%2f./c?q", "/b%2f./c?q"},
		{"an absolute target without a path", "HTTP://a.example?q", "/?q"},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			resp, body := pt.send(t, get(tt.target, "x-do: pass"))
			if resp.StatusCode != 200 || !strings.HasPrefix(body, "GET "+tt.want+" a.example\n") {
				t.Errorf("the upstream saw %d %q, want %q", resp.StatusCode, body, tt.want)
			}
			_, body = pt.send(t, get(tt.target, "x-do: pairs"))
			wantContains(t, body, ":path="+tt.want+"\n")
		})
	}
}

func TestProxyRefuses(t *testing.T) {
	pt := startProxy(t, ProxyOptions{Timeout: time.Second})
	tests := []struct {
		rule, raw string
		status    int
	}{
		{"a trap", get("/", "x-do: panic"), 503},
		{"a pause that nobody ends", get("/", "x-do: pause"), 503},
		{"a target that would be written otherwise", get("//a.example/x", "x-do: pass"), 503},
		{"CONNECT", "CONNECT b.example:443 HTTP/1.1\r\nHost: b.example:443\r\nx-do: pass\r\n\r\n", 400},
		{"a foreign scheme", get("ftp://a.example/", "x-do: pass"), 400},
		{"credentials in the target", get("http://u:p@a.example/", "x-do: pass"), 400},
		{"headers that are too large", get("/", "x-do: pass", "x-large: "+strings.Repeat("x", maxHeaderBytes+8192)), 431},
		{"what has no header for the filter", get("/"), 500},
		{"HTTP/1.0 without a host", "GET / HTTP/1.0\r\nx-do: pass\r\n\r\n", 400},
		{"a header that was nominated for removal", get("/", "x-do: pass", "Connection: x-do"), 500},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			resp, body := pt.send(t, tt.raw)
			if resp.StatusCode != tt.status {
				t.Errorf("status %d, want %d", resp.StatusCode, tt.status)
			}
			if tt.status == 503 || tt.status == 400 {
				if got := resp.Header.Get("Content-Type"); got != "application/problem+json" {
					t.Errorf("content type %q", got)
				}
				wantContains(t, body, fmt.Sprintf(`"status":%d`, tt.status))
			}
			if n := pt.reached.Load(); n != 0 {
				t.Fatalf("%d requests reached the upstream", n)
			}
		})
	}
	if resp, _ := pt.send(t, get("/", "x-do: pass")); resp.StatusCode != 200 {
		t.Errorf("after all that: status %d, want 200", resp.StatusCode)
	}
}

// What a client sends after an upgrade would pass by the filter.
func TestProxyAsksForNoUpgrade(t *testing.T) {
	pt := startProxy(t, ProxyOptions{})
	for _, protocol := range []string{"websocket", "h2c", "foo"} {
		t.Run(protocol, func(t *testing.T) {
			raw := "GET / HTTP/1.1\r\nHost: a.example\r\nx-do: pass\r\nConnection: Upgrade, HTTP2-Settings, close\r\n" +
				"Upgrade: " + protocol + "\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
			resp, body := pt.send(t, raw)
			if resp.StatusCode != 200 {
				t.Errorf("status %d, want 200", resp.StatusCode)
			}
			for _, gone := range []string{"Upgrade:", "Connection:", "Http2-Settings:"} {
				if strings.Contains(body, gone) {
					t.Errorf("%s reached the upstream: %q", gone, body)
				}
			}
		})
	}
}

func TestProxyForwardsWhatTheFilterMade(t *testing.T) {
	pt := startProxy(t, ProxyOptions{})
	_, body := pt.send(t, get("/", "x-do: mutate", "x-remove: 1", "X-Remove: 2", "x-replace: old", "x-multi: 1", "x-multi: 2",
		"X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.1"))
	for _, want := range []string{"X-Added: one\nX-Added: two\n", "X-Replace: new\n", "X-Multi: 1\nX-Multi: 2\n", "X-Forwarded-For: 127.0.0.1\n"} {
		wantContains(t, body, want)
	}
	for _, gone := range []string{"X-Remove", "old", "192.0.2.1", "Accept-Encoding"} {
		if strings.Contains(body, gone) {
			t.Errorf("%s reached the upstream: %q", gone, body)
		}
	}
}

func TestProxyShowsEachHeaderLine(t *testing.T) {
	pt := startProxy(t, ProxyOptions{})
	_, body := pt.send(t, get("/", "x-do: pairs", "x-r: a", "X-R: b", "Authorization: a", "Authorization: b"))
	wantContains(t, body, "x-r=a\nx-r=b\n")
	wantContains(t, body, "authorization=a,b\n")
	wantContains(t, body, ":authority=a.example\n")
	wantContains(t, body, ":method=GET\n:scheme=http\n")
}

func TestProxyLocalResponse(t *testing.T) {
	var observed atomic.Int64
	pt := startProxy(t, ProxyOptions{Observe: func(*http.Request, Result) { observed.Add(1) }})
	resp, body := pt.send(t, get("/", "x-do: config"))
	if resp.StatusCode != 200 || body != "hello" || pt.reached.Load() != 0 {
		t.Errorf("%d %q, upstream reached %d times", resp.StatusCode, body, pt.reached.Load())
	}
	if got := resp.Header.Values("X-Multi"); len(got) != 2 || resp.Header.Get("Content-Type") != "text/x-probe" {
		t.Errorf("headers %v", resp.Header)
	}
	if observed.Load() != 1 {
		t.Errorf("observed %d decisions, want 1", observed.Load())
	}
}

func TestProxyStreamsBodies(t *testing.T) {
	pt := startProxy(t, ProxyOptions{})
	pr, pw := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+pt.addr+"/", pr)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Do", "pass")
	done := make(chan string)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			done <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		done <- fmt.Sprint(string(body), err)
	}()
	for range 3 {
		if _, err := io.WriteString(pw, "part "); err != nil {
			t.Fatal(err)
		}
	}
	if err := pw.Close(); err != nil {
		t.Fatal(err)
	}
	wantContains(t, <-done, "part part part ")
}

func TestProxyUpstreamIsDown(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &url.URL{Scheme: "http", Host: ln.Addr().String()}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	h, err := NewReverseProxy(newPool(t, Options{}, "", 1), u, ProxyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("X-Do", "pass")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusBadGateway {
		t.Errorf("status %d, want 502", w.Code)
	}
	for _, bad := range []string{"", "ftp://x", "http://"} {
		if u, err := url.Parse(bad); err == nil {
			if _, err := NewReverseProxy(nil, u, ProxyOptions{}); err == nil {
				t.Errorf("the upstream %q was taken", bad)
			}
		}
	}
}
