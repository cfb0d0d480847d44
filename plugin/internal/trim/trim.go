package trim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// kept are the exports without which the filter does not work.
var kept = map[string]bool{
	"memory":                    true,
	"_initialize":               true, // the Go runtime
	"proxy_abi_version_0_2_0":   true,
	"proxy_on_memory_allocate":  true,
	"proxy_on_context_create":   true,
	"proxy_on_vm_start":         true,
	"proxy_on_configure":        true,
	"proxy_on_request_headers":  true, // the decision
	"proxy_on_request_trailers": true, // called only where there are any
	"proxy_on_delete":           true, // the SDK forgets a request's context here
	"proxy_on_log":              true, // a request that waits has gone

	// What waits for a key; snapshots that are polled, and reports.
	"proxy_on_tick":               true,
	"proxy_on_http_call_response": true,
}

// dropped are the exports in which the SDK does nothing for this filter. A
// proxy takes an absent proxy_on_done for the answer true, which is the SDK's.
var dropped = map[string]bool{
	"proxy_on_done":                        true,
	"proxy_on_request_body":                true,
	"proxy_on_response_headers":            true,
	"proxy_on_response_body":               true,
	"proxy_on_response_trailers":           true,
	"proxy_on_queue_ready":                 true,
	"proxy_on_new_connection":              true,
	"proxy_on_downstream_data":             true,
	"proxy_on_downstream_connection_close": true,
	"proxy_on_upstream_data":               true,
	"proxy_on_upstream_connection_close":   true,
}

const preamble = "\x00asm\x01\x00\x00\x00"

// Sections that are looked at (WebAssembly core specification, section 5.5.2).
const (
	sectionCustom = 0
	sectionExport = 7
	maxSection    = 13
)

var errTruncated = errors.New("truncated module")

// Module returns a copy of a filter's module without superfluous exports and
// custom sections. It reads the frame of the module and its exports; all else is
// taken over byte by byte.
func Module(wasm []byte) ([]byte, error) {
	if len(wasm) < len(preamble) || string(wasm[:len(preamble)]) != preamble {
		return nil, errors.New("not a WebAssembly module of version 1")
	}
	out := append(make([]byte, 0, len(wasm)), preamble...)
	exports := 0
	for r := reader(wasm[len(preamble):]); len(r) > 0; {
		id := r[0]
		r = r[1:]
		content, err := r.bytes()
		if err != nil {
			return nil, fmt.Errorf("section %d: %w", id, err)
		}
		switch {
		case id > maxSection:
			return nil, fmt.Errorf("section %d: not known", id)
		case id == sectionCustom:
			continue
		case id == sectionExport:
			exports++
			if content, err = trimExports(content); err != nil {
				return nil, fmt.Errorf("export section: %w", err)
			}
		}
		out = appendBytes(append(out, id), content)
	}
	if exports != 1 {
		return nil, fmt.Errorf("%d export sections, want one", exports)
	}
	return out, nil
}

// trimExports returns the content of an export section without the dropped
// exports. The order of the others stays.
func trimExports(section reader) ([]byte, error) {
	n, err := section.number()
	if err != nil {
		return nil, err
	}
	missing := maps.Clone(kept)
	var entries []byte
	for range n {
		entry := section
		name, err := section.export()
		switch {
		case err != nil:
			return nil, err
		case dropped[name]:
			continue
		case !missing[name]:
			return nil, fmt.Errorf("%q is not known, or there twice", name)
		}
		delete(missing, name)
		entries = append(entries, entry[:len(entry)-len(section)]...)
	}
	if len(section) > 0 {
		return nil, errors.New("bytes behind the last export")
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%q are missing", slices.Sorted(maps.Keys(missing)))
	}
	return append(binary.AppendUvarint(nil, uint64(len(kept))), entries...), nil
}

// reader is a part of a module that is still to be read.
type reader []byte

// number takes an unsigned integer of 32 bits in LEB128.
func (r *reader) number() (uint32, error) {
	n, size := binary.Uvarint((*r)[:min(len(*r), binary.MaxVarintLen32)])
	switch {
	case size == 0 && len(*r) < binary.MaxVarintLen32:
		return 0, errTruncated
	case size <= 0 || n > 1<<32-1:
		return 0, errors.New("number too large")
	}
	*r = (*r)[size:]
	return uint32(n), nil
}

// bytes takes bytes behind their length.
func (r *reader) bytes() (reader, error) {
	n, err := r.number()
	if err != nil {
		return nil, err
	}
	if uint64(n) > uint64(len(*r)) {
		return nil, errTruncated
	}
	b := (*r)[:n]
	*r = (*r)[n:]
	return b, nil
}

// export takes an export: name, kind, index.
func (r *reader) export() (name string, err error) {
	text, err := r.bytes()
	if err != nil {
		return "", err
	}
	if len(*r) == 0 {
		return "", errTruncated
	}
	*r = (*r)[1:]
	_, err = r.number()
	return string(text), err
}

func appendBytes(out, b []byte) []byte {
	return append(binary.AppendUvarint(out, uint64(len(b))), b...)
}
