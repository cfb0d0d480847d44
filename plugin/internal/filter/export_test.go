package filter

import (
	"math"
	"testing"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"sallyport/policydata/pluginconfig"
	"sallyport/policydata/pushapi"
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

// Times of polling, for tests.
const (
	LeaseMillis   = leaseMillis
	RefusalMillis = refusalMillis
)

// SharedNames returns the names of a feed's head and snapshot in shared data.
func SharedNames(plugin string, c *pluginconfig.Config) (head, snapshot string) {
	key := feedKey(plugin, c)
	return key + headSuffix, key + snapshotSuffix
}

// Announce returns the head of another worker, whose lease ends at a time, that
// announces a snapshot as one of a version.
func Announce(until int64, v pushapi.Version, snapshot []byte) []byte {
	h := head{leader: workerID{1}, until: until, version: v, size: uint32(len(snapshot))}
	copy(h.mark[:], snapshot[max(0, len(snapshot)-markBytes):])
	return h.append(nil)
}

// LeaseOf returns when the lease in a head ends.
func LeaseOf(head []byte) int64 {
	h, _ := parseHead(head, math.MaxInt64-leaseMillis)
	return h.until
}
