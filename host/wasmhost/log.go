package wasmhost

import (
	"bytes"
	"context"
	"log/slog"
)

// Level is the level of a filter's log line.
type Level uint32

// The levels, by their numbers in the ABI.
const (
	LevelTrace Level = iota
	LevelDebug
	LevelInfo
	LevelWarn
	LevelError
	LevelCritical
)

// slog returns the level for a slog.Logger, which knows neither the lowest nor
// the highest of ours.
func (l Level) slog() slog.Level {
	switch l {
	case LevelTrace:
		return slog.LevelDebug - 4
	case LevelDebug:
		return slog.LevelDebug
	case LevelInfo:
		return slog.LevelInfo
	case LevelWarn:
		return slog.LevelWarn
	case LevelError:
		return slog.LevelError
	}
	return slog.LevelError + 4
}

// LogLine is a line that the filter logged or wrote to its standard output
// (LevelInfo) or standard error (LevelError).
type LogLine struct {
	Level Level
	Text  string
}

// maxCapturedLines bounds what is kept of one attempt to configure. The first
// lines are kept, which say why; a Go panic's traces follow them.
const maxCapturedLines = 64

// log passes a line on, and keeps it while a configuration is tried.
func (in *Instance) log(level Level, text string) {
	if in.capturing && len(in.captured) < maxCapturedLines {
		in.captured = append(in.captured, LogLine{Level: level, Text: text})
	}
	in.module.rt.opts.Logger.LogAttrs(context.Background(), level.slog(), text,
		slog.Uint64("wasm_context", uint64(in.contextID())))
}

// maxLine bounds a line of the guest's standard output.
const maxLine = 4 << 10

// lineWriter turns the guest's standard output into log lines. A guest has one
// thread, so there is no lock.
type lineWriter struct {
	in    *Instance
	level Level
	buf   []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		line, after, ended := bytes.Cut(rest, []byte{'\n'})
		rest = after
		if room := maxLine - len(w.buf); len(line) > room {
			line = line[:room]
		}
		w.buf = append(w.buf, line...)
		if ended {
			w.flush()
		}
	}
	return len(p), nil
}

func (w *lineWriter) flush() {
	if len(w.buf) > 0 {
		w.in.log(w.level, string(w.buf))
		w.buf = w.buf[:0]
	}
}
