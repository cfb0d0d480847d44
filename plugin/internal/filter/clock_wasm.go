package filter

// Clocks of WASI.
const (
	realtimeClock  = 0
	monotonicClock = 1
)

// now returns the time in seconds since the Unix epoch. time.Now would ask the
// proxy twice, for the monotonic clock too, and end the VM on an error.
func now() (seconds int64, ok bool) {
	n, ok := nanoseconds(realtimeClock)
	return n / 1e9, ok
}

// monotonic returns the time in milliseconds since some moment, for measuring
// durations.
func monotonic() (milliseconds int64, ok bool) {
	n, ok := nanoseconds(monotonicClock)
	return n / 1e6, ok
}

func nanoseconds(clock uint32) (n int64, ok bool) {
	var value uint64
	if clockTimeGet(clock, 1, &value) != 0 {
		return 0, false
	}
	return int64(value), true
}

//go:wasmimport wasi_snapshot_preview1 clock_time_get
//go:noescape
func clockTimeGet(clock uint32, precision uint64, nanoseconds *uint64) (errno uint32)
