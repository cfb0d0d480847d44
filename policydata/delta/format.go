package delta

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"sallyport/policydata"
)

// The layout of format version 1; doc.go is its specification.
const (
	magic   = "SALLYDLT"
	version = 1

	hdrVersion        = 8
	hdrLength         = 12 // of what is signed
	hdrBaseEpoch      = 16
	hdrBaseGeneration = 24
	hdrBaseMark       = 32
	hdrChecksum       = 48
	hdrTargetBytes    = 56 // signature block included
	hdrTargetBlock    = 60 // length of the target's signature block
	headerBytes       = 64

	tableBytes = 16 * policydata.NumSections // of the target's section table
	u32Bytes   = 4
)

// What an operation does, in its lowest two bits.
const (
	opCopy    = iota // records of the base, as they are in the target
	opReplace        // records that stand for records of the base, with other content
	opInsert         // records that the base does not have
	opSeek           // go to another record of the base
	opBits    = 2
)

// Version identifies a snapshot.
type Version struct {
	Epoch, Generation uint64
	Mark              string // see policydata.Mark
}

// String returns what is within the quotes of the snapshot's ETag.
func (v Version) String() string {
	return strconv.FormatUint(v.Epoch, 10) + "." + strconv.FormatUint(v.Generation, 10) + "-" + v.Mark
}

// Info is what a delta says of itself.
type Info struct {
	Base, Target Version
	TargetBytes  int    // the size of the target, signature included
	KeyID        string // the key that signed the delta; not signed itself
}

// FormatError says what is wrong with a delta's bytes, and where.
type FormatError struct {
	Offset int // in bytes from the delta's first
	Reason string
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("bad delta at byte %d: %s", e.Offset, e.Reason)
}

// ErrBase is returned by Apply for a delta that is not for this base.
var ErrBase = errors.New("the delta is for another base")

// ErrResult is returned by Apply if what came out is not the target.
var ErrResult = errors.New("the delta does not give its target")

// frame is a delta taken apart.
type frame struct {
	Info
	signed, sig []byte
	header      []byte // of the target
	block       []byte // the target's signature block
	checksum    uint64
	ops         int // where the operations begin
}

// Parse returns what a delta says of itself. Its signature is not verified.
func Parse(delta []byte) (Info, error) {
	f, err := open(delta)
	if err != nil {
		return Info{}, err
	}
	return f.Info, nil
}

// open checks the frame of a signed delta: magic, version, lengths, signature
// block.
func open(b []byte) (*frame, error) {
	if len(b) < headerBytes || len(b) > policydata.MaxSnapshotBytes || string(b[:len(magic)]) != magic {
		return nil, &FormatError{0, "not a delta"}
	}
	le := binary.LittleEndian
	length := le.Uint32(b[hdrLength:])
	switch {
	case le.Uint32(b[hdrVersion:]) != version:
		return nil, &FormatError{hdrVersion, "version of the format is not known; it needs a newer reader"}
	case uint64(length) > uint64(len(b)):
		return nil, &FormatError{hdrLength, "truncated"}
	}
	keyID, sig, err := policydata.ParseSignature(b[length:])
	if err != nil {
		return nil, &FormatError{int(length), err.Error()}
	}
	f, err := openBody(b[:length])
	if err != nil {
		return nil, err
	}
	f.KeyID, f.sig = keyID, sig
	return f, nil
}

// openBody checks the fixed part of a delta's body.
func openBody(body []byte) (*frame, error) {
	le := binary.LittleEndian
	if len(body) < headerBytes {
		return nil, &FormatError{hdrLength, "truncated"}
	}
	size, block := le.Uint32(body[hdrTargetBytes:]), le.Uint32(body[hdrTargetBlock:])
	ops := headerBytes + policydata.HeaderBytes + uint64(block)
	switch {
	case size > policydata.MaxSnapshotBytes || uint64(size) < policydata.HeaderBytes+tableBytes+uint64(block):
		return nil, &FormatError{hdrTargetBytes, "size of the target out of range"}
	case block < policydata.MarkBytes || ops > uint64(len(body)):
		return nil, &FormatError{hdrTargetBlock, "length of the target's signature block out of range"}
	}
	f := &frame{
		signed: body, ops: int(ops), checksum: le.Uint64(body[hdrChecksum:]),
		header: body[headerBytes:][:policydata.HeaderBytes],
		block:  body[headerBytes+policydata.HeaderBytes : ops],
	}
	f.TargetBytes = int(size)
	f.Base = Version{
		le.Uint64(body[hdrBaseEpoch:]), le.Uint64(body[hdrBaseGeneration:]),
		hex.EncodeToString(body[hdrBaseMark:][:policydata.MarkBytes]),
	}
	f.Target = Version{
		le.Uint64(f.header[policydata.HeaderEpoch:]), le.Uint64(f.header[policydata.HeaderGeneration:]),
		hex.EncodeToString(f.block[len(f.block)-policydata.MarkBytes:]),
	}
	return f, nil
}

// versionOf returns what identifies a snapshot.
func versionOf(f *policydata.Frame) Version {
	return Version{f.Epoch, f.Generation, f.Mark}
}

// checksum finds out, in a pass over words of 8 bytes, whether something went
// wrong. It is no protection against anybody: that is the signature's.
func checksum(b []byte) uint64 {
	const factor = 0x9E3779B97F4A7C15
	h := uint64(len(b))
	for ; len(b) >= 8; b = b[8:] {
		h = (h ^ binary.LittleEndian.Uint64(b)) * factor
		h ^= h >> 32
	}
	var last [8]byte
	copy(last[:], b)
	h = (h ^ binary.LittleEndian.Uint64(last[:])) * factor
	return h ^ h>>32
}
