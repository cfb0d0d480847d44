package native

import "sallyport/policydata/token"

var _ token.SignatureFunc = VerifyToken

// VerifyToken is a token.SignatureFunc. The proxy's function knows PKCS #1 v1.5
// and ECDSA; PSS and EdDSA are for Go.
func VerifyToken(alg string, spki []byte, signingInput string, signature []byte) (handled, ok bool) {
	if len(alg) != len("RS256") {
		return false, false
	}
	switch alg[:2] {
	case "RS":
	case "ES":
		signature = derSignature(signature)
	default:
		return false, false
	}
	ok, known := Verify("sha"+alg[2:], spki, []byte(signingInput), signature)
	return known, ok
}

// derSignature turns the signature of a JWS (RFC 7518 section 3.4: r and s, of
// the same length) into that of X.509 (RFC 3279 section 2.2.3: a sequence of
// two integers in DER).
func derSignature(raw []byte) []byte {
	half := len(raw) / 2
	r, s := derInteger(raw[:half]), derInteger(raw[half:])
	out := make([]byte, 0, len(r)+len(s)+8)
	out = appendDERHeader(out, 0x30, len(r)+len(s)+4) // an integer's own header has 2 bytes
	out = append(appendDERHeader(out, 0x02, len(r)), r...)
	return append(appendDERHeader(out, 0x02, len(s)), s...)
}

// derInteger returns an unsigned big-endian number in the fewest bytes that are
// not negative.
func derInteger(b []byte) []byte {
	for len(b) > 1 && b[0] == 0 {
		b = b[1:]
	}
	if len(b) > 0 && b[0] >= 0x80 {
		return append([]byte{0}, b...)
	}
	return b
}

// appendDERHeader appends tag and length, which is below 256: two numbers of 521
// bits have 140 bytes.
func appendDERHeader(out []byte, tag byte, length int) []byte {
	if length < 0x80 {
		return append(out, tag, byte(length))
	}
	return append(out, tag, 0x81, byte(length))
}
