package token

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"math/big"
)

// smallPrimes are the primes of the ROCA fingerprint: of the primes that divide
// the generator's modulus for every key size.
var smallPrimes = [...]uint64{
	3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73,
	79, 83, 89, 97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157,
	163, 167,
}

// checkModulus refuses moduli that are known to be weak. Keys of the ROCA
// generator (CVE-2017-15361) have primes k*M + (65537^a mod M), M a product of
// small primes: their moduli are powers of 65537 modulo each of these, which a
// random modulus is with a probability of about 2^-27.
func checkModulus(n *big.Int) error {
	if n.Bit(0) == 0 {
		return errors.New("RSA modulus is even")
	}
	roca := true
	var quotient, prime, remainder big.Int
	for _, p := range smallPrimes {
		quotient.QuoRem(n, prime.SetUint64(p), &remainder)
		r := remainder.Uint64()
		if r == 0 {
			return errors.New("RSA modulus has a small factor")
		}
		roca = roca && isPower(r, 65537%p, p)
	}
	if roca {
		return errors.New("RSA modulus of a broken generator (ROCA)")
	}
	return nil
}

// isPower reports whether r is a power of g modulo the prime p.
func isPower(r, g, p uint64) bool {
	for power := uint64(1); ; {
		if power == r {
			return true
		}
		if power = power * g % p; power == 1 {
			return false
		}
	}
}

// smallOrderY holds the y coordinates, little-endian, of the points of small
// order on edwards25519. With such a key a signature needs no private key.
var smallOrderY = [...][ed25519.PublicKeySize]byte{
	{},
	{0x01},
	{
		0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
	},
	{
		0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
		0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
	},
	{
		0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
		0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
	},
}

// checkEd25519 refuses what is no canonical encoding of a point of large order
// (RFC 8032 section 5.1.3).
// Its length is right already.
func checkEd25519(public ed25519.PublicKey) error {
	y := [ed25519.PublicKeySize]byte(public)
	y[31] &= 0x7f // the sign of x
	for i := range smallOrderY {
		if bytes.Equal(y[:], smallOrderY[i][:]) {
			return errors.New("Ed25519 key is a point of small order")
		}
	}
	if !onEdwards25519(y) {
		return errors.New("Ed25519 key is not a point on its curve")
	}
	return nil
}

// onEdwards25519 reports whether a point has the coordinate y: whether
// x^2 = (y^2-1)/(d*y^2+1) has a solution (RFC 8032 section 5.1.3).
func onEdwards25519(littleEndian [ed25519.PublicKeySize]byte) bool {
	for i, j := 0, len(littleEndian)-1; i < j; i, j = i+1, j-1 {
		littleEndian[i], littleEndian[j] = littleEndian[j], littleEndian[i]
	}
	one := big.NewInt(1)
	p := new(big.Int).Lsh(one, 255)
	p.Sub(p, big.NewInt(19))
	y := new(big.Int).SetBytes(littleEndian[:])
	if y.Cmp(p) >= 0 {
		return false
	}
	// d = -121665/121666; multiplied by 121666^2, a square, nothing changes.
	y2 := y.Mul(y, y)
	u := new(big.Int).Sub(y2, one)
	u.Mul(u, big.NewInt(121666))
	v := new(big.Int).Mul(y2, big.NewInt(-121665))
	v.Add(v, big.NewInt(121666))
	return big.Jacobi(u.Mod(u.Mul(u, v), p), p) >= 0
}
