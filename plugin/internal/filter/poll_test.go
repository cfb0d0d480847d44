package filter

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"sallyport/policydata/pluginconfig"
	"sallyport/policydata/pushapi"
)

func TestHeadsRoundTrip(t *testing.T) {
	const now = 1_000_000
	good := head{
		leader: workerID{1, 2, 3}, until: now + leaseMillis, version: pushapi.Version{Epoch: 1, Generation: 1<<64 - 1},
		mark: [markBytes]byte{4, 5}, size: 7,
	}
	b := good.append(nil)
	if got, ok := parseHead(b, now); !ok || got != good {
		t.Errorf("%+v, %t", got, ok)
	}
	if _, ok := parseHead(b, now-1); ok {
		t.Error("a lease that ends too late counts")
	}
	for i := range 2 * len(b) {
		if i == len(b) {
			continue
		}
		if _, ok := parseHead(append(bytes.Clone(b), b...)[:i], now); ok {
			t.Errorf("%d bytes are a head", i)
		}
	}
	for name, change := range map[string]func(*head){
		"ends never":     func(h *head) { h.until = math.MaxInt64 },
		"has no end":     func(h *head) { h.until = math.MinInt64 },
		"has a size":     func(h *head) { h.size = math.MaxUint32 },
		"has ended":      func(h *head) { h.until = now - 1 },
		"ends right now": func(h *head) { h.until = now },
	} {
		h := good
		change(&h)
		got, ok := parseHead(h.append(nil), now)
		if ok && (got.until > now || got.size != 7) || !ok && h.until <= now && h.size == 7 {
			t.Errorf("a head that %s: %+v, %t", name, got, ok)
		}
	}
}

// Feeds are the same for plugins that can give each other snapshots, and for
// these alone.
func TestFeedKeys(t *testing.T) {
	base := pluginconfig.Config{TrustedKeys: [][]byte{{1}, {2}}, HostCluster: "a", HostAuthority: "b", Poll: true}
	seen := map[string]string{feedKey("n", &base): "base"}
	for name, change := range map[string]func(*pluginconfig.Config){
		"cluster":   func(c *pluginconfig.Config) { c.HostCluster = "ab" },
		"authority": func(c *pluginconfig.Config) { c.HostAuthority = "" },
		"keys":      func(c *pluginconfig.Config) { c.TrustedKeys = [][]byte{{1, 2}} },
	} {
		c := base
		change(&c)
		key := feedKey("n", &c)
		if other, ok := seen[key]; ok {
			t.Errorf("%s is %s", name, other)
		}
		seen[key] = name
	}
	if _, ok := seen[feedKey("na", &base)]; ok {
		t.Error("another name makes no difference")
	}
	same := base
	same.TokenCookie, same.Snapshot = "c", []byte("s")
	if seen[feedKey("n", &same)] != "base" {
		t.Error("other settings make a difference")
	}
}

func TestPauses(t *testing.T) {
	last := int64(0)
	for failures := range 100 {
		d := pause(failures)
		if d < minPauseMillis/2 || d > maxPauseMillis || failures > 10 && d < maxPauseMillis/2 {
			t.Errorf("a pause of %d ms after %d failures", d, failures)
		}
		last = max(last, d)
	}
	if last < maxPauseMillis*3/4 {
		t.Errorf("no pause was longer than %d ms", last)
	}
	for text, want := range map[string]int64{
		"": 0, "0": 0, "1": 1000, "30": 30_000, "31": 30_000, "4294967295": 30_000, "4294967296": 0, "-1": 0, "1.5": 0,
		"Sun, 06 Nov 1994 08:49:37 GMT": 0,
	} {
		r := &response{headers: [][2]string{{":status", "429"}, {"retry-after", text}}}
		if got := retryAfter(r); got != want {
			t.Errorf("Retry-After: %s: %d ms, want %d", text, got, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	var r refusals
	tag := func(n int) string { return pushapi.Version{Epoch: 1, Generation: uint64(n)}.ETag("mark") }
	for n := range maxRefusals + 1 {
		if v := r.add(tag(n), 0); v.Generation != uint64(n) {
			t.Errorf("%s was refused as %v", tag(n), v)
		}
	}
	if len(r) != maxRefusals || r.has(tag(0), 0) || !r.has(tag(1), 0) || !r.has(tag(maxRefusals), refusalMillis-1) {
		t.Errorf("%+v", r)
	}
	if v, ok := r.newest(refusalMillis - 1); !ok || v.Generation != maxRefusals {
		t.Errorf("the newest is %v", v)
	}
	if _, ok := r.newest(refusalMillis); ok || r.has(tag(1), refusalMillis) {
		t.Error("it is remembered for ever")
	}
	// Again and again: longer and longer, but not for ever.
	for range 70 {
		r.add(tag(1), 0)
	}
	if !r.has(tag(1), refusalMillis<<maxRefusalsFor-1) || r.has(tag(1), refusalMillis<<maxRefusalsFor) || len(r) != maxRefusals {
		t.Errorf("%+v", r)
	}
	for _, bad := range []string{"", `""`, `"1.2"`, "garbage-x", `"1.02-x"`, `"1.2-` + strings.Repeat("x", maxETagBytes) + `"`} {
		before := slices.Clone(r)
		if v := r.add(bad, 0); v != (pushapi.Version{}) || !slices.Equal(before, r) {
			t.Errorf("%q was refused as %v", bad, v)
		}
	}
}

func TestTextsAreCut(t *testing.T) {
	for _, tt := range []struct {
		text  string
		limit int
		want  string
	}{
		{"", 0, ""}, {"abc", 3, "abc"}, {"abcd", 3, "abc"}, {"aü", 2, "a"}, {"aü", 3, "aü"}, {"€", 2, ""}, {"\x80\x80\x80", 2, ""},
	} {
		if got := cut(tt.text, tt.limit); got != tt.want {
			t.Errorf("%q in %d bytes: %q", tt.text, tt.limit, got)
		}
	}
}

func TestTokensOfTheEnvironment(t *testing.T) {
	for value, want := range map[string]string{
		"": "", "sp_abc.DEF-123": "sp_abc.DEF-123", "a b": "", "a\r\nx: y": "", "ü": "", "\xff": "", strings.Repeat("x", maxTokenBytes+1): "",
	} {
		t.Setenv(pushapi.TokenVariable, value)
		w := newWorker()
		if w.token != want || w.badToken != (value != want) {
			t.Errorf("%q: %q, bad: %t", value, w.token, w.badToken)
		}
		headers := fmt.Sprint(w.headers("GET", "/", &pluginconfig.Config{}))
		if strings.Contains(headers, "authorization") != (want != "") {
			t.Errorf("%q: %s", value, headers)
		}
	}
}

// The last plugin works for all, and who was not there when another looked is in
// its old place when it shows up again.
func TestOrderOfPlugins(t *testing.T) {
	a, b, c := &pluginContext{number: 1}, &pluginContext{number: 2}, &pluginContext{number: 3}
	var all []*pluginContext
	for _, p := range []*pluginContext{b, a, c, a, b, c} {
		all = insert(all, p)
	}
	if !slices.Equal(all, []*pluginContext{a, b, c}) {
		t.Errorf("%v", all)
	}
}
