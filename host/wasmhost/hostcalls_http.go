package wasmhost

import (
	"math"
	"slices"
)

// headers returns the header map for which a hostcall asks, or nil where there
// is none now.
func (in *Instance) headers(kind uint32) *headerMap {
	if in.response != nil {
		switch kind {
		case mapCallHeaders:
			return in.response.headers
		case mapCallTrailers:
			return in.response.trailers
		}
	}
	s := in.stream()
	if s == nil || kind >= numMaps {
		return nil
	}
	return s.maps[kind]
}

// mutableHeaders is headers for a hostcall that changes them.
func (in *Instance) mutableHeaders(kind uint32) *headerMap {
	if s := in.stream(); s != nil && s.logging || kind == mapCallHeaders || kind == mapCallTrailers {
		return nil
	}
	return in.headers(kind)
}

func proxyGetHeaderMapSize(in *Instance, p params) Status {
	m := in.headers(p.u32(0))
	if m == nil {
		return StatusBadArgument
	}
	return in.putUint32(p.u32(1), uint32(m.byteSize()))
}

// proxyGetHeaderMapPairs lists each value of a repeated header by itself. A map
// that is not there is empty.
func proxyGetHeaderMapPairs(in *Instance, p params) Status {
	if p.u32(0) >= numMaps {
		return StatusBadArgument
	}
	m := in.headers(p.u32(0))
	if m == nil || len(m.pairs) == 0 {
		return in.store(nil, p.u32(1), p.u32(2))
	}
	return in.store(encodePairs(m.pairs), p.u32(1), p.u32(2))
}

func proxySetHeaderMapPairs(in *Instance, p params) Status {
	data, ok := in.text(p.u32(1), p.u32(2))
	if !ok {
		return StatusInvalidMemoryAccess
	}
	m := in.mutableHeaders(p.u32(0))
	pairs, err := decodePairs([]byte(data))
	if m == nil || err != nil {
		return StatusBadArgument
	}
	m.pairs = newHeaderMap(pairs, m.request).pairs
	return StatusOK
}

func proxyGetHeaderMapValue(in *Instance, p params) Status {
	if p.u32(0) >= numMaps {
		return StatusBadArgument
	}
	name, ok := in.text(p.u32(1), p.u32(2))
	if !ok {
		return StatusInvalidMemoryAccess
	}
	m := in.headers(p.u32(0))
	if m == nil {
		if s := in.stream(); s != nil && s.logging {
			return StatusNotFound
		}
		return StatusBadArgument
	}
	value, ok := m.first(name)
	if !ok {
		return StatusNotFound
	}
	return in.storeText(value, p.u32(3), p.u32(4))
}

func proxyAddHeaderMapValue(in *Instance, p params) Status {
	return in.changeHeader(p, (*headerMap).add)
}

func proxyReplaceHeaderMapValue(in *Instance, p params) Status {
	return in.changeHeader(p, (*headerMap).replace)
}

func (in *Instance) changeHeader(p params, change func(m *headerMap, name, value string)) Status {
	name, ok1 := in.text(p.u32(1), p.u32(2))
	value, ok2 := in.text(p.u32(3), p.u32(4))
	if !ok1 || !ok2 {
		return StatusInvalidMemoryAccess
	}
	m := in.mutableHeaders(p.u32(0))
	if m == nil {
		return StatusBadArgument
	}
	change(m, name, value)
	return StatusOK
}

func proxyRemoveHeaderMapValue(in *Instance, p params) Status {
	name, ok := in.text(p.u32(1), p.u32(2))
	if !ok {
		return StatusInvalidMemoryAccess
	}
	m := in.mutableHeaders(p.u32(0))
	if m == nil {
		return StatusBadArgument
	}
	m.remove(name)
	return StatusOK
}

// buffer returns the buffer for which a hostcall asks.
func (in *Instance) buffer(kind uint32) ([]byte, bool) {
	switch kind {
	case bufferVMConfig:
		return in.module.rt.opts.VMConfig, true
	case bufferPluginConfig:
		return in.configuring, in.inConfigure
	case bufferCallBody:
		if in.response != nil {
			return in.response.body, true
		}
	case bufferRequestBody, bufferResponseBody:
		if s := in.stream(); s != nil && s.hasBody[kind] {
			return s.body[kind], true
		}
	}
	return nil, false
}

// proxyGetBufferBytes answers what there is of the range. Of an empty one it
// writes nothing, as Envoy.
func proxyGetBufferBytes(in *Instance, p params) Status {
	kind, start, size := p.u32(0), p.u32(1), p.u32(2)
	if kind > maxBuffer || start > math.MaxUint32-size {
		return StatusBadArgument
	}
	b, ok := in.buffer(kind)
	if !ok {
		return StatusNotFound
	}
	b = b[min(uint64(start), uint64(len(b))):]
	b = b[:min(uint64(size), uint64(len(b)))]
	if len(b) == 0 {
		return StatusOK
	}
	return in.store(b, p.u32(3), p.u32(4))
}

func proxyGetBufferStatus(in *Instance, p params) Status {
	b, ok := in.buffer(p.u32(0))
	if !ok {
		return StatusNotFound
	}
	if status := in.putUint32(p.u32(1), uint32(len(b))); status != StatusOK {
		return status
	}
	return in.putUint32(p.u32(2), 0)
}

// proxySetBufferBytes replaces a range of a body. A start of 0 without a length
// prepends, a start at or beyond the end appends.
func proxySetBufferBytes(in *Instance, p params) Status {
	kind, start, size := p.u32(0), p.u32(1), p.u32(2)
	data, ok := in.text(p.u32(3), p.u32(4))
	if !ok {
		return StatusInvalidMemoryAccess
	}
	b, ok := in.buffer(kind)
	if !ok {
		return StatusNotFound
	}
	if kind != bufferRequestBody && kind != bufferResponseBody {
		return StatusBadArgument // the others can't be written
	}
	from := min(uint64(start), uint64(len(b)))
	to := min(from+uint64(size), uint64(len(b)))
	in.stream().body[kind] = slices.Replace(b, int(from), int(to), []byte(data)...)
	return StatusOK
}

// proxySendLocalResponse keeps the first response that the filter sends.
func proxySendLocalResponse(in *Instance, p params) Status {
	_, ok1 := in.text(p.u32(1), p.u32(2))
	body, ok2 := in.text(p.u32(3), p.u32(4))
	data, ok3 := in.text(p.u32(5), p.u32(6))
	if !ok1 || !ok2 || !ok3 {
		return StatusInvalidMemoryAccess
	}
	s := in.stream()
	pairs, err := decodePairs([]byte(data))
	code := p.u32(0)
	if s == nil || s.logging || err != nil || code < 200 || code > 599 {
		return StatusBadArgument
	}
	in.touched = append(in.touched, s)
	if s.local == nil {
		s.local = &LocalResponse{Status: int(code), Headers: newHeaderMap(pairs, false).pairs, Body: []byte(body)}
	}
	return StatusOK
}

func proxyContinueStream(in *Instance, p params) Status { return in.continueStream(p.u32(0)) }

func (in *Instance) continueStream(kind uint32) Status {
	s := in.stream()
	switch {
	case kind > maxStream || s == nil:
		return StatusBadArgument
	case kind > streamResponse:
		return StatusUnimplemented
	}
	s.resumed[kind] = true
	in.touched = append(in.touched, s)
	return StatusOK
}

func proxyCloseStream(in *Instance, p params) Status {
	s := in.stream()
	switch {
	case p.u32(0) > maxStream || s == nil:
		return StatusBadArgument
	case p.u32(0) > streamResponse:
		return StatusUnimplemented
	}
	s.closed = true
	in.touched = append(in.touched, s)
	return StatusOK
}
