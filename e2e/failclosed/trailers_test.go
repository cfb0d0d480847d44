package failclosed

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/e2e/envoytest"
	"sallyport/e2e/hosttest"
	"sallyport/plugin/filtertest"
)

func http2() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p
}

// Trailers that can't be cleaned don't reach the upstream, which sees a request
// that is not whole. The client gets 503, or, where the upstream has answered
// before the end of the request, sees its stream end.
func TestTrailersThatCannotBeCleaned(t *testing.T) {
	var whole atomic.Int64
	broken := make(chan struct{}, 10)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Protocols: http2(), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/early") {
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
		}
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			whole.Add(1)
			return
		}
		broken <- struct{}{}
	})}
	go func() { _ = server.Serve(l) }() // ends with Close
	t.Cleanup(func() { _ = server.Close() })
	f := filtertest.NewFixture(t)
	b := envoytest.Static(t, hosttest.TrapModule(t), portOf(t, l))
	b.AddCluster("http2", portOf(t, l), true)
	c := f.Config(t, nil)
	b.Add("http2", func(l *envoytest.Listener) {
		l.Configure(c.AppendJSON(nil))
		l.Route()["route"].(map[string]any)["cluster"] = "http2"
	})
	envoy := envoytest.Start(t, b.Text())
	client := &http.Client{Transport: &http.Transport{Protocols: http2()}, Timeout: patience}
	token := f.Request("", "", [2]string{"authorization", "Bearer {eric}"})[4][1]

	// send sends a request whose end comes when rest is closed.
	send := func(path, trap string, rest <-chan struct{}) (*http.Response, error) {
		body, w := io.Pipe()
		r, err := http.NewRequest(http.MethodPost, "http://"+envoy.Address("http2")+path, body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("authorization", token)
		r.Trailer = http.Header{"X-Sallyport-User": {"admin"}, "X-Checksum": {"1"}}
		if trap != "" {
			r.Trailer.Set("X-Trap", trap)
		}
		go func() {
			_, _ = io.WriteString(w, "body")
			<-rest
			_ = w.Close()
		}()
		return client.Do(r)
	}
	now := make(chan struct{})
	close(now)

	answer, err := send("/workspaces/foo/x", "", now)
	if err != nil || answer.StatusCode != 200 || whole.Swap(0) != 1 {
		t.Fatalf("a request that is whole: %v, %v", answer, err)
	}
	t.Run("no answer yet", func(t *testing.T) {
		answer, err := send("/workspaces/foo/x", "trailers", now)
		if err != nil || answer.StatusCode != 503 {
			t.Errorf("got %v, %v", answer, err)
		}
		awaitBroken(t, broken)
	})
	t.Run("answered before", func(t *testing.T) {
		rest := make(chan struct{})
		answer, err := send("/workspaces/foo/early", "trailers", rest)
		if err != nil || answer.StatusCode != 200 {
			t.Fatalf("got %v, %v", answer, err)
		}
		close(rest)
		if _, err := io.ReadAll(answer.Body); err == nil {
			t.Error("the answer ended as if it were whole")
		}
		awaitBroken(t, broken)
	})
	if n := whole.Load(); n != 0 {
		t.Errorf("%d requests arrived whole", n)
	}
}

func awaitBroken(t *testing.T, broken <-chan struct{}) {
	t.Helper()
	select {
	case <-broken:
	case <-time.After(patience):
		t.Error("the upstream does not see the request end")
	}
}
