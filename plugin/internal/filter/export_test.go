package filter

import (
	"testing"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

// The bounds, for tests.
const (
	MaxWaiting = maxWaiting
	MaxAsked   = maxAsked
	MaxRefused = maxRefused

	WaitingTickMillis = waitingTickMillis
)

// Configure does what the start of another plugin context of the VM does: the
// emulated host has only one.
func Configure(t testing.TB, vm types.VMContext, name string, raw []byte) {
	t.Helper()
	v := vm.(*vmContext)
	e, _, err := v.configure(name, func() ([]byte, error) { return raw, nil })
	if err != nil {
		t.Fatal(err)
	}
	v.lastGood[name] = e
}

// Clock is the time of the filter's durations, until the end of the test.
type Clock struct{ Milliseconds int64 }

// NewClock stops the filter's monotonic clock.
func NewClock(t testing.TB) *Clock {
	t.Helper()
	c, real := &Clock{Milliseconds: 1_000_000}, monotonic
	monotonic = func() (int64, bool) { return c.Milliseconds, c.Milliseconds != 0 }
	t.Cleanup(func() { monotonic = real })
	return c
}
