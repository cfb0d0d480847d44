package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// screen is a terminal, with what was written to it.
type screen struct {
	tty *os.File

	mu   sync.Mutex
	more *sync.Cond
	text []byte // guarded by mu
}

// newScreen opens a pseudoterminal of some columns.
func newScreen(t *testing.T, columns uint16) *screen {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		t.Fatal(err)
	}
	s := &screen{tty: tty}
	s.more = sync.NewCond(&s.mu)
	go s.watch(master)
	t.Cleanup(func() {
		tty.Close()
		master.Close()
	})
	return s
}

func (s *screen) watch(master *os.File) {
	buf := make([]byte, 4096)
	for {
		n, err := master.Read(buf)
		s.mu.Lock()
		s.text = append(s.text, buf[:n]...)
		s.more.Broadcast()
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// await waits until a text was written.
func (s *screen) await(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !strings.Contains(string(s.text), text) {
		s.more.Wait()
	}
}

// rows returns what somebody saw: the content of the line whenever it was taken
// back, and what is there at last.
func (s *screen) rows() (taken []string, last string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows := strings.Split(string(s.text), clearLine)
	return rows[:len(rows)-1], rows[len(rows)-1]
}

func TestProgressIsOneLineThatIsTakenBack(t *testing.T) {
	t.Setenv("TERM", "xterm")
	s := newScreen(t, 30)
	p := newProgress(s.tty, 0)
	p.stage("sending", 4<<20)
	p.add(1 << 20)
	s.await("sending: 25 % of 4.0 MiB")
	p.stage("a stage whose name is wider than the terminal", 0)
	s.await("a stage whose name is wider t")
	in := p.reading(io.NopCloser(strings.NewReader("12345")), "receiving", 0, "done")
	s.await("receiving")
	if _, err := io.ReadAll(in); err != nil {
		t.Fatal(err)
	}
	s.await("done")
	p.end()
	p.end()
	if _, err := s.tty.WriteString("after"); err != nil {
		t.Fatal(err)
	}
	s.await("after")
	rows, last := s.rows()
	if last != "after" {
		t.Errorf("at last there is %q", last)
	}
	for _, row := range rows {
		if len(row) > 29 || strings.ContainsAny(row, "\r\n\x1b") {
			t.Errorf("a row of %d columns: %q", len(row), row)
		}
	}
}

func TestProgressNeedsATerminal(t *testing.T) {
	t.Setenv("TERM", "xterm")
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	reader, pipe, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	defer pipe.Close()
	for name, w := range map[string]io.Writer{"/dev/null": null, "a pipe": pipe, "a buffer": &bytes.Buffer{}} {
		if newProgress(w, 0) != nil {
			t.Errorf("there is a progress on %s", name)
		}
	}
	t.Setenv("TERM", "dumb")
	if newProgress(newScreen(t, 80).tty, 0) != nil {
		t.Error("there is a progress on a terminal that takes nothing back")
	}
}

// TestLongCommandsShowProgress runs commands against a host that answers once
// the terminal says what it is waited for.
func TestLongCommandsShowProgress(t *testing.T) {
	t.Setenv("TERM", "xterm")
	t.Setenv("SALLYPORT_ACCESS_KEY_ID", "id")
	t.Setenv("SALLYPORT_SECRET_ACCESS_KEY", "secret")
	file := filepath.Join(t.TempDir(), "user.yaml")
	user := "apiVersion: sallyport/v1\nkind: User\nmetadata:\n    name: eric\nspec: {}\n"
	if err := os.WriteFile(file, []byte(user), 0o600); err != nil {
		t.Fatal(err)
	}
	document := `{"apiVersion":"sallyport/v1","kind":"User","metadata":{"name":"eric"},"spec":{}}`
	for _, tt := range []struct {
		args         []string
		shown        string
		answer, want string
	}{
		{
			[]string{"apply", "-f", file},
			"the host checks and commits",
			`{"epoch":"1","generation":"2","changes":[{"kind":"User","name":"eric","action":"created","set":"default"}],"published":true}`,
			"User  eric  created\ngeneration 2\n",
		},
		{[]string{"export"}, "the host collects", `{"epoch":"1","generation":"2","documents":[` + document + `]}`, user},
		{[]string{"backup", "-"}, "the host reads its store", "backup", "backup"},
	} {
		t.Run(tt.args[0], func(t *testing.T) {
			s := newScreen(t, 80)
			host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				s.await(tt.shown)
				_, _ = io.WriteString(w, tt.answer)
			}))
			defer host.Close()
			var out bytes.Buffer
			args := append(tt.args, "--server", host.URL)
			if code := run(t.Context(), args, strings.NewReader(""), &out, s.tty); code != exitYes {
				_, last := s.rows()
				t.Errorf("exit code %d: %s", code, last)
			}
			if out.String() != tt.want {
				t.Errorf("output %q, want %q", out.String(), tt.want)
			}
			if _, err := s.tty.WriteString("$ "); err != nil {
				t.Fatal(err)
			}
			s.await("$ ")
			if _, last := s.rows(); last != "$ " {
				t.Errorf("at last there is %q", last)
			}
		})
	}
}

// An error stands alone, too.
func TestErrorsComeAfterTheProgress(t *testing.T) {
	t.Setenv("TERM", "xterm")
	t.Setenv("SALLYPORT_ACCESS_KEY_ID", "id")
	t.Setenv("SALLYPORT_SECRET_ACCESS_KEY", "secret")
	s := newScreen(t, 80)
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.await("the host collects")
		w.WriteHeader(http.StatusTeapot)
	}))
	defer host.Close()
	if code := run(t.Context(), []string{"export", "--server", host.URL}, strings.NewReader(""), io.Discard, s.tty); code != exitError {
		t.Errorf("exit code %d", code)
	}
	s.await("418")
	if _, last := s.rows(); !strings.HasPrefix(last, "sallyport: 418 ") {
		t.Errorf("at last there is %q", last)
	}
}

func TestSizesAreForPeople(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 5 << 19: "2.5 MiB"} {
		if got := size(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
	p := &progress{what: "x", since: time.Unix(0, 0), out: os.Stdin}
	if got := p.line(time.Unix(3, 0)); got != "x, 3 s" {
		t.Errorf("got %q", got)
	}
}
