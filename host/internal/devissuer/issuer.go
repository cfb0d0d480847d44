package devissuer

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"

	"sallyport/host/internal/jwks"
	"sallyport/host/internal/keyfile"
	"sallyport/policydata"
	"sallyport/policydata/token"
)

// What the issuer's tokens say, and how its entry in a snapshot is called.
const (
	Name     = "dev"
	Iss      = "https://sallyport.local/dev"
	Audience = "sallyport-dev"
)

const (
	clockSkew        = 30
	maxTokenLifetime = 24 * 60 * 60
)

// Issuer signs tokens.
type Issuer struct {
	signers []signer
}

// signer is a private key, used with one algorithm only.
type signer struct {
	algorithm string
	private   crypto.Signer
	public    policydata.Key
}

// Open reads the key file in the directory dir, and creates it first if there
// is none. A key file that is damaged, or that others than its owner may read,
// is an error, never replaced.
func Open(dir string) (*Issuer, error) {
	path := filepath.Join(dir, KeyFile)
	content, err := keyfile.ReadOrCreate(path, newKeyFile)
	if err != nil {
		return nil, fmt.Errorf("development issuer: %w", err)
	}
	rsaKey, ecKey, err := decodeKeys(content)
	if err != nil {
		return nil, fmt.Errorf("key file %s of the development issuer: %w", path, err)
	}
	rs256, err1 := newSigner("RS256", rsaKey)
	es256, err2 := newSigner("ES256", ecKey)
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("key file %s of the development issuer: %w", path, err)
	}
	return &Issuer{signers: []signer{rs256, es256}}, nil
}

func newSigner(algorithm string, private crypto.Signer) (signer, error) {
	kid, err := jwks.Thumbprint(private.Public())
	if err != nil {
		return signer{}, err
	}
	spki, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		return signer{}, err
	}
	s := signer{
		algorithm: algorithm,
		private:   private,
		public:    policydata.Key{ID: kid, Algorithm: algorithm, SPKI: spki},
	}
	return s, token.CheckKey(s.public)
}

// Keys returns the public keys. Their ids are thumbprints (RFC 7638).
func (i *Issuer) Keys() []policydata.Key {
	keys := make([]policydata.Key, 0, len(i.signers))
	for _, s := range i.signers {
		keys = append(keys, s.public)
	}
	return keys
}

// Source returns the issuer as a part of a policydata.Source, for whoever
// chooses to trust it.
func (i *Issuer) Source() policydata.Issuer {
	source := policydata.Issuer{
		Name:             Name,
		Issuer:           Iss,
		Audiences:        []string{Audience},
		Keys:             i.Keys(),
		UsernameClaims:   [][]string{{"sub"}},
		GroupsClaims:     [][]string{{"groups"}},
		RolesClaims:      [][]string{{"roles"}},
		ClientClaims:     [][]string{{"azp"}, {"client_id"}},
		ClockSkew:        clockSkew,
		MaxTokenLifetime: maxTokenLifetime,
	}
	for _, s := range i.signers {
		source.Algorithms = append(source.Algorithms, s.algorithm)
	}
	return source
}
