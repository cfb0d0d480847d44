// Package signing signs snapshots (ES256: ECDSA with P-256 and SHA-256, RFC 7518
// section 3.4, but as ASN.1 DER) and verifies them as the filter does.
package signing

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"

	"sallyport/host/internal/keyfile"
	"sallyport/policydata"
)

// KeyFile is the name of the signing key's file in the data directory: a PKCS#8
// P-256 private key in PEM.
const KeyFile = "snapshot-key.pem"

const pemType = "PRIVATE KEY"

// Key signs snapshots.
type Key struct {
	private *ecdsa.PrivateKey
	spki    []byte
}

// Open reads the signing key in a data directory, and makes one first if there
// is none.
func Open(dir string) (*Key, error) {
	path := filepath.Join(dir, KeyFile)
	content, err := keyfile.ReadOrCreate(path, generate)
	if err != nil {
		return nil, err
	}
	return parse(path, content)
}

// Read reads the signing key in a data directory, which must be there.
func Read(dir string) (*Key, error) {
	path := filepath.Join(dir, KeyFile)
	content, err := keyfile.Read(path)
	if err != nil {
		return nil, err
	}
	return parse(path, content)
}

func parse(path string, content []byte) (*Key, error) {
	block, _ := pem.Decode(content)
	if block == nil || block.Type != pemType {
		return nil, fmt.Errorf("key file %s: not a private key in PEM", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("key file %s: not a PKCS#8 private key", path)
	}
	private, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || private.Curve != elliptic.P256() {
		return nil, fmt.Errorf("key file %s: not a P-256 key", path)
	}
	return newKey(private)
}

// NewKey returns a key that is kept nowhere, for snapshots that never leave the
// process.
func NewKey() (*Key, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return newKey(private)
}

func newKey(private *ecdsa.PrivateKey) (*Key, error) {
	spki, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		return nil, err
	}
	return &Key{private, spki}, nil
}

func generate() ([]byte, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), nil
}

// SPKI returns the public key as a DER SubjectPublicKeyInfo: what a filter's
// configuration lists in trusted_keys.
func (k *Key) SPKI() []byte { return k.spki }

// ID returns the key's id: the first 16 hexadecimal digits of its SPKI's
// SHA-256.
func (k *Key) ID() string {
	digest := sha256.Sum256(k.spki)
	return hex.EncodeToString(digest[:8])
}

// Sign completes a snapshot's body (policydata.Build) to a snapshot. It is
// deterministic (RFC 6979), so that hosts with one store and one key publish the
// same bytes under the same entity tag.
func (k *Key) Sign(body []byte) ([]byte, error) {
	signed, _, err := k.SignToVerify(body)
	return signed, err
}

// SignToVerify signs as Sign does, and returns a check for this one snapshot: the
// signature against the key's public half, as Verifier has it, over the digest
// that was signed. The digest of many megabytes is dearer than seeing that they
// are the same. body must not change before the check.
func (k *Key) SignToVerify(body []byte) (signed []byte, verify policydata.VerifyFunc, err error) {
	digest := sha256.Sum256(body)
	sig, err := k.private.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		return nil, nil, err
	}
	verify = func(signed, sig []byte) error {
		if !bytes.Equal(signed, body) || !ecdsa.VerifyASN1(&k.private.PublicKey, digest[:], sig) {
			return errNotByKey
		}
		return nil
	}
	return policydata.AppendSignature(body, k.ID(), sig), verify, nil
}

var errNotByKey = errors.New("the key did not make it")

// Verifier returns a check of snapshots against a public key.
func Verifier(spki []byte) (policydata.VerifyFunc, error) {
	parsed, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return nil, fmt.Errorf("not a DER SubjectPublicKeyInfo: %w", err)
	}
	public, ok := parsed.(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return nil, errors.New("not a P-256 key")
	}
	return func(signed, sig []byte) error {
		digest := sha256.Sum256(signed)
		if !ecdsa.VerifyASN1(public, digest[:], sig) {
			return errNotByKey
		}
		return nil
	}, nil
}
