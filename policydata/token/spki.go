package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"math/big"
)

// Object identifiers in DER, without tag and length (RFC 8017 appendix A.1,
// RFC 5480 section 2.1.1, RFC 8410 section 3).
const (
	oidRSA     = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"
	oidEC      = "\x2a\x86\x48\xce\x3d\x02\x01"
	oidEd25519 = "\x2b\x65\x70"
	oidP256    = "\x2a\x86\x48\xce\x3d\x03\x01\x07"
	oidP384    = "\x2b\x81\x04\x00\x22"
	oidP521    = "\x2b\x81\x04\x00\x23"
)

// Tags of DER (X.690 section 8).
const (
	tagInteger   = 0x02
	tagBitString = 0x03
	tagNull      = 0x05
	tagOID       = 0x06
	tagSequence  = 0x30
)

var errMalformedSPKI = errors.New("not a DER SubjectPublicKeyInfo")

// ParseSPKI reads a SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7): a
// *rsa.PublicKey, an *ecdsa.PublicKey on P-256, P-384 or P-521, or an
// ed25519.PublicKey. It accepts the one encoding that DER has of each, and takes
// less room in the filter than crypto/x509. It does not judge the key's
// strength: see CheckKey.
func ParseSPKI(spki []byte) (crypto.PublicKey, error) {
	rest := der(spki)
	info, ok := rest.read(tagSequence)
	algorithm, ok1 := info.read(tagSequence)
	bits, ok2 := info.read(tagBitString)
	oid, ok3 := algorithm.read(tagOID)
	if !ok || !ok1 || !ok2 || !ok3 || len(rest)+len(info) > 0 || len(bits) == 0 || bits[0] != 0 {
		return nil, errMalformedSPKI
	}
	key := bits[1:] // behind the number of unused bits
	switch string(oid) {
	case oidRSA:
		return parseRSA(algorithm, key)
	case oidEC:
		return parseEC(algorithm, key)
	case oidEd25519:
		if len(algorithm) > 0 || len(key) != ed25519.PublicKeySize {
			return nil, errMalformedSPKI
		}
		return ed25519.PublicKey(key), nil
	}
	return nil, errors.New("neither RSA nor EC nor Ed25519")
}

func parseRSA(parameters, key der) (crypto.PublicKey, error) {
	null, ok := parameters.read(tagNull)
	pair, ok1 := key.read(tagSequence)
	n, ok2 := pair.positive()
	e, ok3 := pair.positive()
	if !ok || !ok1 || !ok2 || !ok3 || len(null)+len(parameters)+len(key)+len(pair) > 0 {
		return nil, errMalformedSPKI
	}
	if e.BitLen() > 31 {
		return nil, errors.New("RSA exponent is too large")
	}
	return &rsa.PublicKey{N: n, E: int(e.Int64())}, nil
}

func parseEC(parameters, point der) (crypto.PublicKey, error) {
	oid, ok := parameters.read(tagOID)
	if !ok || len(parameters) > 0 {
		return nil, errMalformedSPKI
	}
	var curve elliptic.Curve
	switch string(oid) {
	case oidP256:
		curve = elliptic.P256()
	case oidP384:
		curve = elliptic.P384()
	case oidP521:
		curve = elliptic.P521()
	default:
		return nil, errors.New("EC key on another curve than P-256, P-384 and P-521")
	}
	key, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		return nil, errors.New("EC key is not a point on its curve")
	}
	return key, nil
}

// der is DER that is still to be read.
type der []byte

// read takes an element of a known tag and returns its content.
func (d *der) read(tag byte) (content der, ok bool) {
	b := *d
	if len(b) < 2 || b[0] != tag {
		return nil, false
	}
	length, header := int(b[1]), 2
	switch {
	case length < 0x80:
	case length == 0x81 && len(b) > 2 && b[2] >= 0x80:
		length, header = int(b[2]), 3
	case length == 0x82 && len(b) > 3 && b[2] != 0:
		length, header = int(b[2])<<8|int(b[3]), 4
	default: // not the shortest form, or longer than any key
		return nil, false
	}
	if length > len(b)-header {
		return nil, false
	}
	*d = b[header+length:]
	return b[header : header+length], true
}

// positive takes an INTEGER above 0, in its shortest form.
func (d *der) positive() (*big.Int, bool) {
	b, ok := d.read(tagInteger)
	if !ok || len(b) == 0 || b[0] >= 0x80 || b[0] == 0 && (len(b) == 1 || b[1] < 0x80) {
		return nil, false
	}
	return new(big.Int).SetBytes(b), true
}
