package oidctest

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"maps"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Lifetime is that of a token whose claims don't say otherwise.
const Lifetime = 5 * time.Minute

// Claims are the claims of a token, or those that it gets besides the usual
// ones. A nil takes a usual one away.
type Claims map[string]any

// Mint signs a token with the key that is active now. It has iss, iat, exp and
// jti; claims come on top, or in their place.
func (p *Provider) Mint(claims Claims) string {
	p.t.Helper()
	return p.MintWith(p.Active(), claims)
}

// MintWith is Mint with any key, also one that is not published.
func (p *Provider) MintWith(k *Key, claims Claims) string {
	p.t.Helper()
	now := time.Now()
	all := Claims{
		"iss": p.Issuer(),
		"iat": now.Unix(),
		"exp": now.Add(Lifetime).Unix(),
		"jti": rand.Text(),
	}
	maps.Copy(all, claims)
	maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	return k.Sign(p.t, map[string]any{"typ": "JWT"}, all)
}

// Sign signs claims as they are. The header has alg and kid, and what is given.
func (k *Key) Sign(t testing.TB, header map[string]any, claims Claims) string {
	t.Helper()
	all := map[string]any{"alg": k.Algorithm, "kid": k.ID}
	maps.Copy(all, header)
	method := jwt.GetSigningMethod(k.Algorithm)
	if method == nil {
		t.Fatalf("oidctest: a key for %s signs no tokens", k.Algorithm)
	}
	input := part(t, all) + "." + part(t, claims)
	signature, err := method.Sign(input, k.private)
	if err != nil {
		t.Fatalf("oidctest: %v", err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func part(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("oidctest: %v", err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// account is a client or a user with what its tokens say.
type account struct {
	secret string
	claims Claims
}

// AddClient registers a client, which gets tokens with these claims by the grant
// client_credentials, and users' tokens by the grant password. They name it as azp.
func (p *Provider) AddClient(id, secret string, claims Claims) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clients[id] = account{secret, claims}
}

// AddUser registers a user, for whom clients get tokens with these claims by the
// grant password.
func (p *Provider) AddUser(name, password string, claims Claims) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users[name] = account{password, claims}
}

// authenticate returns the claims of an account, if the secret is its own.
func (p *Provider) authenticate(accounts map[string]account, name, secret string) (Claims, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a, ok := accounts[name]
	if !ok || subtle.ConstantTimeCompare([]byte(a.secret), []byte(secret)) != 1 {
		return nil, false
	}
	claims := Claims{}
	maps.Copy(claims, a.claims)
	return claims, true
}
