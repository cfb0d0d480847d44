package token

import (
	"crypto/rsa"
	_ "crypto/sha256" // RS256, PS256, ES256
	_ "crypto/sha512" // the 384 and 512 variants
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// family is the kind of key that an algorithm needs.
type family uint8

const (
	_ family = iota
	familyRSA
	familyEC
	familyEd25519
)

// algorithm is a signature algorithm (RFC 7518 section 3.1, RFC 8037 section
// 3.1).
type algorithm struct {
	name   string
	family family
	curve  int // bits of the one curve that an ES algorithm allows
	method jwt.SigningMethod
}

// Algorithms returns the names of the supported algorithms. There is no HS*:
// who can verify by it can sign. There is no "none".
func Algorithms() []string {
	return []string{
		"RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
		"ES256", "ES384", "ES512", "EdDSA",
	}
}

func algorithmByName(name string) (algorithm, error) {
	switch name {
	case "RS256":
		return algorithm{name, familyRSA, 0, jwt.SigningMethodRS256}, nil
	case "RS384":
		return algorithm{name, familyRSA, 0, jwt.SigningMethodRS384}, nil
	case "RS512":
		return algorithm{name, familyRSA, 0, jwt.SigningMethodRS512}, nil
	case "PS256":
		return algorithm{name, familyRSA, 0, strictPSS(jwt.SigningMethodPS256)}, nil
	case "PS384":
		return algorithm{name, familyRSA, 0, strictPSS(jwt.SigningMethodPS384)}, nil
	case "PS512":
		return algorithm{name, familyRSA, 0, strictPSS(jwt.SigningMethodPS512)}, nil
	case "ES256":
		return algorithm{name, familyEC, 256, jwt.SigningMethodES256}, nil
	case "ES384":
		return algorithm{name, familyEC, 384, jwt.SigningMethodES384}, nil
	case "ES512":
		return algorithm{name, familyEC, 521, jwt.SigningMethodES512}, nil
	case "EdDSA":
		return algorithm{name, familyEd25519, 0, jwt.SigningMethodEdDSA}, nil
	case "HS256", "HS384", "HS512":
		return algorithm{}, fmt.Errorf("algorithm %s is not supported: who verifies by it can sign", name)
	}
	return algorithm{}, fmt.Errorf("algorithm %q is not supported", name)
}

// strictPSS wants a salt as long as the hash (RFC 7518 section 3.5). The
// library's own methods accept any length.
func strictPSS(m *jwt.SigningMethodRSAPSS) jwt.SigningMethod {
	return &jwt.SigningMethodRSAPSS{
		SigningMethodRSA: m.SigningMethodRSA,
		Options:          &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash},
	}
}

func parseAlgorithms(names []string) ([]algorithm, error) {
	if len(names) == 0 {
		return nil, errors.New("no algorithms")
	}
	algorithms := make([]algorithm, 0, len(names))
	for _, name := range names {
		a, err := algorithmByName(name)
		if err != nil {
			return nil, err
		}
		algorithms = append(algorithms, a)
	}
	return algorithms, nil
}
