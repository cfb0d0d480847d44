package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

const (
	// progressDelay keeps commands that are quick from showing anything.
	progressDelay = 300 * time.Millisecond
	progressEvery = 100 * time.Millisecond

	clearLine = "\r\x1b[K" // ECMA-48 section 8.3.41
)

// progress is a line on a terminal that says what a long command is at. The nil
// progress shows nothing.
type progress struct {
	out   *os.File
	delay time.Duration
	ended chan struct{}
	gone  chan struct{} // closed when the line is off the terminal
	once  sync.Once

	mu          sync.Mutex
	what        string // guarded by mu, as what follows
	since       time.Time
	done, total int64 // bytes; a total of 0 is not known
}

// newProgress returns the progress of a command, nil unless w is a terminal that
// can take a line back.
func newProgress(w io.Writer, delay time.Duration) *progress {
	if !isTerminal(w) || os.Getenv("TERM") == "dumb" {
		return nil
	}
	p := &progress{out: w.(*os.File), delay: delay, ended: make(chan struct{}), gone: make(chan struct{})}
	go p.show()
	return p
}

// isTerminal reports whether a stream is one.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// stage begins a stage of which total bytes are to be done, 0 if nobody knows.
func (p *progress) stage(what string, total int64) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.what, p.since, p.done, p.total = what, time.Now(), 0, max(total, 0)
}

func (p *progress) add(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += int64(n)
}

// end takes the line off the terminal for good, so that something else can be
// written there. It may be called again.
func (p *progress) end() {
	if p == nil {
		return
	}
	p.once.Do(func() { close(p.ended) })
	<-p.gone
}

func (p *progress) show() {
	defer close(p.gone)
	select {
	case <-time.After(p.delay):
	case <-p.ended:
		return
	}
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	for {
		// What can't be shown is no error of the command.
		if line := p.line(time.Now()); line != "" {
			_, _ = io.WriteString(p.out, clearLine+line)
		}
		select {
		case <-ticker.C:
		case <-p.ended:
			_, _ = io.WriteString(p.out, clearLine)
			return
		}
	}
}

// line returns what is to be shown, no wider than the terminal: what wraps can't
// be taken back.
func (p *progress) line(now time.Time) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := p.what
	switch {
	case text == "": // there was no stage yet
		return ""
	case p.total > 0:
		text += fmt.Sprintf(": %d %% of %s", 100*min(p.done, p.total)/p.total, size(p.total))
	case p.done > 0:
		text += ": " + size(p.done)
	}
	if s := int(now.Sub(p.since).Seconds()); s > 0 {
		text += fmt.Sprintf(", %d s", s)
	}
	if width, _, err := term.GetSize(int(p.out.Fd())); err == nil && width > 0 && len(text) >= width {
		text = text[:width-1] // all of it is ASCII
	}
	return text
}

// size writes a number of bytes for people.
func size(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// reading returns r, whose bytes a new stage counts; when they have ended, the
// stage behind it begins.
func (p *progress) reading(r io.ReadCloser, what string, total int64, then string) io.ReadCloser {
	if p == nil {
		return r
	}
	p.stage(what, total)
	return &countedReader{ReadCloser: r, progress: p, then: then}
}

type countedReader struct {
	io.ReadCloser
	progress *progress
	then     string
	over     bool
}

// Read implements io.Reader.
func (r *countedReader) Read(b []byte) (int, error) {
	n, err := r.ReadCloser.Read(b)
	r.progress.add(n)
	if err == io.EOF && !r.over {
		r.over = true
		r.progress.stage(r.then, 0)
	}
	return n, err
}
