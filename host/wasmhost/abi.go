package wasmhost

import (
	"encoding/binary"
	"errors"
)

// Status is what a hostcall answers to the guest.
type Status uint32

// The statuses of ABI 0.2.x, by their numbers there.
const (
	StatusOK                  Status = 0
	StatusNotFound            Status = 1
	StatusBadArgument         Status = 2
	StatusInvalidMemoryAccess Status = 6
	StatusEmpty               Status = 7
	StatusCASMismatch         Status = 8
	StatusInternalFailure     Status = 10
	StatusUnimplemented       Status = 12
)

// Kinds of header maps.
const (
	mapRequestHeaders  = 0
	mapRequestTrailers = 1
	mapResponseHeaders = 2
	mapCallHeaders     = 6
	mapCallTrailers    = 7
	numMaps            = 8
)

// Kinds of buffers.
const (
	bufferRequestBody  = 0
	bufferResponseBody = 1
	bufferCallBody     = 4
	bufferVMConfig     = 6
	bufferPluginConfig = 7
	maxBuffer          = 8
)

// Kinds of streams that can be continued or closed.
const (
	streamRequest  = 0
	streamResponse = 1
	maxStream      = 3
)

// What a callback on headers or a body returns.
const (
	actionContinue = 0
	actionPause    = 1
)

// Bounds on a serialized map, those of Envoy's host.
const (
	maxPairs      = 1024
	maxPairsBytes = 1 << 20
)

var errPairs = errors.New("malformed header pairs")

// encodePairs serializes pairs as the ABI wants them: their number, the lengths
// of each name and value, then the texts, each followed by a zero byte.
func encodePairs(pairs [][2]string) []byte {
	size := 4
	for _, p := range pairs {
		size += 8 + len(p[0]) + 1 + len(p[1]) + 1
	}
	out := make([]byte, 0, size)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(pairs)))
	for _, p := range pairs {
		out = binary.LittleEndian.AppendUint32(out, uint32(len(p[0])))
		out = binary.LittleEndian.AppendUint32(out, uint32(len(p[1])))
	}
	for _, p := range pairs {
		out = append(append(out, p[0]...), 0)
		out = append(append(out, p[1]...), 0)
	}
	return out
}

// decodePairs reads what encodePairs writes, and nothing else. No bytes at all
// are no pairs.
func decodePairs(b []byte) ([][2]string, error) {
	if len(b) == 0 {
		return nil, nil
	}
	if len(b) < 4 || len(b) > maxPairsBytes {
		return nil, errPairs
	}
	n := binary.LittleEndian.Uint32(b)
	if n > maxPairs || uint32(len(b)-4) < n*8 {
		return nil, errPairs
	}
	sizes, texts := b[4:4+n*8], b[4+n*8:]
	pairs := make([][2]string, n)
	for i := range pairs {
		for j := range pairs[i] {
			size := binary.LittleEndian.Uint32(sizes)
			sizes = sizes[4:]
			if uint64(size)+1 > uint64(len(texts)) || texts[size] != 0 {
				return nil, errPairs
			}
			pairs[i][j] = string(texts[:size])
			texts = texts[size+1:]
		}
	}
	if len(texts) != 0 {
		return nil, errPairs
	}
	return pairs, nil
}
