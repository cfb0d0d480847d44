package jwks

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"

	"sallyport/policydata"
)

// publicJWK has its fields in the lexicographic order of their names, as the
// thumbprint wants them.
type publicJWK struct {
	Alg string `json:"alg,omitempty"`
	Crv string `json:"crv,omitempty"`
	E   string `json:"e,omitempty"`
	Kid string `json:"kid,omitempty"`
	Kty string `json:"kty"`
	N   string `json:"n,omitempty"`
	Use string `json:"use,omitempty"`
	X   string `json:"x,omitempty"`
	Y   string `json:"y,omitempty"`
}

// Marshal returns the JWK Set of some public keys, as it is published.
func Marshal(keys []policydata.Key) ([]byte, error) {
	set := struct {
		Keys []publicJWK `json:"keys"`
	}{Keys: make([]publicJWK, 0, len(keys))}
	for i, key := range keys {
		public, err := x509.ParsePKIXPublicKey(key.SPKI)
		if err != nil {
			return nil, fmt.Errorf("keys[%d]: %w", i, err)
		}
		k, err := encode(public)
		if err != nil {
			return nil, fmt.Errorf("keys[%d]: %w", i, err)
		}
		k.Alg, k.Kid, k.Use = key.Algorithm, key.ID, "sig"
		set.Keys = append(set.Keys, k)
	}
	return json.Marshal(set)
}

// Thumbprint returns the SHA-256 JWK Thumbprint (RFC 7638), the usual "kid" of
// a key that has no other name.
func Thumbprint(public crypto.PublicKey) (string, error) {
	k, err := encode(public)
	if err != nil {
		return "", err
	}
	// RFC 7638 section 3.3: required members only, sorted, no white space.
	text, err := json.Marshal(k)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// encode returns the members that a key's type requires.
func encode(public crypto.PublicKey) (publicJWK, error) {
	base64url := base64.RawURLEncoding.EncodeToString
	switch public := public.(type) {
	case *rsa.PublicKey:
		e := big.NewInt(int64(public.E))
		return publicJWK{Kty: "RSA", N: base64url(public.N.Bytes()), E: base64url(e.Bytes())}, nil
	case *ecdsa.PublicKey:
		point, err := public.Bytes()
		if err != nil {
			return publicJWK{}, err
		}
		size := len(point) / 2 // behind the byte that says uncompressed
		return publicJWK{
			Kty: "EC", Crv: public.Curve.Params().Name,
			X: base64url(point[1 : 1+size]), Y: base64url(point[1+size:]),
		}, nil
	case ed25519.PublicKey:
		return publicJWK{Kty: "OKP", Crv: "Ed25519", X: base64url(public)}, nil
	}
	return publicJWK{}, fmt.Errorf("no JWK for a key of type %T", public)
}
