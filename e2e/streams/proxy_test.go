package streams

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/e2e/envoytest"
	"sallyport/e2e/hosttest"
	"sallyport/plugin/filtertest"
)

const patience = 20 * time.Second

// upstream takes connections, keeps the bytes that come in, and answers each head
// as answer says; nothing more where it says nothing.
type upstream struct {
	listener net.Listener
	answer   func(head string) string

	mu   sync.Mutex
	seen strings.Builder // guarded by mu
}

func startUpstream(t *testing.T, answer func(head string) string) *upstream {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	u := &upstream{listener: l, answer: answer}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			go u.serve(conn)
		}
	}()
	return u
}

func (u *upstream) serve(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience)) // fails on a closed connection, as reading does
	all, buf, answered := "", make([]byte, 4096), false
	for {
		n, err := conn.Read(buf)
		u.mu.Lock()
		u.seen.Write(buf[:n])
		u.mu.Unlock()
		all += string(buf[:n])
		if head, _, ok := strings.Cut(all, "\r\n\r\n"); ok && !answered {
			answered = true
			_, _ = io.WriteString(conn, u.answer(head))
		}
		if err != nil {
			return
		}
	}
}

// take returns the bytes that came in since the last call.
func (u *upstream) take() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	seen := u.seen.String()
	u.seen.Reset()
	return seen
}

func portOf(t *testing.T, l net.Listener) string {
	t.Helper()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// yes is the answer of an upstream that speaks HTTP/1.1.
func yes(string) string {
	return "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"
}

// static is our bootstrap with listeners that tests add.
func static(t *testing.T, u *upstream) *envoytest.Bootstrap {
	t.Helper()
	return envoytest.Static(t, hosttest.Module(t), portOf(t, u.listener))
}

// conn is a client's connection.
type conn struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func dial(t *testing.T, address string) *conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &conn{c, t, bufio.NewReader(c)}
}

// head sends a request's head. Its first line has no version; authorization is a
// token's name, "" is none.
func (c *conn) head(f *filtertest.Fixture, line, token string, headers ...string) {
	c.t.Helper()
	lines := append([]string{line + " HTTP/1.1", "host: api.example.com"}, headers...)
	if token != "" {
		h := f.Request("", "", [2]string{"authorization", "Bearer " + token})
		lines = append(lines, "authorization: "+h[len(h)-1][1])
	}
	c.write(strings.Join(lines, "\r\n") + "\r\n\r\n")
}

func (c *conn) write(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

// try writes what the proxy need not take.
func (c *conn) try(text string) { _, _ = io.WriteString(c, text) }

// response reads the head of the answer.
func (c *conn) response() *http.Response {
	c.t.Helper()
	answer, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return answer
}

// chunk is a chunk of a body (RFC 9112 section 7.1).
func chunk(data string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(data), data) }

var errNotYet = errors.New("not yet")
