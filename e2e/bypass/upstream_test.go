package bypass

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

const patience = 10 * time.Second

// upstream takes connections and keeps every byte that came in on them: what is
// compared is what a server would have to make sense of, not what one of them
// made of it. It answers each connection once, with 200 and the line that it got.
type upstream struct {
	listener net.Listener

	serving sync.WaitGroup // of connections

	mu   sync.Mutex
	seen []*message // guarded by mu; those that the proxy has ended
}

// message is what came in on one connection.
type message struct {
	raw  string // up to the first empty line, as it came
	head string // the same in lower case
	line string // its first line as it came
	body string // all behind it
}

func startUpstream(t *testing.T) *upstream {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &upstream{listener: l}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			u.serving.Go(func() { u.serve(conn) })
		}
	}()
	return u
}

// lineHeader is the answer's header with the request's line, quoted.
const lineHeader = "x-line"

const emptyLine = "\r\n\r\n"

func (u *upstream) serve(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience)) // fails on a closed connection, as reading does
	var all []byte
	buf := make([]byte, 4096)
	for !bytes.Contains(all, []byte(emptyLine)) {
		n, err := conn.Read(buf)
		all = append(all, buf[:n]...)
		if err != nil {
			break
		}
	}
	if len(all) == 0 {
		return
	}
	head, body, _ := strings.Cut(string(all), emptyLine)
	line, _, _ := strings.Cut(head, "\r\n")
	m := &message{raw: head, head: strings.ToLower(head) + "\r\n", line: line, body: body}
	u.mu.Lock()
	u.seen = append(u.seen, m)
	u.mu.Unlock()
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\ncontent-length: 7\r\nconnection: close\r\n%s: %+q"+emptyLine+"reached", lineHeader, line)
	// The rest, until the proxy has taken the answer and closes.
	rest, _ := io.ReadAll(conn)
	u.mu.Lock()
	m.body += string(rest)
	u.mu.Unlock()
}

// wait waits until the proxy has closed all connections, so that every message
// has its end.
func (u *upstream) wait() { u.serving.Wait() }

// take returns what came in since the last call.
func (u *upstream) take() []*message {
	u.mu.Lock()
	defer u.mu.Unlock()
	seen := u.seen
	u.seen = nil
	return seen
}
