package logins

import (
	"container/list"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// Limits: so many failures at once, and one more after each interval.
const (
	keyBurst    = 10
	keyEvery    = 10 * time.Second
	sourceBurst = 50
	sourceEvery = 2 * time.Second
	maxEntries  = 4096 // of keys, and of sources
)

// Limiter counts failed logins. It is safe for concurrent use.
type Limiter struct {
	now  func() time.Time
	seed maphash.Seed

	mu      sync.Mutex
	keys    table // guarded by mu
	sources table // guarded by mu
}

// New returns a Limiter with a clock, such as time.Now.
func New(now func() time.Time) *Limiter {
	return &Limiter{
		now: now, seed: maphash.MakeSeed(),
		keys: newTable(keyBurst, keyEvery), sources: newTable(sourceBurst, sourceEvery),
	}
}

// Failed notes a failed login with an access key, "" for none, from a remote
// address as in http.Request. It returns how long to wait before the next try,
// or 0 while the failures are within the limits.
func (l *Limiter) Failed(accessKeyID, remoteAddr string) time.Duration {
	now := l.now()
	source := maphash.String(l.seed, sourceOf(remoteAddr))
	key := maphash.String(l.seed, accessKeyID)
	l.mu.Lock()
	defer l.mu.Unlock()
	wait := l.sources.failed(source, now)
	if accessKeyID != "" {
		wait = max(wait, l.keys.failed(key, now))
	}
	return wait
}

// sourceOf returns what of a remote address stands for one client: of IPv6 the
// network of 64 bits, of which one client has all addresses. What a proxy in
// front says in headers is not asked, since anybody can say it.
func sourceOf(remoteAddr string) string {
	ap, err := netip.ParseAddrPort(remoteAddr)
	if err != nil {
		return remoteAddr
	}
	addr := ap.Addr().Unmap().WithZone("")
	if addr.Is4() {
		return addr.String()
	}
	network, err := addr.Prefix(64)
	if err != nil {
		return addr.String()
	}
	return network.String()
}

// table has a token bucket for each of what failed last.
type table struct {
	burst   int
	every   time.Duration
	entries map[uint64]*list.Element
	order   *list.List // of *bucket; the last failure first
}

type bucket struct {
	id     uint64
	tokens float64
	filled time.Time
}

func newTable(burst int, every time.Duration) table {
	return table{burst, every, map[uint64]*list.Element{}, list.New()}
}

// failed takes a token of id's bucket, or returns when there will be one.
func (t *table) failed(id uint64, now time.Time) time.Duration {
	e, ok := t.entries[id]
	if !ok {
		if t.order.Len() == maxEntries {
			oldest := t.order.Back()
			delete(t.entries, t.order.Remove(oldest).(*bucket).id)
		}
		e = t.order.PushFront(&bucket{id, float64(t.burst), now})
		t.entries[id] = e
	}
	t.order.MoveToFront(e)
	b := e.Value.(*bucket)
	if now.After(b.filled) {
		b.tokens = min(float64(t.burst), b.tokens+float64(now.Sub(b.filled))/float64(t.every))
	}
	b.filled = now
	if b.tokens < 1 {
		return time.Duration((1 - b.tokens) * float64(t.every))
	}
	b.tokens--
	return 0
}
