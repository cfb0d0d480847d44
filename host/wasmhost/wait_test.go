package wasmhost

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// withHost returns Options with the cluster "host", served by a handler.
func withHost(t *testing.T, handler http.HandlerFunc) Options {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return Options{Clusters: map[string]Cluster{"host": {URL: u}}}
}

// answer is the outcome of a request on a goroutine of its own.
type answer struct {
	result Result
	err    error
}

func send(ctx context.Context, r requester, do string, more ...[2]string) <-chan answer {
	c := make(chan answer, 1)
	go func() {
		result, err := r.Request(ctx, request(do, more...), true)
		c <- answer{result, err}
	}()
	return c
}

// waitFor polls until the probe's answer is the wanted one; that it never comes
// ends the test by its deadline.
func waitFor(t *testing.T, r requester, do, want string) {
	t.Helper()
	for ask(t, r, do) != want {
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}

func wantContinue(t *testing.T, a answer) {
	t.Helper()
	if a.err != nil || a.result.Verdict != VerdictContinue {
		t.Errorf("verdict %d, %v, want to continue", a.result.Verdict, a.err)
	}
}

func TestHTTPCall(t *testing.T) {
	opts := withHost(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) != "question" || r.Host != "sallyport" || r.Method != http.MethodPost || r.Header.Get("X-Sent") != "1" {
			t.Errorf("the host got %s %s %v %q, %v", r.Method, r.Host, r.Header, body, err)
		}
		w.Header()["Date"] = nil
		switch r.RequestURI {
		case "/go":
			w.WriteHeader(http.StatusNoContent)
		case "/text?a=%2F":
			w.Header().Set("X-Two", "1")
			w.Header().Add("X-Two", "2")
			_, _ = io.WriteString(w, "text")
		case "/trailers":
			w.Header().Set("Trailer", "X-After")
			_, _ = io.WriteString(w, "text")
			w.Header().Set("X-After", "after")
		case "/large":
			_, _ = w.Write(make([]byte, maxCallResponseBody+1))
		case "/cut":
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "cut")
		case "/many":
			for i := range maxPairs {
				w.Header().Set("X-"+strconv.Itoa(i), "1")
			}
		default:
			t.Errorf("the host was asked for %s", r.RequestURI)
		}
	})
	in := newInstance(t, opts, "")
	for _, tt := range []struct{ rule, path, want string }{
		{
			"headers, body and a target with its escapes", "/text?a=%2F",
			":status=200\ncontent-length=4\ncontent-type=text/plain; charset=utf-8\nx-two=1\nx-two=2\ntext",
		},
		{"trailers", "/trailers", ":status=200\ncontent-type=text/plain; charset=utf-8\ntext\nx-after=after"},
		{"a body that is too large is no answer", "/large", "no answer"},
		{"a body that was cut is no answer", "/cut", "no answer"},
		{"too many headers are no answer", "/many", "no answer"},
		{"a path that is none can't be asked for", "none", "wait: error status returned by host: bad argument"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			if got := ask(t, in, "wait "+tt.path); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	t.Run("the request goes on with the changes of the later callback", func(t *testing.T) {
		a := <-send(t.Context(), in, "wait /go")
		wantContinue(t, a)
		wantValues(t, a.result.Headers, "x-called", "yes")
	})
}

func TestHTTPCallFails(t *testing.T) {
	held := make(chan struct{})
	opts := withHost(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-held:
		case <-r.Context().Done():
		}
	})
	t.Cleanup(func() { close(held) })
	in := newInstance(t, opts, "")
	t.Run("a timeout is answered with 504, as by Envoy", func(t *testing.T) {
		got := ask(t, in, "wait /slow", [2]string{"x-timeout", "20"})
		if !strings.HasPrefix(got, ":status=504\n") || !strings.HasSuffix(got, "\nupstream request timeout") {
			t.Errorf("got %q", got)
		}
	})
	t.Run("no connection is answered with 503, as by Envoy", func(t *testing.T) {
		gone := httptest.NewServer(nil)
		u, err := url.Parse(gone.URL)
		if err != nil {
			t.Fatal(err)
		}
		gone.Close()
		got := ask(t, newInstance(t, Options{Clusters: map[string]Cluster{"host": {URL: u}}}, ""), "wait /")
		if !strings.HasPrefix(got, ":status=503\n") {
			t.Errorf("got %q", got)
		}
	})
	t.Run("an unknown cluster is a bad argument", func(t *testing.T) {
		if got := ask(t, newInstance(t, Options{}, ""), "wait /"); got != "wait: error status returned by host: bad argument" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("a VM has a bounded number of calls", func(t *testing.T) {
		if got := ask(t, in, "calls"); got != strconv.Itoa(maxCalls) {
			t.Errorf("%s calls, want %d", got, maxCalls)
		}
	})
	t.Run("they end with the configuration that made them", func(t *testing.T) {
		if err := in.Reconfigure([]byte("next")); err != nil {
			t.Fatal(err)
		}
		if got := ask(t, in, "calls"); got != strconv.Itoa(maxCalls) {
			t.Errorf("then %s calls, want %d", got, maxCalls)
		}
	})
	for _, bad := range []Cluster{{}, {URL: &url.URL{Scheme: "ftp", Host: "a"}}, {URL: &url.URL{Scheme: "http"}}} {
		if _, err := NewRuntime(t.Context(), Options{Clusters: map[string]Cluster{"host": bad}}); err == nil {
			t.Errorf("the cluster %+v was taken", bad)
		}
	}
}

// Requests that are paused don't hold the one instance from others, and each
// gets its own answer.
func TestPausedRequestsShareAnInstance(t *testing.T) {
	const clients = 20
	opts := withHost(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RequestURI) })
	p := newPool(t, opts, "", 1)
	parked := send(t.Context(), p, "park")
	waitFor(t, p, "parked", "1")
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			path := "/" + strconv.Itoa(i)
			a := <-send(t.Context(), p, "wait "+path)
			if a.err != nil || !strings.HasSuffix(string(a.result.Local.Body), "\n"+path) {
				t.Errorf("%s was answered %+v, %v", path, a.result.Local, a.err)
			}
		})
	}
	wg.Wait()
	if err := p.Configure(t.Context(), []byte("release")); err != nil {
		t.Fatal(err)
	}
	wantContinue(t, <-parked)
}

func TestClientGoesAwayWhilePaused(t *testing.T) {
	late := make(chan struct{})
	opts := withHost(t, func(http.ResponseWriter, *http.Request) { <-late })
	var logs strings.Builder
	opts.Logger = slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelInfo}))
	in := newInstance(t, opts, "")
	ctx, cancel := context.WithCancel(t.Context())
	called, parked := send(ctx, in, "wait /late"), send(ctx, in, "park")
	waitFor(t, in, "parked", "1")
	cancel()
	for _, c := range []<-chan answer{called, parked} {
		if a := <-c; !errors.Is(a.err, context.Canceled) || a.result.Verdict != 0 {
			t.Errorf("verdict %d, %v, want none and context.Canceled", a.result.Verdict, a.err)
		}
	}
	if got := ask(t, in, "parked"); got != "0" {
		t.Errorf("%s requests are parked, although all have ended", got)
	}
	close(late) // whose request is gone
	waitForCalls(t, in)
	if got := ask(t, in, "config"); got != "" {
		t.Errorf("configuration %q", got)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.streams) != 0 {
		t.Errorf("%d streams are open", len(in.streams))
	}
	wantContains(t, logs.String(), "log: park")
	wantContains(t, logs.String(), "log: wait /late")
}

// waitForCalls returns when the VM has no outstanding call.
func waitForCalls(t *testing.T, in *Instance) {
	t.Helper()
	for {
		in.mu.Lock()
		n := in.calls
		in.mu.Unlock()
		if n == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// A trap refuses all requests that are paused in its VM, and the next request
// has a new one.
func TestTrapWhileOthersArePaused(t *testing.T) {
	p := newPool(t, Options{}, "hello", 1)
	parked := []<-chan answer{send(t.Context(), p, "park"), send(t.Context(), p, "park")}
	waitFor(t, p, "parked", "2")
	if _, err := p.Request(t.Context(), request("panic"), true); !errors.Is(err, ErrTrap) {
		t.Fatalf("got %v, want a trap", err)
	}
	for _, c := range parked {
		if a := <-c; !errors.Is(a.err, ErrTrap) || a.result.Verdict != 0 {
			t.Errorf("verdict %d, %v, want none and the trap", a.result.Verdict, a.err)
		}
	}
	if got := ask(t, p, "config"); got != "hello" {
		t.Errorf("the new instance has %q, want hello", got)
	}
}

// A configuration reaches each instance, also those that no request enters.
func TestConfigureReachesPausedRequests(t *testing.T) {
	for config, want := range map[string]Verdict{"release": VerdictContinue, "refuse": VerdictLocal} {
		p := newPool(t, Options{}, "", 2)
		first, err := p.acquire(t.Context()) // so that the request has the other one
		if err != nil {
			t.Fatal(err)
		}
		one := send(t.Context(), p, "park")
		waitFor(t, p, "parked", "1")
		p.release(first)
		other := send(t.Context(), first, "park")
		waitFor(t, first, "parked", "1")
		if err := p.Configure(t.Context(), []byte("other")); err != nil {
			t.Fatal(err)
		}
		if err := p.Configure(t.Context(), []byte("bad")); !errors.Is(err, ErrConfigRejected) {
			t.Errorf("got %v, want a rejection", err)
		}
		if got := ask(t, p, "parked"); got != "1" {
			t.Errorf("%s requests are parked after configurations that don't concern them, want 1", got)
		}
		if err := p.Configure(t.Context(), []byte(config)); err != nil {
			t.Fatal(err)
		}
		for _, c := range []<-chan answer{one, other} {
			if a := <-c; a.err != nil || a.result.Verdict != want {
				t.Errorf("%s: verdict %d, %v, want %d", config, a.result.Verdict, a.err, want)
			}
		}
		if got := ask(t, p, "config"); got != config {
			t.Errorf("configuration %q, want %q", got, config)
		}
	}
}

// The root context of a configuration that was replaced ends with its last
// request.
func TestReplacedRootEndsWithItsLastStream(t *testing.T) {
	in := newInstance(t, Options{}, "one")
	ctx, cancel := context.WithCancel(t.Context())
	parked := send(ctx, in, "park")
	waitFor(t, in, "parked", "1")
	if err := in.Reconfigure([]byte("two")); err != nil {
		t.Fatal(err)
	}
	wantRoots := func(want int) {
		t.Helper()
		in.mu.Lock()
		defer in.mu.Unlock()
		if len(in.roots) != want {
			t.Errorf("%d root contexts, want %d", len(in.roots), want)
		}
	}
	wantRoots(2)
	cancel()
	<-parked
	wantRoots(1)
	if got := ask(t, in, "config"); got != "two" {
		t.Errorf("configuration %q, want two", got)
	}
}

// A root context that is not done yet ends by proxy_done, and ticks until then.
func TestProxyDone(t *testing.T) {
	in := newInstance(t, Options{}, "linger")
	if err := in.Reconfigure([]byte("next")); err != nil {
		t.Fatal(err)
	}
	for lingering := true; lingering; time.Sleep(time.Millisecond) {
		in.mu.Lock()
		lingering = len(in.roots) > 1
		in.mu.Unlock()
	}
	if got := ask(t, in, "config"); got != "next" {
		t.Errorf("configuration %q, want next", got)
	}
}

func TestTicks(t *testing.T) {
	t.Run("they come while no request does, and end a pause", func(t *testing.T) {
		wantContinue(t, <-send(t.Context(), newInstance(t, Options{}, "tick release"), "park"))
	})
	t.Run("a period of 0 stops them", func(t *testing.T) {
		in := newInstance(t, Options{}, "tick stop")
		waitFor(t, in, "ticks", "3")
		in.mu.Lock()
		defer in.mu.Unlock()
		if in.root.ticks != nil {
			t.Error("the third tick stopped them, and there is a fourth to come")
		}
	})
	t.Run("they end with their configuration", func(t *testing.T) {
		in := newInstance(t, Options{}, "tick")
		if err := in.Reconfigure(nil); err != nil {
			t.Fatal(err)
		}
		in.mu.Lock()
		defer in.mu.Unlock()
		if in.root.ticks != nil || len(in.roots) != 1 {
			t.Error("the next configuration has them")
		}
	})
	t.Run("a VM that traps at one is replaced", func(t *testing.T) {
		p := newPool(t, Options{}, "tick trap once", 1)
		first, err := p.acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for first.Dead() == nil {
			time.Sleep(time.Millisecond)
		}
		p.release(first)
		for ask(t, p, "ticks") == "0" {
			time.Sleep(time.Millisecond)
		}
		if !errors.Is(first.Dead(), ErrTrap) {
			t.Errorf("got %v, want a trap", first.Dead())
		}
	})
}

// Pauses, calls, ticks, traps and configurations at once: each request gets its
// own outcome, and no VM is entered twice at a time (which the race detector
// sees, and the guest does not survive).
func TestPoolHammer(t *testing.T) {
	const clients, requests, configs = 6, 25, 15
	opts := withHost(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RequestURI) })
	p := newPool(t, opts, "tick 0", 2)
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() {
			for i := range requests {
				path := "/" + strconv.Itoa(client) + "/" + strconv.Itoa(i)
				do := [...]string{"wait " + path, "wait " + path, "config", "park", "panic"}[i%5]
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				if do == "park" {
					cancel()
					ctx, cancel = context.WithTimeout(t.Context(), 2*time.Millisecond)
				}
				a := <-send(ctx, p, do)
				cancel()
				switch {
				case errors.Is(a.err, ErrTrap): // its own, or a neighbour's
				case do == "park" && errors.Is(a.err, context.DeadlineExceeded):
				case do != "park" && do != "panic" && a.err == nil && a.result.Verdict == VerdictLocal:
					if strings.HasPrefix(do, "wait") && !strings.HasSuffix(string(a.result.Local.Body), "\n"+path) {
						t.Errorf("%s was answered %q", path, a.result.Local.Body)
					}
				default:
					t.Errorf("%s: verdict %d, %v", do, a.result.Verdict, a.err)
				}
			}
		})
	}
	wg.Go(func() {
		for i := range configs {
			err := p.Configure(t.Context(), []byte("tick "+strconv.Itoa(i)))
			if err != nil && !errors.Is(err, ErrTrap) { // a neighbour's
				t.Error(err)
			}
		}
	})
	wg.Wait()
}

// Behind the proxy a request that waits for a service reaches the upstream once
// the service has said so, and a client that goes away leaves nothing behind.
func TestProxyWaits(t *testing.T) {
	asked := make(chan struct{}, 1)
	opts := withHost(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // until then the server does not see who goes away
		if r.RequestURI == "/never" {
			asked <- struct{}{}
			<-r.Context().Done()
		}
		w.WriteHeader(http.StatusNoContent)
	})
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("X-Called"))
	}))
	t.Cleanup(upstream.Close)
	u, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	p := newPool(t, opts, "", 1)
	h, err := NewReverseProxy(p, u, ProxyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(h)
	t.Cleanup(proxy.Close)
	do := func(ctx context.Context, text string) (string, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, proxy.URL, nil)
		if err != nil {
			return "", err
		}
		req.Header.Set("X-Do", text)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return string(b), err
	}
	if got, err := do(t.Context(), "wait /go"); got != "yes" || err != nil {
		t.Errorf("the upstream saw %q, %v, want yes", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if _, err := do(ctx, "wait /never"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	in, err := p.acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer p.release(in)
	for streams := 1; streams > 0; time.Sleep(time.Millisecond) {
		in.mu.Lock()
		streams = len(in.streams)
		in.mu.Unlock()
	}
}
