package keyfetch

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// How long an answer is good for.
const (
	minFresh     = time.Minute    // so that no issuer has us ask all the time
	maxFresh     = 24 * time.Hour // so that a removed key is noticed
	defaultFresh = 5 * time.Minute
)

// freshness returns for how long after it was received an answer is good: RFC
// 9111 section 4.2, for a private cache, within minFresh and maxFresh.
func freshness(h http.Header, requested, received time.Time) time.Duration {
	lifetime, said := lifetime(h, received)
	if !said {
		return defaultFresh
	}
	return min(max(lifetime-age(h, requested, received), minFresh), maxFresh)
}

// lifetime returns RFC 9111 section 4.2.1's freshness lifetime. What is
// malformed is taken as stale.
func lifetime(h http.Header, received time.Time) (_ time.Duration, said bool) {
	directives := cacheControl(h)
	for _, d := range directives {
		if d.name == "no-store" || d.name == "no-cache" {
			return 0, true
		}
	}
	shortest := time.Duration(-1)
	for _, d := range directives {
		if d.name != "max-age" {
			continue
		}
		seconds, ok := deltaSeconds(d.value)
		if !ok {
			return 0, true
		}
		if shortest < 0 || seconds < shortest {
			shortest = seconds
		}
	}
	if shortest >= 0 {
		return shortest, true
	}
	expires := h.Values("Expires")
	if len(expires) == 0 {
		return 0, false
	}
	at, err := http.ParseTime(expires[0])
	if err != nil { // "0", above all
		return 0, true
	}
	return at.Sub(date(h, received)), true
}

// age returns RFC 9111 section 4.2.3's corrected age.
func age(h http.Header, requested, received time.Time) time.Duration {
	apparent := max(0, received.Sub(date(h, received)))
	said, ok := deltaSeconds(h.Get("Age"))
	if !ok {
		return apparent
	}
	return max(apparent, said+received.Sub(requested))
}

// date returns when the answer was made.
func date(h http.Header, received time.Time) time.Time {
	at, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return received
	}
	return at
}

// deltaSeconds reads RFC 9111 section 1.2.2; what is larger than it can be
// shown is as large as can be.
func deltaSeconds(text string) (time.Duration, bool) {
	const most = 1<<31 - 1
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds > most {
		seconds = most
	}
	return time.Duration(seconds) * time.Second, true
}

type directive struct{ name, value string }

// cacheControl returns the directives of Cache-Control. A quoted value that
// holds a comma is of none that counts here.
func cacheControl(h http.Header) []directive {
	var list []directive
	for part := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		list = append(list, directive{strings.ToLower(name), strings.Trim(value, `"`)})
	}
	return list
}
