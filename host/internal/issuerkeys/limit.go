package issuerkeys

import "time"

// limit is a token bucket. Its zero value is not usable.
type limit struct {
	burst int
	every time.Duration // a token comes back after

	tokens float64
	filled time.Time
}

func newLimit(burst int, every time.Duration) limit {
	return limit{burst: burst, every: every, tokens: float64(burst)}
}

// wait returns how long it is until there is a token; 0 if there is one.
func (l *limit) wait(now time.Time) time.Duration {
	if !l.filled.IsZero() && now.After(l.filled) {
		l.tokens = min(float64(l.burst), l.tokens+float64(now.Sub(l.filled))/float64(l.every))
	}
	l.filled = now
	if l.tokens >= 1 {
		return 0
	}
	return time.Duration((1 - l.tokens) * float64(l.every))
}

// take takes a token, which there is.
func (l *limit) take() { l.tokens-- }
