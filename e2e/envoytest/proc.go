package envoytest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// CPU returns the time that the process has run on a CPU, in user and system
// mode, over all its threads. Of the files of /proc that tell, it takes the
// scheduler's: it counts nanoseconds, /proc/PID/stat ticks of 10 ms. Threads
// that have ended don't count; Envoy's workers never end.
func (e *Envoy) CPU() time.Duration {
	e.t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", e.cmd.Process.Pid))
	if err != nil || len(files) == 0 {
		e.t.Fatalf("envoy: no schedstat of process %d: %v", e.cmd.Process.Pid, err)
	}
	var sum time.Duration
	for _, f := range files {
		sum += time.Duration(e.number(f, 0))
	}
	return sum
}

// RSS returns the resident memory of the process in bytes.
func (e *Envoy) RSS() int64 {
	e.t.Helper()
	return e.number(fmt.Sprintf("/proc/%d/statm", e.cmd.Process.Pid), 1) * int64(os.Getpagesize())
}

// number reads the field of a file of numbers.
func (e *Envoy) number(file string, field int) int64 {
	e.t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		e.t.Fatalf("envoy: %v", err)
	}
	fields := strings.Fields(string(text))
	if len(fields) <= field {
		e.t.Fatalf("envoy: %s: %q has no field %d", file, text, field)
	}
	n, err := strconv.ParseInt(fields[field], 10, 64)
	if err != nil {
		e.t.Fatalf("envoy: %s: %v", file, err)
	}
	return n
}
