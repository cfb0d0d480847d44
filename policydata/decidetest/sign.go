package decidetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"fmt"

	"github.com/golang-jwt/jwt/v5"

	"sallyport/policydata"
)

// Signer makes the tokens of all issuers of a policy set.
type Signer struct {
	key  *ecdsa.PrivateKey
	spki []byte
}

// NewSigner returns a Signer with a key of its own.
func NewSigner() (*Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	return &Signer{key, spki}, nil
}

// Trust makes the issuers of a policy set trust the Signer.
func (s *Signer) Trust(src *policydata.Source) {
	for i := range src.Issuers {
		src.Issuers[i].Keys = []policydata.Key{{ID: "k", SPKI: s.spki}}
	}
}

// Token returns a token with a payload.
func (s *Signer) Token(payload string) (string, error) {
	encode := base64.RawURLEncoding.EncodeToString
	input := encode([]byte(`{"alg":"ES256","kid":"k"}`)) + "." + encode([]byte(payload))
	signature, err := jwt.SigningMethodES256.Sign(input, s.key)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return input + "." + encode(signature), nil
}
