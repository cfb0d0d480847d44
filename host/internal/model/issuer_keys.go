package model

import "time"

// IssuerKeys are the keys that were fetched of an Issuer and committed.
type IssuerKeys struct {
	Source string // the Issuer's KeySource that they are of
	Keys   []IssuerKey
}

// IssuerKey is a public key that an issuer lists, or did.
type IssuerKey struct {
	ID        string    `json:"kid,omitempty"`
	Algorithm string    `json:"alg,omitempty"`
	SPKI      []byte    `json:"spki"` // DER SubjectPublicKeyInfo
	Since     time.Time `json:"since"`
	Removed   time.Time `json:"removed,omitzero"` // since when the issuer no longer lists it
}

// KeySource says where the keys of i are fetched from: the URL of a JWK Set, or
// DiscoverySource before the issuer that is asked for it. It is "" where they are
// not fetched.
func (i *Issuer) KeySource() string {
	switch {
	case i.JWKS.URI != "":
		return i.JWKS.URI
	case i.JWKS.Discovery:
		return DiscoverySource + i.Issuer
	}
	return ""
}

// DiscoverySource begins a KeySource of discovery; no URL begins like that.
const DiscoverySource = "discovery:"

// KeepRemoved is for how long a key is accepted that the issuer no longer lists.
func (i *Issuer) KeepRemoved() time.Duration {
	if i.JWKS.KeepRemoved == nil {
		return time.Duration(DefaultKeepRemoved)
	}
	return time.Duration(*i.JWKS.KeepRemoved)
}

// ValidKeys returns the keys that were fetched of an issuer of s, from where it
// has them now; nil if there are none.
func (s *State) ValidKeys(i *Issuer) *IssuerKeys {
	k := s.Keys[i.Name]
	if k == nil || k.Source != i.KeySource() {
		return nil
	}
	return k
}
