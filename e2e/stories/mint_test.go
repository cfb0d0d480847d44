package stories

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math/big"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.yaml.in/yaml/v3"
)

// issuerInfo is what a token must say to be one of an issuer's.
type issuerInfo struct {
	Issuer     string   `yaml:"issuer"`
	Audiences  []string `yaml:"audiences"`
	Algorithms []string `yaml:"algorithms"`
}

func readIssuers(t *testing.T, policies []byte) []issuerInfo {
	t.Helper()
	var issuers []issuerInfo
	decoder := yaml.NewDecoder(bytes.NewReader(policies))
	for {
		var doc struct {
			Kind string    `yaml:"kind"`
			Spec yaml.Node `yaml:"spec"`
		}
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return issuers
		}
		if err != nil {
			t.Fatal(err)
		}
		if doc.Kind != "Issuer" {
			continue
		}
		var i issuerInfo
		if err := doc.Spec.Decode(&i); err != nil {
			t.Fatal(err)
		}
		issuers = append(issuers, i)
	}
}

// keys are those of the issuers of all stories, and others that none of them
// has.
type keys struct {
	rsa, otherRSA *rsa.PrivateKey
	ec, otherEC   *ecdsa.PrivateKey
}

func newKeys(t *testing.T) *keys {
	t.Helper()
	var errs [4]error
	k := &keys{}
	k.rsa, errs[0] = rsa.GenerateKey(rand.Reader, 2048)
	k.otherRSA, errs[1] = rsa.GenerateKey(rand.Reader, 2048)
	k.ec, errs[2] = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	k.otherEC, errs[3] = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	return k
}

// jwks returns the public keys as a JWK Set on one line.
func (k *keys) jwks(t *testing.T) string {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	point, err := k.ec.PublicKey.Bytes() // 4, x, y
	if err != nil {
		t.Fatal(err)
	}
	set := map[string]any{"keys": []map[string]string{
		{"kty": "RSA", "kid": "rsa", "n": encode(k.rsa.N.Bytes()), "e": encode(big.NewInt(int64(k.rsa.E)).Bytes())},
		{"kty": "EC", "kid": "ec", "crv": "P-256", "x": encode(point[1:33]), "y": encode(point[33:])},
	}}
	b, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// mint says how the token of a case differs from a good one of the story's
// first issuer.
type mint struct {
	Key     string         `json:"key"` // "other": one that the issuer does not have
	Alg     string         `json:"alg"` // RS256 (default) or ES256
	Header  map[string]any `json:"header"`
	Claims  map[string]any `json:"claims"`
	Payload string         `json:"payload"` // in place of the claims
	Tamper  string         `json:"tamper"`  // "payload": another user, after signing
	Cut     string         `json:"cut"`     // "signature": with its dot; "signature-bytes": without
	Append  string         `json:"append"`
}

// lifetime is that of a good token.
const lifetime = time.Hour

func (k *keys) mint(t *testing.T, s *story, m *mint) string {
	t.Helper()
	alg := m.Alg
	if alg == "" {
		alg = "RS256"
	}
	private, kid := k.private(t, alg, m.Key)
	now := time.Now()
	header := merged(map[string]any{"alg": alg, "kid": kid, "typ": "JWT"}, m.Header, now)
	claims := merged(map[string]any{
		"iss": s.issuers[0].Issuer, "aud": s.issuers[0].Audiences[0], "sub": "eric",
		"iat": now.Unix(), "exp": now.Add(lifetime).Unix(),
	}, m.Claims, now)
	payload := []byte(m.Payload)
	if m.Payload == "" {
		payload = encodeJSON(t, claims)
	}
	token := sign(t, alg, private, encodeJSON(t, header), payload)
	return m.spoil(t, token, claims)
}

func (k *keys) private(t *testing.T, alg, which string) (crypto.PrivateKey, string) {
	t.Helper()
	switch {
	case alg == "RS256" && which == "other":
		return k.otherRSA, "rsa"
	case alg == "RS256":
		return k.rsa, "rsa"
	case alg == "ES256" && which == "other":
		return k.otherEC, "ec"
	case alg == "ES256":
		return k.ec, "ec"
	}
	t.Fatalf("no key for %q", alg)
	return nil, ""
}

// merged applies changes: null takes a member away, "$now" and an offset in
// seconds is a time.
func merged(base, changes map[string]any, now time.Time) map[string]any {
	out := maps.Clone(base)
	for name, value := range changes {
		text, _ := value.(string)
		offset, isTime := strings.CutPrefix(text, "$now")
		seconds, err := strconv.Atoi(offset)
		switch {
		case value == nil:
			delete(out, name)
		case isTime && err == nil:
			out[name] = now.Unix() + int64(seconds)
		default:
			out[name] = value
		}
	}
	return out
}

func encodeJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sign(t *testing.T, alg string, key crypto.PrivateKey, header, payload []byte) string {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	input := encode(header) + "." + encode(payload)
	sig, err := jwt.GetSigningMethod(alg).Sign(input, key)
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + encode(sig)
}

// spoil changes a token after it was signed.
func (m *mint) spoil(t *testing.T, token string, claims map[string]any) string {
	t.Helper()
	parts := strings.Split(token, ".")
	if m.Tamper == "payload" {
		claims["sub"] = "admin"
		parts[1] = base64.RawURLEncoding.EncodeToString(encodeJSON(t, claims))
	}
	switch m.Cut {
	case "signature":
		parts = parts[:2]
	case "signature-bytes":
		parts[2] = ""
	}
	return strings.Join(parts, ".") + m.Append
}

// tokenFor returns a good token with claims, for a runner that can't do without
// one.
func (k *keys) tokenFor(t *testing.T, s *story, raw json.RawMessage) string {
	t.Helper()
	var claims map[string]any
	if err := json.Unmarshal(raw, &claims); err != nil {
		t.Fatal(err)
	}
	issuer := s.issuers[0]
	for _, i := range s.issuers {
		if i.Issuer == claims["iss"] {
			issuer = i
		}
	}
	if _, there := claims["iss"]; !there && len(s.issuers) == 1 {
		claims["iss"] = issuer.Issuer
	}
	claims["aud"], claims["iat"], claims["exp"] = issuer.Audiences[0], time.Now().Unix(), time.Now().Add(lifetime).Unix()
	alg := issuer.Algorithms[0]
	private, kid := k.private(t, alg, "")
	return sign(t, alg, private, encodeJSON(t, map[string]any{"alg": alg, "kid": kid}), encodeJSON(t, claims))
}
