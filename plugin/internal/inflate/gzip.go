package inflate

import (
	"encoding/binary"
	"errors"
)

// Errors.
var (
	ErrFormat   = errors.New("inflate: not one whole gzip member")
	ErrTooLarge = errors.New("inflate: larger than the limit")
)

// Of RFC 1952 section 2.3.
const (
	headerBytes  = 10
	trailerBytes = 8
	deflate      = 8

	flagHeaderCRC = 1 << 1
	flagExtra     = 1 << 2
	flagName      = 1 << 3
	flagComment   = 1 << 4
	flagReserved  = 0xE0
)

// maxRatio bounds what comes out for a byte: no member can hold more, so what
// claims to is not believed.
const maxRatio = 1032

// Gzip returns what a gzip member holds, if that is at most limit bytes. b is
// one whole member and nothing else.
func Gzip(b []byte, limit int) ([]byte, error) {
	body, err := skipHeader(b)
	if err != nil {
		return nil, err
	}
	trailer := body[len(body)-trailerBytes:]
	body = body[:len(body)-trailerBytes]
	size := binary.LittleEndian.Uint32(trailer[4:])
	if uint64(size) > uint64(limit) {
		return nil, ErrTooLarge
	}
	if uint64(size) > uint64(len(body))*maxRatio {
		return nil, ErrFormat
	}
	d := decoder{in: body, out: make([]byte, 0, size)}
	if !d.run() || len(d.out) != int(size) || d.unread() != 0 {
		return nil, ErrFormat
	}
	if checksum(d.out) != binary.LittleEndian.Uint32(trailer) {
		return nil, ErrFormat
	}
	return d.out, nil
}

// skipHeader returns what is behind a member's header, with at least a trailer.
func skipHeader(b []byte) ([]byte, error) {
	if len(b) < headerBytes+trailerBytes || b[0] != 0x1F || b[1] != 0x8B || b[2] != deflate || b[3]&flagReserved != 0 {
		return nil, ErrFormat
	}
	flags, at := b[3], headerBytes
	if flags&flagExtra != 0 {
		if len(b) < at+2 {
			return nil, ErrFormat
		}
		at += 2 + int(binary.LittleEndian.Uint16(b[at:]))
	}
	for _, flag := range []byte{flagName, flagComment} {
		if flags&flag == 0 {
			continue
		}
		for at < len(b) && b[at] != 0 {
			at++
		}
		at++
	}
	if flags&flagHeaderCRC != 0 {
		if len(b) < at+2 || uint16(checksum(b[:at])) != binary.LittleEndian.Uint16(b[at:]) {
			return nil, ErrFormat
		}
		at += 2
	}
	if len(b) < at+trailerBytes {
		return nil, ErrFormat
	}
	return b[at:], nil
}

// checksum is CRC-32 (RFC 1952 section 8). hash/crc32 is faster on large data and
// as large as all the rest of this package.
func checksum(b []byte) uint32 {
	const polynomial = 0xEDB88320
	var table [256]uint32
	for i := range table {
		c := uint32(i)
		for range 8 {
			c = c>>1 ^ polynomial&-(c&1)
		}
		table[i] = c
	}
	sum := ^uint32(0)
	for _, c := range b {
		sum = sum>>8 ^ table[byte(sum)^c]
	}
	return ^sum
}
