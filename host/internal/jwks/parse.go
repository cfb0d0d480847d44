package jwks

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"sallyport/policydata"
	"sallyport/policydata/token"
)

// Limits of a set.
const (
	MaxSetBytes   = 256 << 10
	MaxKeys       = 64
	MaxKeyIDBytes = 1024
)

// Parse reads a JWK Set and returns its verification keys in their order. There
// may be none. An error names the key, as keys[2], and what is wrong with it.
func Parse(set []byte) ([]policydata.Key, error) {
	entries, err := entriesOf(set)
	if err != nil {
		return nil, err
	}
	keys := make([]policydata.Key, 0, len(entries))
	ids := seenIDs{}
	for i, entry := range entries {
		key, unused, err := parseKey(entry)
		if err != nil {
			return nil, fmt.Errorf("keys[%d]: %w", i, err)
		}
		if unused != "" {
			continue
		}
		if err := ids.add(key.ID, i); err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// entriesOf returns the entries of a set, which may be anything.
func entriesOf(set []byte) ([]gjson.Result, error) {
	if len(set) > MaxSetBytes {
		return nil, fmt.Errorf("key set of %d bytes: at most %d are allowed", len(set), MaxSetBytes)
	}
	text := string(set)
	if err := token.ValidateJSON(text); err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	object := gjson.Parse(text)
	if !object.IsObject() {
		return nil, errors.New("key set is not a JSON object")
	}
	list, ok := members(object)["keys"]
	if !ok || !list.IsArray() {
		return nil, errors.New(`key set has no array "keys"`)
	}
	entries := list.Array()
	if len(entries) > MaxKeys {
		return nil, fmt.Errorf("key set of %d keys: at most %d are allowed", len(entries), MaxKeys)
	}
	return entries, nil
}

// seenIDs are the ids of a set's keys, and where they were seen.
type seenIDs map[string]int

func (s seenIDs) add(id string, i int) error {
	if id == "" {
		return nil
	}
	if first, ok := s[id]; ok {
		return fmt.Errorf("keys[%d]: the kid %q is that of keys[%d], too", i, id, first)
	}
	s[id] = i
	return nil
}

// jwk holds the members of one key by name.
type jwk map[string]gjson.Result

func members(object gjson.Result) jwk {
	m := make(jwk)
	object.ForEach(func(name, value gjson.Result) bool {
		m[name.Str] = value
		return true
	})
	return m
}

// privateMembers are the parameters that only a private or symmetric key has
// (RFC 7518 sections 6.2.2, 6.3.2 and 6.4, RFC 8037 section 2).
var privateMembers = [...]string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

// secretError says that a set publishes what must stay with the issuer: whoever
// has read it can sign.
type secretError string

func (e secretError) Error() string { return string(e) }

// parseKey returns a verification key, or in a few words why the entry is none,
// or what is wrong with it.
func parseKey(entry gjson.Result) (key policydata.Key, unused string, err error) {
	if !entry.IsObject() {
		return key, "", errors.New("not a JSON object")
	}
	k := members(entry)
	kty, ok, err := k.text("kty")
	if secret := k.secret(kty); secret != nil {
		return key, "", secret
	}
	if err != nil || !ok {
		return key, "", errors.Join(errors.New(`no "kty"`), err)
	}
	id, _, idErr := k.text("kid")
	key.ID = id // names what is not used, too
	if unused, err = k.otherPurpose(); err != nil || unused != "" {
		return key, unused, err
	}
	if idErr != nil {
		return key, "", idErr
	}
	if len(key.ID) > MaxKeyIDBytes {
		return key, "", fmt.Errorf(`a "kid" of %d bytes: at most %d are allowed`, len(key.ID), MaxKeyIDBytes)
	}
	algorithm, hasAlgorithm, err := k.text("alg")
	if err != nil {
		return key, "", err
	}
	if hasAlgorithm && !slices.Contains(token.Algorithms(), algorithm) {
		return key, fmt.Sprintf("alg %q", clip(algorithm)), refusedAlgorithm(algorithm)
	}
	key.Algorithm = algorithm
	public, err := k.public(kty)
	if err != nil {
		return key, "", err
	}
	if public == nil {
		return key, k.kind(kty), nil
	}
	if key.SPKI, err = x509.MarshalPKIXPublicKey(public); err != nil {
		return key, "", err
	}
	return key, "", token.CheckKey(key)
}

// secret is an error if the key is symmetric or private.
func (k jwk) secret(kty string) error {
	if kty == "oct" {
		return secretError("a symmetric key: who verifies by it can sign, and it must never be published")
	}
	for _, name := range privateMembers {
		if _, ok := k[name]; ok {
			return secretError(fmt.Sprintf("the private parameter %q: this key must never be published, and is to be replaced", name))
		}
	}
	return nil
}

// kind describes a type or curve that is not known.
func (k jwk) kind(kty string) string {
	if crv, ok, err := k.text("crv"); ok && err == nil {
		return fmt.Sprintf("kty %q, crv %q", clip(kty), clip(crv))
	}
	return fmt.Sprintf("kty %q", clip(kty))
}

// clip bounds text of a set that goes into messages.
func clip(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// refusedAlgorithm is nil for an algorithm that is merely not known, such as
// one for encryption.
func refusedAlgorithm(name string) error {
	if strings.HasPrefix(name, "HS") || strings.EqualFold(name, "none") {
		return fmt.Errorf("the algorithm %q is none for a public key", clip(name))
	}
	return nil
}

// text returns a string member.
func (k jwk) text(name string) (value string, ok bool, err error) {
	member, ok := k[name]
	if !ok {
		return "", false, nil
	}
	if member.Type != gjson.String {
		return "", false, fmt.Errorf("%q is not a string", name)
	}
	return member.Str, true, nil
}

// otherPurpose says for what else than to verify signatures "use" and "key_ops"
// (RFC 7517 sections 4.2 and 4.3) have the key; each is optional.
func (k jwk) otherPurpose() (string, error) {
	use, hasUse, err := k.text("use")
	if err != nil {
		return "", err
	}
	if hasUse && use != "sig" {
		return fmt.Sprintf("use %q", clip(use)), nil
	}
	operations, ok := k["key_ops"]
	if !ok {
		return "", nil
	}
	if !operations.IsArray() {
		return "", errors.New(`"key_ops" is not an array`)
	}
	seen := make(map[string]bool)
	for _, operation := range operations.Array() {
		if operation.Type != gjson.String {
			return "", errors.New(`"key_ops" holds what is no string`)
		}
		if seen[operation.Str] {
			return "", fmt.Errorf(`"key_ops" holds %q twice`, operation.Str)
		}
		seen[operation.Str] = true
	}
	if !seen["verify"] {
		return `key_ops without "verify"`, nil
	}
	return "", nil
}

// public returns the key, and nil for a type or curve that is not known.
func (k jwk) public(kty string) (crypto.PublicKey, error) {
	switch kty {
	case "RSA":
		return k.rsa()
	case "EC":
		return k.ec()
	case "OKP":
		return k.okp()
	}
	return nil, nil
}

// rsa reads RFC 7518 section 6.3.1: Base64urlUInt values, in as few bytes as
// they need.
func (k jwk) rsa() (crypto.PublicKey, error) {
	modulus, err := k.bytes("n")
	if err != nil {
		return nil, err
	}
	exponent, err := k.bytes("e")
	if err != nil {
		return nil, err
	}
	switch {
	case modulus[0] == 0:
		return nil, errors.New(`"n" has leading zeros`)
	case exponent[0] == 0:
		return nil, errors.New(`"e" has leading zeros`)
	case len(exponent) > 4 || len(exponent) == 4 && exponent[0] > 0x7f:
		return nil, errors.New(`"e" is too large`)
	}
	e := int(new(big.Int).SetBytes(exponent).Int64())
	return &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: e}, nil
}

// ec reads RFC 7518 section 6.2.1: coordinates in the curve's full length.
func (k jwk) ec() (crypto.PublicKey, error) {
	name, ok, err := k.text("crv")
	if err != nil || !ok {
		return nil, errors.Join(errors.New(`no "crv"`), err)
	}
	var curve elliptic.Curve
	switch name {
	case "P-256":
		curve = elliptic.P256()
	case "P-384":
		curve = elliptic.P384()
	case "P-521":
		curve = elliptic.P521()
	default:
		return nil, nil
	}
	size := (curve.Params().BitSize + 7) / 8
	point := []byte{4} // uncompressed (SEC 1 section 2.3.3)
	for _, coordinate := range []string{"x", "y"} {
		b, err := k.bytes(coordinate)
		if err != nil {
			return nil, err
		}
		if len(b) != size {
			return nil, fmt.Errorf("%q has %d bytes, not the %d of %s", coordinate, len(b), size, name)
		}
		point = append(point, b...)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		return nil, fmt.Errorf("not a point on %s", name)
	}
	return key, nil
}

// okp reads RFC 8037 section 2.
func (k jwk) okp() (crypto.PublicKey, error) {
	name, ok, err := k.text("crv")
	if err != nil || !ok {
		return nil, errors.Join(errors.New(`no "crv"`), err)
	}
	if name != "Ed25519" {
		return nil, nil
	}
	x, err := k.bytes("x")
	if err != nil {
		return nil, err
	}
	if len(x) != ed25519.PublicKeySize {
		return nil, fmt.Errorf(`"x" has %d bytes, not the %d of Ed25519`, len(x), ed25519.PublicKeySize)
	}
	return ed25519.PublicKey(x), nil
}

// bytes decodes a member of strict base64url, which must not be empty.
func (k jwk) bytes(name string) ([]byte, error) {
	text, ok, err := k.text(name)
	if err != nil {
		return nil, err
	}
	if !ok || text == "" {
		return nil, fmt.Errorf("no %q", name)
	}
	// The decoder would skip line breaks.
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") {
		return nil, fmt.Errorf("%q is not base64url without padding", name)
	}
	return b, nil
}
