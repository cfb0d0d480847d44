//go:build !wasm

package filter

import "time"

// now returns the time in seconds since the Unix epoch.
func now() (seconds int64, ok bool) { return time.Now().Unix(), true }

var started = time.Now()

// monotonic returns the time in milliseconds since some moment, for measuring
// durations. Tests have a clock of their own.
var monotonic = func() (milliseconds int64, ok bool) { return time.Since(started).Milliseconds(), true }
