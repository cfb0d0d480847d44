package durability

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sallyport/e2e/hosttest"
)

// limitFiles bounds the size of the files that a process writes, which is what a
// full disk is to it; no limit if size is unix.RLIM_INFINITY.
func limitFiles(t *testing.T, pid int, size uint64) {
	t.Helper()
	var before unix.Rlimit
	err := unix.Prlimit(pid, unix.RLIMIT_FSIZE, nil, &before)
	if err == nil {
		err = unix.Prlimit(pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: min(size, before.Max), Max: before.Max}, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// limit is more than the files of a new host have.
const limit = 1 << 20

// TestFullDisk lets the host's disk run full: writes are refused with what is
// wrong, reads and decisions go on, nothing that was acknowledged is lost, and
// it recovers by itself.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	h := hosttest.Start(t, dir)
	c := newClient(h)
	limitFiles(t, h.PID(), limit)

	put := func(n int) (int, []byte) {
		t.Helper()
		body := fmt.Sprintf("apiVersion: sallyport/v1\nkind: User\nmetadata: {name: u%d, description: %s}\nspec: {}\n", n, strings.Repeat("x", 4000))
		status, answer, err := c.call(t.Context(), http.MethodPut, fmt.Sprintf("/api/v1/users/u%d", n), body)
		if err != nil {
			t.Fatal(err)
		}
		return status, answer
	}
	users := func(c client) int {
		t.Helper()
		status, answer, err := c.call(t.Context(), http.MethodGet, "/api/v1/users?prefix=u&amount=1000", "")
		if err != nil || status != http.StatusOK {
			t.Fatalf("%d %s %v", status, answer, err)
		}
		return strings.Count(string(answer), `"kind":"User"`)
	}
	acknowledged := 0
	status, answer := put(0)
	for ; status == http.StatusCreated; status, answer = put(acknowledged) {
		acknowledged++
	}
	wantProblem(t, status, answer, http.StatusInsufficientStorage, "disk is full")
	if acknowledged == 0 {
		t.Fatal("no write fitted")
	}
	if got := users(c); got != acknowledged {
		t.Errorf("full: %d users, and %d were acknowledged", got, acknowledged)
	}
	if status, answer, err := c.call(t.Context(), http.MethodPost, "/api/v1/check", `{"method":"GET","path":"/"}`); status != http.StatusOK || err != nil {
		t.Errorf("full: a decision: %d %s %v", status, answer, err)
	}

	limitFiles(t, h.PID(), unix.RLIM_INFINITY)
	if status, answer := put(acknowledged); status != http.StatusCreated {
		t.Errorf("with space again: %d %s", status, answer)
	}
	h.Kill()
	if got := users(newClient(hosttest.Start(t, dir))); got != acknowledged+1 {
		t.Errorf("started again: %d users, want %d", got, acknowledged+1)
	}
}
