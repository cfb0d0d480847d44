package wasmhost

import (
	"errors"
	"strings"
)

var (
	// ErrTrap is returned when the guest panicked, ran into a trap or left its
	// VM. The instance is dead, and its request must be refused.
	ErrTrap = errors.New("wasm filter trapped")

	// ErrConfigRejected is returned when the filter refused a configuration.
	// What was in force before still is.
	ErrConfigRejected = errors.New("wasm filter rejected its configuration")

	// ErrPoolClosed is returned by a Pool after Close.
	ErrPoolClosed = errors.New("wasm filter pool is closed")
)

// ConfigError says why a configuration was not taken, in the filter's words.
// It wraps [ErrConfigRejected] or [ErrTrap].
type ConfigError struct {
	Err  error
	Logs []LogLine // what the filter logged during the attempt
}

// Error is the cause, followed by the filter's warnings and errors.
func (e *ConfigError) Error() string {
	var b strings.Builder
	b.WriteString(e.Err.Error())
	for _, l := range e.Logs {
		if l.Level >= LevelWarn {
			b.WriteString("; ")
			b.WriteString(l.Text)
		}
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *ConfigError) Unwrap() error { return e.Err }
