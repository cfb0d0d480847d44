package token

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"

	"sallyport/policydata"
)

// Sizes of RSA keys that are accepted: below, they can be factored (RFC 7518
// section 3.3 wants 2048); above, verifying costs a proxy too much.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// minRSAExponent is the least public exponent of FIPS 186-5 appendix A.1.1.
// Smaller ones have a history of forgeries and no issuer needs them.
const minRSAExponent = 1<<16 + 1

// publicKey is a key that has passed all checks.
type publicKey struct {
	id        string
	algorithm string // "": any that fits
	spki      []byte
	family    family
	curve     int
	key       crypto.PublicKey // as golang-jwt's methods want it

	signatureBytes int
	// bound: the signature is a row of big-endian numbers of this length, each
	// above 0 and below it: RSA's modulus, or for r and s the curve's order.
	// nil for Ed25519.
	bound []byte
}

// CheckKey says whether a key can be used: what it holds, its strength, and
// that its Algorithm fits. NewVerifier makes the same check.
func CheckKey(key policydata.Key) error {
	_, err := parseKey(key)
	return err
}

func parseKeys(keys []policydata.Key) ([]publicKey, error) {
	parsed := make([]publicKey, 0, len(keys))
	for i, key := range keys {
		k, err := parseKey(key)
		if err != nil {
			return nil, fmt.Errorf("key %d (%q): %w", i, key.ID, err)
		}
		for _, other := range parsed {
			if k.id != "" && k.id == other.id {
				return nil, fmt.Errorf("key %d (%q): another key has the same kid", i, key.ID)
			}
		}
		parsed = append(parsed, k)
	}
	return parsed, nil
}

func parseKey(key policydata.Key) (publicKey, error) {
	public, err := ParseSPKI(key.SPKI)
	if err != nil {
		return publicKey{}, err
	}
	k := publicKey{id: key.ID, algorithm: key.Algorithm, spki: key.SPKI, key: public}
	switch public := public.(type) {
	case *rsa.PublicKey:
		err = k.setRSA(public)
	case *ecdsa.PublicKey:
		k.setEC(public)
	case ed25519.PublicKey:
		err = k.setEd25519(public)
	}
	if err != nil {
		return publicKey{}, err
	}
	if k.algorithm == "" {
		return k, nil
	}
	a, err := algorithmByName(k.algorithm)
	if err != nil {
		return publicKey{}, err
	}
	if !k.fits(&a) {
		return publicKey{}, fmt.Errorf("algorithm %s does not fit the key's type", a.name)
	}
	return k, nil
}

func (k *publicKey) setRSA(public *rsa.PublicKey) error {
	bits := public.N.BitLen()
	switch {
	case bits < minRSABits:
		return fmt.Errorf("RSA modulus of %d bits: at least %d are needed", bits, minRSABits)
	case bits > maxRSABits:
		return fmt.Errorf("RSA modulus of %d bits: at most %d are allowed", bits, maxRSABits)
	case public.E%2 == 0:
		return errors.New("RSA exponent is even")
	case public.E < minRSAExponent:
		return fmt.Errorf("RSA exponent %d is too small: at least %d is needed", public.E, minRSAExponent)
	}
	if err := checkModulus(public.N); err != nil {
		return err
	}
	k.family = familyRSA
	k.signatureBytes = public.Size()
	k.bound = public.N.Bytes()
	return nil
}

func (k *publicKey) setEC(public *ecdsa.PublicKey) {
	params := public.Curve.Params()
	size := (params.BitSize + 7) / 8
	k.family = familyEC
	k.curve = params.BitSize
	k.signatureBytes = 2 * size
	k.bound = params.N.FillBytes(make([]byte, size))
}

func (k *publicKey) setEd25519(public ed25519.PublicKey) error {
	if err := checkEd25519(public); err != nil {
		return err
	}
	k.family = familyEd25519
	k.signatureBytes = ed25519.SignatureSize
	return nil
}

// fits reports whether the key may be used with an algorithm: one key, one
// algorithm where the key names it (RFC 8725 section 3.1), and for ES* exactly
// the algorithm's curve, which golang-jwt does not check.
func (k *publicKey) fits(a *algorithm) bool {
	return k.family == a.family && k.curve == a.curve &&
		(k.algorithm == "" || k.algorithm == a.name)
}

// wellFormed makes the checks of a signature that need no cryptography. Every
// implementation behind it then sees the same, well-formed signatures.
func (k *publicKey) wellFormed(signature []byte) bool {
	if len(signature) != k.signatureBytes {
		return false
	}
	if k.bound == nil {
		return true
	}
	for len(signature) > 0 {
		number := signature[:len(k.bound)]
		signature = signature[len(k.bound):]
		if bytes.Compare(number, k.bound) >= 0 || isZero(number) {
			return false
		}
	}
	return true
}

func isZero(number []byte) bool {
	for _, b := range number {
		if b != 0 {
			return false
		}
	}
	return true
}
