package native

import "encoding/binary"

// Envoy's foreign functions take protobuf messages. They are flat, so they are
// written by hand: a protobuf runtime would double the module's size.

// verifyArguments encodes VerifySignatureArguments: hash function, public key,
// signature, text.
func verifyArguments(hash string, spki, signed, sig []byte) []byte {
	out := make([]byte, 0, len(spki)+len(signed)+len(sig)+32)
	out = appendBytes(out, 1, []byte(hash))
	out = appendBytes(out, 2, spki)
	out = appendBytes(out, 3, sig)
	return appendBytes(out, 4, signed)
}

func appendBytes(out []byte, field byte, b []byte) []byte {
	out = append(out, field<<3|2) // wire type 2: length-delimited
	out = binary.AppendUvarint(out, uint64(len(b)))
	return append(out, b...)
}

// verifyResult decodes VerifySignatureResult: only field 1 set to true, and
// nothing behind it that can't be read, is a yes.
func verifyResult(b []byte) bool {
	ok := false
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			return false
		}
		b = b[n:]
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return false
		}
		b = b[n:]
		switch tag {
		case 1 << 3: // result, varint
			ok = v == 1
		case 2<<3 | 2: // error, text
			if v > uint64(len(b)) {
				return false
			}
			b = b[v:]
		default:
			return false
		}
	}
	return ok
}
