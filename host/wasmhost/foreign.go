package wasmhost

import (
	"errors"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// ForeignFunc is a function that the filter calls by name through
// proxy_call_foreign_function. It runs on the goroutine of the callback. The
// Stream is nil outside of a request. The argument is not kept.
type ForeignFunc func(s *Stream, arg []byte) (result []byte, status Status)

// setFilterStateFunc is the one foreign function that is always there.
const setFilterStateFunc = "set_envoy_filter_state"

// filterStateKeys are the keys that set_envoy_filter_state takes. Envoy makes
// the stored object by a factory that is registered under the key, and answers
// NotFound for any other; of its keys only this one holds free text.
var filterStateKeys = map[string]bool{"envoy.string": true}

// setFilterState stores a value on the request for access logs, as Envoy's
// function of that name.
func setFilterState(s *Stream, arg []byte) ([]byte, Status) {
	key, value, err := parseFilterState(arg)
	if err != nil {
		return nil, StatusBadArgument
	}
	if s == nil || !filterStateKeys[key] {
		return nil, StatusNotFound
	}
	s.setFilterState(key, value)
	return nil, StatusOK
}

var errFilterState = errors.New("malformed filter state argument")

// parseFilterState reads the protobuf message SetEnvoyFilterStateArguments:
// 1 path, 2 value, 3 life span. The last of repeated fields counts, unknown
// fields are skipped, as protobuf has it.
func parseFilterState(b []byte) (path, value string, err error) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return "", "", errFilterState
		}
		b = b[n:]
		if typ != protowire.BytesType || num > 2 {
			if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
				return "", "", errFilterState
			}
			b = b[n:]
			continue
		}
		text, n := protowire.ConsumeString(b)
		if n < 0 || !utf8.ValidString(text) {
			return "", "", errFilterState
		}
		b = b[n:]
		if num == 1 {
			path = text
		} else {
			value = text
		}
	}
	return path, value, nil
}
