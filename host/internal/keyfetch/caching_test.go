package keyfetch

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestFreshness(t *testing.T) {
	received := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) string { return received.Add(-d).Format(http.TimeFormat) }
	tests := []struct {
		name, headers string // "name: value" a line
		want          time.Duration
	}{
		{"nothing said", "", defaultFresh},
		{"only other directives", "Cache-Control: public, must-revalidate", defaultFresh},
		{"max-age", "Cache-Control: max-age=600", 10 * time.Minute},
		{"max-age among others", "Cache-Control: public, Max-Age=600 , must-revalidate, no-transform", 10 * time.Minute},
		{"max-age in quotes", `Cache-Control: max-age="600"`, 10 * time.Minute},
		{"two headers", "Cache-Control: public\nCache-Control: max-age=600", 10 * time.Minute},
		{"two max-age: the shorter", "Cache-Control: max-age=6000, max-age=600", 10 * time.Minute},
		{"s-maxage is for shared caches", "Cache-Control: s-maxage=60, max-age=600", 10 * time.Minute},
		{"short", "Cache-Control: max-age=1", minFresh},
		{"zero", "Cache-Control: max-age=0", minFresh},
		{"negative is malformed, and stale", "Cache-Control: max-age=-5", minFresh},
		{"malformed", "Cache-Control: max-age=1h", minFresh},
		{"without value", "Cache-Control: max-age", minFresh},
		{"long", "Cache-Control: max-age=31536000", maxFresh},
		{"beyond all numbers", "Cache-Control: max-age=99999999999999999999999", maxFresh},
		{"no-store", "Cache-Control: no-store, max-age=600", minFresh},
		{"no-cache", "Cache-Control: max-age=600, no-cache", minFresh},
		{"Age", "Cache-Control: max-age=600\nAge: 300", 299 * time.Second}, // and a second on the way
		{"Age beyond", "Cache-Control: max-age=600\nAge: 6000", minFresh},
		{"Age malformed", "Cache-Control: max-age=600\nAge: x", 10 * time.Minute},
		{"old by its Date", "Cache-Control: max-age=600\nDate: " + ago(5*time.Minute), 5 * time.Minute},
		{"Date ahead of us", "Cache-Control: max-age=600\nDate: " + ago(-time.Hour), 10 * time.Minute},
		{"Expires", "Expires: " + ago(-20*time.Minute), 20 * time.Minute},
		{"Expires counts from Date", "Expires: " + ago(-20*time.Minute) + "\nDate: " + ago(10*time.Minute), 20 * time.Minute},
		{"Expires 0", "Expires: 0", minFresh},
		{"Expires past", "Expires: " + ago(time.Hour), minFresh},
		{"max-age goes before Expires", "Cache-Control: max-age=600\nExpires: 0", 10 * time.Minute},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := http.Header{}
			for line := range strings.Lines(test.headers) {
				name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
				h.Add(name, value)
			}
			if got := freshness(h, received.Add(-time.Second), received); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
