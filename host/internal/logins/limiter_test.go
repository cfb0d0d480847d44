package logins

import (
	"fmt"
	"testing"
	"time"
)

// clock is a time that tests set.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func newClock() *clock { return &clock{time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)} }

func TestFailuresOfAKeyAreLimitedWhereverTheyComeFrom(t *testing.T) {
	c := newClock()
	l := New(c.now)
	for i := range keyBurst {
		if wait := l.Failed("SPA", fmt.Sprintf("192.0.2.%d:1", i)); wait != 0 {
			t.Fatalf("failure %d: %v", i+1, wait)
		}
	}
	if wait := l.Failed("SPA", "192.0.2.200:1"); wait != keyEvery {
		t.Errorf("one more: %v, want %v", wait, keyEvery)
	}
	if wait := l.Failed("SPB", "192.0.2.200:1"); wait != 0 {
		t.Errorf("another key: %v", wait)
	}
	c.t = c.t.Add(keyEvery)
	if wait := l.Failed("SPA", "192.0.2.200:1"); wait != 0 {
		t.Errorf("after the interval: %v", wait)
	}
	if wait := l.Failed("SPA", "192.0.2.200:1"); wait != keyEvery {
		t.Errorf("and once more: %v", wait)
	}
}

func TestFailuresOfASourceAreLimitedWhateverTheKey(t *testing.T) {
	for name, tt := range map[string]struct {
		from func(i int) string
		next string
		same bool
	}{
		"ports":            {func(i int) string { return fmt.Sprintf("192.0.2.1:%d", 1000+i) }, "192.0.2.1:9", true},
		"mapped addresses": {func(i int) string { return fmt.Sprintf("[::ffff:192.0.2.1]:%d", 1000+i) }, "192.0.2.1:9", true},
		"a network of v6":  {func(i int) string { return fmt.Sprintf("[2001:db8::%x]:1", i) }, "[2001:db8::ffff:1]:2", true},
		"no address":       {func(int) string { return "@" }, "@", true},
		"another address":  {func(i int) string { return "192.0.2.1:1" }, "192.0.2.2:1", false},
		"another network":  {func(i int) string { return "[2001:db8::1]:1" }, "[2001:db8:0:1::1]:1", false},
	} {
		t.Run(name, func(t *testing.T) {
			l := New(newClock().now)
			for i := range sourceBurst {
				if wait := l.Failed(fmt.Sprintf("SP%d", i), tt.from(i)); wait != 0 {
					t.Fatalf("failure %d: %v", i+1, wait)
				}
			}
			if wait := l.Failed("", tt.next); (wait != 0) != tt.same {
				t.Errorf("one more: %v", wait)
			}
		})
	}
}

func TestMemoryIsBounded(t *testing.T) {
	l := New(newClock().now)
	for i := range 3 * maxEntries {
		l.Failed(fmt.Sprintf("SP%d", i), fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255))
	}
	for name, table := range map[string]table{"keys": l.keys, "sources": l.sources} {
		if len(table.entries) != maxEntries || table.order.Len() != maxEntries {
			t.Errorf("%s: %d entries, %d in order", name, len(table.entries), table.order.Len())
		}
	}
}

func TestAClockThatGoesBackGivesNothing(t *testing.T) {
	c := newClock()
	l := New(c.now)
	for range keyBurst {
		l.Failed("SPA", "192.0.2.1:1")
	}
	c.t = c.t.Add(-time.Hour)
	if wait := l.Failed("SPA", "192.0.2.1:1"); wait != keyEvery {
		t.Errorf("%v, want %v", wait, keyEvery)
	}
}
