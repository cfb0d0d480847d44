package oidctest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"testing"
)

// Key is a key of a provider.
type Key struct {
	ID        string
	Algorithm string // such as RS256; RSA-OAEP for a key that encrypts

	private crypto.Signer
	jwk     map[string]string
}

// Publish adds a key to the set. It does not sign until it is activated.
func (p *Provider) Publish(algorithm string) *Key {
	p.t.Helper()
	return p.publish(NewKey(p.t, algorithm))
}

// PublishEncryptionKey adds an RSA key with "use": "enc", such as Keycloak has
// in its set. No token is signed with it.
func (p *Provider) PublishEncryptionKey() *Key {
	p.t.Helper()
	k := NewKey(p.t, "RS256")
	k.Algorithm = "RSA-OAEP"
	k.jwk["alg"], k.jwk["use"] = k.Algorithm, "enc"
	return p.publish(k)
}

func (p *Provider) publish(k *Key) *Key {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = append([]*Key{k}, p.keys...)
	return k
}

// Activate lets a key sign the tokens from now on. The key that did so before
// stays published.
func (p *Provider) Activate(k *Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.signs = k
}

// Rotate publishes a new key that signs at once: nobody has seen it before its
// first token.
func (p *Provider) Rotate(algorithm string) *Key {
	p.t.Helper()
	k := p.Publish(algorithm)
	p.Activate(k)
	return k
}

// Withdraw takes a key out of the set. If it signs, it goes on doing so, as a
// provider does whose set is stale.
func (p *Provider) Withdraw(k *Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = slices.DeleteFunc(p.keys, func(other *Key) bool { return other == k })
}

// Active returns the key that signs.
func (p *Provider) Active() *Key {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.signs
}

// NewKey makes a key that belongs to no provider: for tokens that only look
// like those of one, and for key sets that are not fetched.
func NewKey(t testing.TB, algorithm string) *Key {
	t.Helper()
	private, err := generate(algorithm)
	if err != nil {
		t.Fatalf("oidctest: key for %s: %v", algorithm, err)
	}
	k := &Key{ID: rand.Text(), Algorithm: algorithm, private: private}
	if k.jwk, err = jwk(private.Public()); err != nil {
		t.Fatalf("oidctest: key for %s: %v", algorithm, err)
	}
	k.jwk["kid"], k.jwk["alg"], k.jwk["use"] = k.ID, algorithm, "sig"
	return k
}

// JWK returns the public key as the members of a JWK (RFC 7517 section 4).
func (k *Key) JWK() map[string]string { return maps.Clone(k.jwk) }

func generate(algorithm string) (crypto.Signer, error) {
	switch algorithm {
	case "RS256", "RS384", "RS512", "PS256", "PS384", "PS512":
		return rsa.GenerateKey(rand.Reader, 2048)
	case "ES256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA":
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	}
	return nil, errors.New("unknown algorithm")
}

// jwk returns the members that depend on the key's type (RFC 7518 section 6, RFC
// 8037 section 2).
func jwk(public crypto.PublicKey) (map[string]string, error) {
	encode := base64.RawURLEncoding.EncodeToString
	switch public := public.(type) {
	case *rsa.PublicKey:
		e := big.NewInt(int64(public.E))
		return map[string]string{"kty": "RSA", "n": encode(public.N.Bytes()), "e": encode(e.Bytes())}, nil
	case *ecdsa.PublicKey:
		point, err := public.Bytes() // 4, x, y (SEC 1 section 2.3.3)
		if err != nil {
			return nil, err
		}
		half := 1 + len(point)/2
		return map[string]string{
			"kty": "EC", "crv": public.Curve.Params().Name,
			"x": encode(point[1:half]), "y": encode(point[half:]),
		}, nil
	case ed25519.PublicKey:
		return map[string]string{"kty": "OKP", "crv": "Ed25519", "x": encode(public)}, nil
	}
	return nil, fmt.Errorf("no JWK for %T", public)
}
