package token_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"sync"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"sallyport/policydata"
)

// now is the time at which all tests look at their tokens.
const now = 1_800_000_000

// signers are real keys by the algorithm that they sign with.
var signers = sync.OnceValue(func() map[string]crypto.Signer {
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	return map[string]crypto.Signer{
		"RS256": rsaKey, "RS384": rsaKey, "RS512": rsaKey,
		"PS256": rsaKey, "PS384": rsaKey, "PS512": rsaKey,
		"ES256": must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		"ES384": must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
		"ES512": must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)),
		"EdDSA": must(edKey, err),
	}
})

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func spki(public crypto.PublicKey) []byte { return must(x509.MarshalPKIXPublicKey(public)) }

// publicKey returns the public key that belongs to signers()[alg].
func publicKey(kid, alg string) policydata.Key {
	return policydata.Key{ID: kid, Algorithm: alg, SPKI: spki(signers()[alg].Public())}
}

// testIssuer trusts an RSA key "r", for RS256, and a P-256 key "e", for ES256.
func testIssuer() policydata.Issuer {
	return policydata.Issuer{
		Name:             "idp",
		Issuer:           "https://idp.example.com",
		Audiences:        []string{"api", "other-api"},
		Algorithms:       []string{"RS256", "ES256"},
		Keys:             []policydata.Key{publicKey("r", "RS256"), publicKey("e", "ES256")},
		UsernameClaims:   [][]string{{"sub"}},
		GroupsClaims:     [][]string{{"groups"}},
		RolesClaims:      [][]string{{"realm_access", "roles"}},
		ClientClaims:     [][]string{{"azp"}, {"client_id"}},
		ClockSkew:        30,
		MaxTokenLifetime: 3600,
	}
}

// goodPayload is accepted by testIssuer at now.
const goodPayload = `{"iss":"https://idp.example.com","sub":"eric","aud":"api","iat":1799999990,"exp":1800000300,"groups":["foo"]}`

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// sign makes a token of any header and payload with the key for alg.
func sign(t testing.TB, alg, header, payload string) string {
	t.Helper()
	return signEncoded(t, alg, encode(header), encode(payload))
}

func signEncoded(t testing.TB, alg, header, payload string) string {
	t.Helper()
	input := header + "." + payload
	signature, err := jwt.GetSigningMethod(alg).Sign(input, signers()[alg])
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

const (
	headerRS256 = `{"alg":"RS256","kid":"r","typ":"JWT"}`
	headerES256 = `{"alg":"ES256","kid":"e","typ":"JWT"}`
)
