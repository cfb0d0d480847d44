//go:build !wasm

package filter

import "time"

// now returns the time in seconds since the Unix epoch.
func now() (seconds int64, ok bool) { return time.Now().Unix(), true }
