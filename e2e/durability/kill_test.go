// Package durability tests that the built host loses nothing: when it is killed
// while it writes, and when its disk is full.
package durability

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/e2e/hosttest"
)

var killRounds = flag.Int("kill.rounds", 5, "how often the host is killed while it writes")

const (
	writers = 4
	// setSize is how many users each document set of a writer has.
	setSize = 5
)

// client calls the API of a host.
type client struct {
	base, key, secret string
}

func newClient(h *hosttest.Host) client {
	key, secret := h.Credentials()
	return client{"http://" + h.HTTP, key, secret}
}

// call returns the status and the body of an answer; the error is that there was
// none.
func (c client) call(ctx context.Context, method, path, body string) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.SetBasicAuth(c.key, c.secret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// history is what one writer knows of its writes, each of which sets the
// descriptions of all users of its set to a number.
type history struct {
	acknowledged, tried int
	generation          uint64 // of the last acknowledged one
	count               int    // of acknowledged ones
}

// set returns a writer's documents.
func set(writer, number int) string {
	var b strings.Builder
	for i := range setSize {
		fmt.Fprintf(&b, "---\napiVersion: sallyport/v1\nkind: User\nmetadata: {name: w%d-%d, description: \"%d\"}\nspec: {}\n", writer, i, number)
	}
	return b.String()
}

// write writes until the host does not answer any more.
func (x *history) write(c client, writer int) error {
	for {
		x.tried++
		status, answer, err := c.call(context.Background(), http.MethodPost, "/api/v1/apply", set(writer, x.tried))
		if err != nil {
			return nil // the host was killed
		}
		var applied struct {
			Generation uint64 `json:",string"`
		}
		if err := json.Unmarshal(answer, &applied); status != http.StatusOK || err != nil {
			return fmt.Errorf("%d: %s", status, answer)
		}
		x.acknowledged, x.generation = x.tried, applied.Generation
		x.count++
	}
}

// state is what a host says of all sets, at one generation.
type state struct {
	generation uint64
	numbers    [writers][setSize]int // 0: there is no such user
}

func read(t *testing.T, c client) (s state) {
	t.Helper()
	status, answer, err := c.call(t.Context(), http.MethodGet, "/api/v1/export", "")
	var export struct {
		Generation uint64 `json:",string"`
		Documents  []struct {
			Metadata struct{ Name, Description string }
		}
	}
	if err != nil || status != http.StatusOK || json.Unmarshal(answer, &export) != nil {
		t.Fatalf("export: %d, %v\n%s", status, err, answer)
	}
	s.generation = export.Generation
	for _, doc := range export.Documents {
		var w, i int
		if _, err := fmt.Sscanf(doc.Metadata.Name, "w%d-%d", &w, &i); err != nil {
			continue
		}
		if s.numbers[w][i], err = strconv.Atoi(doc.Metadata.Description); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// TestKilledWhileWriting kills the host again and again while several clients
// write, and starts it on what that left.
func TestKilledWhileWriting(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	dir := t.TempDir()
	var histories [writers]history
	last := uint64(0)
	h := hosttest.Start(t, dir)
	for round := range *killRounds {
		c := newClient(h)
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				if err := histories[w].write(c, w); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond) // a moment that nothing in the host is in step with
		h.Kill()
		wg.Wait()
		h = hosttest.Start(t, dir)
		s := read(t, newClient(h))
		if s.generation < last {
			t.Errorf("round %d: generation %d after %d", round, s.generation, last)
		}
		last = s.generation
		for w := range histories {
			x := &histories[w]
			if s.generation < x.generation {
				t.Errorf("round %d: generation %d, and %d was acknowledged", round, s.generation, x.generation)
			}
			got := s.numbers[w][0]
			for _, n := range s.numbers[w] {
				if n != got {
					t.Errorf("round %d: the last write of writer %d is not whole: %v", round, w, s.numbers[w])
				}
			}
			if got != x.acknowledged && got != x.tried {
				t.Errorf("round %d: writer %d finds %d, and %d was acknowledged, %d tried", round, w, got, x.acknowledged, x.tried)
			}
			x.acknowledged, x.tried = got, max(got, x.tried)
		}
		if t.Failed() {
			return
		}
	}
	acknowledged := 0
	for _, x := range histories {
		acknowledged += x.count
	}
	t.Logf("%d kills, %d acknowledged writes, generation %d", *killRounds, acknowledged, last)
	if acknowledged == 0 {
		t.Error("no write was acknowledged")
	}
}

// wantProblem wants a status and words in the answer.
func wantProblem(t *testing.T, status int, answer []byte, wantStatus int, words string) {
	t.Helper()
	if status != wantStatus || !bytes.Contains(answer, []byte(words)) {
		t.Errorf("got %d %s, want %d with %q", status, answer, wantStatus, words)
	}
}
