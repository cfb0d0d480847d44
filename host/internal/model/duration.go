package model

import (
	"fmt"
	"time"
)

// Duration is a time.Duration whose text is "30s" or "24h".
type Duration time.Duration

// ParseDuration parses a duration in whole seconds, such as "30s", "5m", "24h".
func ParseDuration(s string) (Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf(`expected a duration such as "30s" or "24h", got %q`, s)
	}
	if d%time.Second != 0 {
		return 0, fmt.Errorf("expected a duration in whole seconds, got %q", s)
	}
	return Duration(d), nil
}

// Seconds returns d in seconds.
func (d Duration) Seconds() int64 { return int64(time.Duration(d) / time.Second) }

// String returns d as time.Duration does.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := ParseDuration(string(text))
	if err != nil {
		return err
	}
	*d = v
	return nil
}
