package issuerkeys

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"fmt"
	"time"

	"sallyport/host/internal/jwks"
	"sallyport/host/internal/model"
	"sallyport/policydata/token"
)

// Status says how it stands with an issuer's keys.
type Status struct {
	Source string `json:"source"`        // see model.Issuer.KeySource
	URI    string `json:"uri,omitempty"` // where the set was last
	Keys   []Key  `json:"keys"`          // those in force

	LastAttempt time.Time `json:"lastAttempt,omitzero"` // since the host started, as what follows
	LastSuccess time.Time `json:"lastSuccess,omitzero"`
	LastError   string    `json:"lastError,omitempty"` // of the last attempt
	NextRefresh time.Time `json:"nextRefresh,omitzero"`
	Skipped     Skipped   `json:"skipped"`
}

// Key is a key that is in force.
type Key struct {
	ID        string    `json:"kid,omitempty"`
	Algorithm string    `json:"alg,omitempty"`
	Type      string    `json:"kty"`
	Since     time.Time `json:"since"`
	Removed   time.Time `json:"removedAt,omitzero"` // since when the issuer no longer lists it
}

// Skipped are entries of the last set that are not used.
type Skipped struct {
	Count   int      `json:"count"`
	Reasons []string `json:"reasons,omitempty"`
}

func skippedOf(list []jwks.Skipped) Skipped {
	s := Skipped{Count: len(list)}
	for _, k := range list {
		s.Reasons = append(s.Reasons, reason(k))
	}
	return s
}

func reason(k jwks.Skipped) string {
	name := fmt.Sprintf("keys[%d]", k.Index)
	if k.KeyID != "" {
		name = fmt.Sprintf("%s, kid %q", name, k.KeyID)
	}
	return name + ": " + k.Reason
}

func keysOf(keys []model.IssuerKey) []Key {
	list := make([]Key, len(keys))
	for i, k := range keys {
		list[i] = Key{ID: k.ID, Algorithm: k.Algorithm, Type: keyType(k.SPKI), Since: k.Since, Removed: k.Removed}
	}
	return list
}

// keyType returns the "kty" of a public key.
func keyType(spki []byte) string {
	public, err := token.ParseSPKI(spki)
	if err != nil {
		return ""
	}
	switch public.(type) {
	case *rsa.PublicKey:
		return "RSA"
	case *ecdsa.PublicKey:
		return "EC"
	case ed25519.PublicKey:
		return "OKP"
	}
	return ""
}
