package durability

import (
	"bytes"
	"errors"
	"net/http"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"sallyport/e2e/hosttest"
)

// Offsets into what a seccomp filter sees (struct seccomp_data): the number of the
// system call, and the lower half of its third argument.
const (
	callNumber    = 0
	thirdArgument = 32
)

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func equal(k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: yes, Jf: no, K: k}
}

func answer(k uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k}
}

const readOnly = unix.SECCOMP_RET_ERRNO | uint32(unix.EROFS)

// writesFail is a file system that became read-only below open files, as one does
// that finds itself damaged.
var writesFail = []unix.SockFilter{
	load(callNumber),
	equal(unix.SYS_PWRITE64, 3, 0),
	equal(unix.SYS_FTRUNCATE, 2, 0),
	equal(unix.SYS_FALLOCATE, 1, 0),
	answer(unix.SECCOMP_RET_ALLOW),
	answer(readOnly),
}

// opensFail is one that is mounted read-only.
var opensFail = []unix.SockFilter{
	load(callNumber),
	equal(unix.SYS_MKDIRAT, 5, 0),
	equal(unix.SYS_OPENAT, 0, 3),
	load(thirdArgument),
	{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: unix.O_ACCMODE},
	equal(unix.O_RDONLY, 0, 1),
	answer(unix.SECCOMP_RET_ALLOW),
	answer(readOnly),
}

// under runs fn in a thread under a filter of system calls, which the processes
// that fn starts inherit. This needs no privileges, unlike a mount; real ones that
// were tried by hand answer the same errors.
func under(t *testing.T, filter []unix.SockFilter, fn func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		err := errors.New("the test ended")
		defer func() { done <- err }()
		if err = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return
		}
		prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
		if err = unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0); err == nil {
			fn()
		}
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if t.Failed() {
		t.FailNow()
	}
}

// TestReadOnlyDisk has the host's disk become read-only: writes are refused with
// what is wrong, and reads and decisions go on.
func TestReadOnlyDisk(t *testing.T) {
	dir := t.TempDir()
	h := hosttest.Start(t, dir)
	h.Apply(set(0, 1))
	h.Kill()
	var c client
	under(t, writesFail, func() {
		h = hosttest.Start(t, dir)
		c = newClient(h)
	})
	for range 2 {
		status, answer, err := c.call(t.Context(), http.MethodPost, "/api/v1/apply", set(0, 2))
		if err != nil {
			t.Fatal(err)
		}
		wantProblem(t, status, answer, http.StatusServiceUnavailable, "the host's store can't be written to")
	}
	for path, body := range map[string]string{"/api/v1/check": `{"method":"GET","path":"/"}`, "/api/v1/access": "{}"} {
		if status, answer, err := c.call(t.Context(), http.MethodPost, path, body); status != http.StatusOK || err != nil {
			t.Errorf("%s: %d %s %v", path, status, answer, err)
		}
	}
	if got := read(t, c); got.numbers[0][0] != 1 {
		t.Errorf("read-only: got %+v", got)
	}
	h.Kill()
	c = newClient(hosttest.Start(t, dir))
	if status, answer, err := c.call(t.Context(), http.MethodPost, "/api/v1/apply", set(0, 2)); status != http.StatusOK || err != nil {
		t.Errorf("writable again: %d %s %v", status, answer, err)
	}
}

// TestStartOnAReadOnlyDisk: a host that could not write does not start, and says
// why.
func TestStartOnAReadOnlyDisk(t *testing.T) {
	dir := t.TempDir()
	hosttest.Start(t, dir).Kill()
	serve := func(dir string) []string {
		return []string{"serve", "--data-dir", dir, "--http", "127.0.0.1:0", "--xds", "127.0.0.1:0"}
	}
	for name, args := range map[string][]string{
		"a store":       serve(dir),
		"no store":      serve(filepath.Join(dir, "new")),
		"a restoration": {"restore", "-", "--data-dir", filepath.Join(dir, "new")},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(hosttest.Program(t), args...)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out           // not /dev/null, which could not be opened
			under(t, opensFail, func() { _ = cmd.Run() }) // how it ended is looked at below
			if code := cmd.ProcessState.ExitCode(); code != 2 || !bytes.HasSuffix(out.Bytes(), []byte(": read-only file system\n")) {
				t.Errorf("exit code %d: %s", code, out.Bytes())
			}
		})
	}
}
