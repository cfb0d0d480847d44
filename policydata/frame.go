package policydata

import (
	"encoding/binary"
	"errors"
	"slices"
)

// Frame is a complete snapshot taken apart, of which nothing but the frame was
// checked: magic, version, lengths, section table, signature block.
type Frame struct {
	Header            []byte              // HeaderBytes of them
	Sections          [NumSections][]byte // without padding
	Signature         []byte              // the signature block
	Epoch, Generation uint64
	Mark              string // see the function Mark; "" if the signature is too short for one
}

// The size of a snapshot's header, and where fields of it stand.
const (
	HeaderBytes      = headerBytes
	HeaderEpoch      = hdrEpoch
	HeaderGeneration = hdrGeneration
)

// ParseFrame takes a complete snapshot apart. What it returns shares b's memory,
// which must not change from here on. The error is a *FormatError.
func ParseFrame(b []byte) (*Frame, error) {
	s, sig, err := open(b)
	if err != nil {
		return nil, err
	}
	if err := s.validateHeader(); err != nil {
		return nil, err
	}
	if err := s.validateSections(); err != nil {
		return nil, err
	}
	f := &Frame{Header: b[:headerBytes], Signature: b[s.length:], Epoch: s.Epoch(), Generation: s.Generation(), Mark: markOf(sig)}
	for id, span := range s.section {
		f.Sections[id] = b[span.offset:][:span.count*recordBytes[id]]
	}
	return f, nil
}

// ClaimedVersion returns the version that is written on bytes which may be no
// snapshot at all, to tell an operator what was refused. It is no more than a
// claim: nothing was verified.
func ClaimedVersion(b []byte) (epoch, generation uint64, ok bool) {
	le := binary.LittleEndian
	if len(b) < headerBytes || string(b[:len(snapshotMagic)]) != snapshotMagic || le.Uint32(b[hdrVersion:]) != snapshotVersion {
		return 0, 0, false
	}
	return le.Uint64(b[hdrEpoch:]), le.Uint64(b[hdrGeneration:]), true
}

// HashTableBytes returns how many bytes of a body from Build are hash tables. These
// double where they are half full; all else grows only with what is added.
func HashTableBytes(body []byte) (n int) {
	for _, id := range [...]int{secEdges, secUserIndex, secGroupIndex, secClaimIndex} {
		n += int(binary.LittleEndian.Uint32(body[headerBytes+id*sectionEntryBytes+12:]))
	}
	return n
}

// AppendSectionTable appends the section table of a snapshot whose sections have
// these lengths in bytes.
func AppendSectionTable(out []byte, lengths [NumSections]int) []byte {
	le, offset := binary.LittleEndian, headerBytes+numSections*sectionEntryBytes
	for id, length := range lengths {
		out = le.AppendUint32(out, uint32(id))
		out = le.AppendUint32(out, recordBytes[id])
		out = le.AppendUint32(out, uint32(offset))
		out = le.AppendUint32(out, uint32(length))
		offset += align(length)
	}
	return out
}

// AppendSignature appends to the body of a snapshot, or of what else is signed in
// the same way, the signature over it: ECDSA with P-256 and SHA-256, as ASN.1 DER
// (RFC 3279 section 2.2.3). keyID says which key made it; it is not signed and
// only helps to find the key.
func AppendSignature(body []byte, keyID string, sig []byte) []byte {
	out := slices.Clip(body)
	out = append(out, signatureMagic...)
	out = binary.LittleEndian.AppendUint16(out, uint16(len(keyID)))
	out = binary.LittleEndian.AppendUint16(out, uint16(len(sig)))
	out = append(out, keyID...)
	return append(out, sig...)
}

// ParseSignature takes apart the signature block that AppendSignature appended.
func ParseSignature(block []byte) (keyID string, sig []byte, err error) {
	head := len(signatureMagic) + 4
	if len(block) < head || string(block[:len(signatureMagic)]) != signatureMagic {
		return "", nil, errors.New("no signature")
	}
	keyLen := int(block[4]) | int(block[5])<<8
	sigLen := int(block[6]) | int(block[7])<<8
	if keyLen > maxKeyIDBytes || sigLen > maxSignatureBytes || len(block) != head+keyLen+sigLen {
		return "", nil, errors.New("signature block of a wrong length")
	}
	return string(block[head : head+keyLen]), block[head+keyLen:], nil
}
