package devissuer

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"sallyport/policydata"
	"sallyport/policydata/token"
)

// MintRequest says what a token is to hold.
type MintRequest struct {
	User   string   // "sub"; a valid name
	Groups []string // "groups"; left out if there are none
	// Claims are added as they are, or stand in place of what Mint would write:
	// an "exp" of the past makes an expired token.
	Claims map[string]json.RawMessage
	TTL    time.Duration // above 0 and at most 24h, beyond which its tokens are refused
	Alg    string        // "RS256" or "ES256"
	Now    time.Time
}

// Mint signs a token.
func (i *Issuer) Mint(r MintRequest) (string, error) {
	s, err := i.signer(r.Alg)
	if err != nil {
		return "", err
	}
	payload, err := r.payload()
	if err != nil {
		return "", err
	}
	header, err := json.Marshal(map[string]string{"alg": s.algorithm, "kid": s.public.ID, "typ": "JWT"})
	if err != nil {
		return "", err
	}
	encode := base64.RawURLEncoding.EncodeToString
	signingInput := encode(header) + "." + encode(payload)
	signature, err := jwt.GetSigningMethod(s.algorithm).Sign(signingInput, s.private)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	minted := signingInput + "." + encode(signature)
	if len(minted) > token.MaxTokenBytes {
		return "", fmt.Errorf("token of %d bytes: at most %d are allowed", len(minted), token.MaxTokenBytes)
	}
	return minted, nil
}

func (i *Issuer) signer(algorithm string) (signer, error) {
	for _, s := range i.signers {
		if s.algorithm == algorithm {
			return s, nil
		}
	}
	return signer{}, fmt.Errorf("algorithm %q: the development issuer signs with RS256 and ES256", algorithm)
}

func (r *MintRequest) payload() ([]byte, error) {
	if err := policydata.CheckName(r.User); err != nil {
		return nil, fmt.Errorf("user %q: %w", r.User, err)
	}
	if r.TTL < time.Second || r.TTL > maxTokenLifetime*time.Second {
		return nil, fmt.Errorf("ttl %v: it must be from 1s to %v", r.TTL, maxTokenLifetime*time.Second)
	}
	issued := r.Now.Unix()
	claims := map[string]any{
		"iss": Iss,
		"sub": r.User,
		"aud": Audience,
		"iat": issued,
		"nbf": issued,
		"exp": issued + int64(r.TTL/time.Second),
		"jti": rand.Text(),
	}
	if len(r.Groups) > 0 {
		claims["groups"] = r.Groups
	}
	for name, value := range r.Claims {
		if err := token.ValidateJSON(string(value)); err != nil {
			return nil, fmt.Errorf("claim %q: %w", name, err)
		}
		claims[name] = value
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return nil, fmt.Errorf("claims: %w", err)
	}
	if err := token.ValidateJSON(string(payload)); err != nil {
		return nil, fmt.Errorf("claims: %w", err)
	}
	return payload, nil
}
