package failclosed

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"sallyport/e2e/envoytest"
	"sallyport/e2e/hosttest"
	"sallyport/plugin/filtertest"
)

// A request that ends the VM gets 503. Until the new VM is there nothing passes, of
// any filter in it; then each decides as before. A request that waited in the old
// VM is never let go on, and Envoy answers it when its timeouts end.
func TestTraps(t *testing.T) {
	f, up := filtertest.NewFixture(t), startUpstream(t)
	rotation := f.NewRotation(t)
	host, questions := silentHost(t)
	b := envoytest.Static(t, hosttest.TrapModule(t), up.port)
	b.AddCluster(filtertest.HostCluster, host, false)
	waits := rotation.Config(t, 7, false)
	for _, name := range []string{"one", "beside"} {
		b.Add(name, func(l *envoytest.Listener) { l.Configure(waits.AppendJSON(nil)) })
	}
	p := newProxy(t, f, up, b, "--concurrency", "1")
	for _, how := range []string{"panic", "memory", "panic"} {
		t.Run(how, func(t *testing.T) {
			for _, name := range []string{"one", "beside"} {
				if err := p.decides(name); err != nil {
					t.Fatal(err)
				}
			}
			answers := make(chan int, 2)
			for _, name := range []string{"one", "beside"} {
				go func() { answers <- p.wait(name, rotation.Token(t, "next", nil)) }()
				<-questions
			}
			before := up.reached.Load()
			if got, err := p.ask("one", "/healthz", "", [2]string{"x-trap", how}); err != nil || got != 503 {
				t.Errorf("the request that traps: status %d, %v", got, err)
			}
			if n := up.reached.Load() - before; n != 0 {
				t.Errorf("%d requests reached the upstream", n)
			}
			for _, name := range []string{"one", "beside"} {
				p.comesBack(t, name)
			}
			for range cap(answers) {
				if got := <-answers; got != 0 {
					t.Errorf("a request that waited got %d", got)
				}
			}
		})
	}
}

// comesBack wants a listener to refuse all with 503 until it decides again, and
// then as before.
func (p *proxy) comesBack(t *testing.T, listener string) {
	t.Helper()
	begun, refused := time.Now(), 0
	p.Await(listener+" comes back", patience, func() error {
		got, err := p.ask(listener, "/workspaces/foo/x", "{bob}")
		if err != nil || got != 503 && got != 403 {
			t.Errorf("status %d for one who may not; %v", got, err)
		}
		if got != 403 {
			refused++
			return fmt.Errorf("status %d", got)
		}
		return nil
	})
	t.Logf("%s was closed for %v, %d requests", listener, time.Since(begun), refused)
	if err := p.decides(listener); err != nil {
		t.Error(err)
	}
}

// wait sends a request that waits for a key, and returns the status of the answer,
// 0 if there was none.
func (p *proxy) wait(listener, token string) int {
	conn, err := net.DialTimeout("tcp", p.Address(listener), patience)
	if err != nil {
		return 0
	}
	defer conn.Close()
	const longer = 5 * time.Second // than a request waits in a VM that lives
	_ = conn.SetDeadline(time.Now().Add(longer))
	_, _ = io.WriteString(conn, "GET /workspaces/foo/x HTTP/1.1\r\nhost: a\r\nauthorization: Bearer "+token+"\r\n\r\n")
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	return answer.StatusCode
}

// silentHost takes requests and does not answer. It tells of questions for keys.
func silentHost(t *testing.T) (port string, questions <-chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	asked := make(chan struct{}, 100)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			go func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				for {
					q, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, q.Body)
					if q.URL.Path == "/v1/keys" {
						asked <- struct{}{}
					}
				}
			}()
		}
	}()
	return portOf(t, l), asked
}
