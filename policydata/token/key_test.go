package token_test

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"sallyport/policydata"
	"sallyport/policydata/token"
)

// modulus returns a random product of two primes.
func modulus(t *testing.T, bits int) *big.Int {
	t.Helper()
	p := must(rand.Prime(rand.Reader, bits/2))
	q := must(rand.Prime(rand.Reader, bits-bits/2))
	return p.Mul(p, q)
}

// rocaModulus multiplies primes k*M + (65537^a mod M), as the generator of
// CVE-2017-15361 makes them.
func rocaModulus(t *testing.T) *big.Int {
	t.Helper()
	m := big.NewInt(2)
	for p := int64(3); p <= 167; p += 2 {
		if big.NewInt(p).ProbablyPrime(0) {
			m.Mul(m, big.NewInt(p))
		}
	}
	prime := func() *big.Int {
		power := new(big.Int).Exp(big.NewInt(65537), must(rand.Int(rand.Reader, m)), m)
		limit := new(big.Int).Lsh(big.NewInt(1), uint(1024-m.BitLen()))
		for {
			k := must(rand.Int(rand.Reader, limit))
			k.SetBit(k.SetBit(k, 1024-m.BitLen(), 1), 1023-m.BitLen(), 1)
			if p := k.Add(k.Mul(k, m), power); p.ProbablyPrime(0) {
				return p
			}
		}
	}
	p := prime()
	return p.Mul(p, prime())
}

func TestCheckKey(t *testing.T) {
	good := signers()["RS256"].Public().(*rsa.PublicKey)
	withExponent := func(e int) crypto.PublicKey { return &rsa.PublicKey{N: good.N, E: e} }
	withModulus := func(n *big.Int) crypto.PublicKey { return &rsa.PublicKey{N: n, E: 65537} }
	ed := func(text string) crypto.PublicKey { return ed25519.PublicKey(must(hex.DecodeString(text))) }
	dh := must(ecdh.X25519().GenerateKey(rand.Reader))
	tests := []struct {
		name   string
		public crypto.PublicKey
		alg    string
		want   string // in the error; "": usable
	}{
		{"RSA without alg", good, "", ""},
		{"RSA for PS512", good, "PS512", ""},
		{"RSA with a large exponent", withExponent(1<<30 + 1), "", ""},
		{"P-521", signers()["ES512"].Public(), "ES512", ""},
		{"Ed25519", signers()["EdDSA"].Public(), "EdDSA", ""},

		{"RSA too small", withModulus(modulus(t, 1024)), "", "at least 2048"},
		{"RSA one bit too small", withModulus(new(big.Int).Rsh(good.N, 1)), "", "of 2047 bits"},
		{"RSA too large", withModulus(new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 8192), big.NewInt(1))), "", "at most 8192"},
		{"RSA exponent 1", withExponent(1), "", "exponent 1 is too small"},
		{"RSA exponent 3", withExponent(3), "", "exponent 3 is too small"},
		{"RSA exponent even", withExponent(65538), "", "exponent is even"},
		{"RSA modulus even", withModulus(new(big.Int).Sub(good.N, big.NewInt(1))), "", "modulus is even"},
		{"RSA modulus with a small factor", withModulus(new(big.Int).Mul(modulus(t, 2047), big.NewInt(13))), "", "small factor"},
		{"RSA of the ROCA generator", withModulus(rocaModulus(t)), "", "ROCA"},
		{"RSA with an exponent beyond 31 bits", withExponent(1<<31 + 1), "", "exponent is too large"},
		{"P-224", must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader)).Public(), "", "another curve"},
		{"X25519", dh.PublicKey(), "", "neither RSA nor EC nor Ed25519"},
		{"Ed25519 of order 1", ed("01" + strings.Repeat("00", 31)), "", "small order"},
		{"Ed25519 of order 2", ed("ec" + strings.Repeat("ff", 30) + "7f"), "", "small order"},
		{"Ed25519 of order 4", ed(strings.Repeat("00", 31) + "80"), "", "small order"},
		{"Ed25519 of order 8", ed("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"), "", "small order"},
		{"Ed25519 of order 8, other", ed("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "", "small order"},
		{"Ed25519 not reduced", ed("ee" + strings.Repeat("ff", 30) + "7f"), "", "not a point"},
		{"Ed25519 off the curve", ed("02" + strings.Repeat("00", 31)), "", "not a point"},

		{"alg of another family", good, "ES256", "does not fit"},
		{"alg of another curve", signers()["ES512"].Public(), "ES256", "does not fit"},
		{"alg HS256", good, "HS256", "who verifies by it can sign"},
		{"alg none", good, "none", "not supported"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			wantError(t, token.CheckKey(policydata.Key{Algorithm: test.alg, SPKI: spki(test.public)}), test.want)
		})
	}
	t.Run("bytes behind the key", func(t *testing.T) {
		wantError(t, token.CheckKey(policydata.Key{SPKI: append(spki(good), 0)}), "not a DER SubjectPublicKeyInfo")
	})
	t.Run("a point off its curve", func(t *testing.T) {
		der := publicKey("", "ES256").SPKI
		der[len(der)-1] ^= 1
		wantError(t, token.CheckKey(policydata.Key{SPKI: der}), "not a point on its curve")
	})
	t.Run("no key", func(t *testing.T) {
		wantError(t, token.CheckKey(policydata.Key{}), "not a DER SubjectPublicKeyInfo")
	})
}

// wantError wants an error that contains some text, or none where that is "".
func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("got %v, want %q", err, want)
	}
}

// TestManyEd25519Keys compares the curve's equation with real keys.
func TestManyEd25519Keys(t *testing.T) {
	for range 100 {
		public, _, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		wantError(t, token.CheckKey(policydata.Key{SPKI: spki(public)}), "")
	}
}

func TestNewVerifierRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(*policydata.Issuer)
		want   string
	}{
		{"no iss", func(i *policydata.Issuer) { i.Issuer = "" }, "iss claim"},
		{"no audiences", func(i *policydata.Issuer) { i.Audiences = nil }, "audience"},
		{"an empty audience", func(i *policydata.Issuer) { i.Audiences = []string{"a", ""} }, "audience"},
		{"no algorithms", func(i *policydata.Issuer) { i.Algorithms = nil }, "algorithm"},
		{"HS256", func(i *policydata.Issuer) { i.Algorithms = []string{"RS256", "HS256"} }, "HS256"},
		{"none", func(i *policydata.Issuer) { i.Algorithms = []string{"none"} }, "none"},
		{"no user name", func(i *policydata.Issuer) { i.UsernameClaims = nil }, "user name"},
		{"an empty claim path", func(i *policydata.Issuer) { i.GroupsClaims = [][]string{{}} }, "claim path"},
		{"negative skew", func(i *policydata.Issuer) { i.ClockSkew = -1 }, "clock skew"},
		{"large skew", func(i *policydata.Issuer) { i.ClockSkew = policydata.MaxClockSkew + 1 }, "clock skew"},
		{"no lifetime", func(i *policydata.Issuer) { i.MaxTokenLifetime = 0 }, "lifetime"},
		{"a kid twice", func(i *policydata.Issuer) { i.Keys[1].ID = "r" }, `key 1 ("r"): another key`},
		{"a bad key", func(i *policydata.Issuer) { i.Keys[1].SPKI = []byte("x") }, `key 1 ("e"): not a DER`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			issuer := testIssuer()
			test.change(&issuer)
			_, err := token.NewVerifier([]policydata.Issuer{issuer})
			wantError(t, err, test.want)
			wantError(t, err, `issuer "idp": `)
		})
	}
	t.Run("an iss twice", func(t *testing.T) {
		other := testIssuer()
		other.Name = "other"
		_, err := token.NewVerifier([]policydata.Issuer{testIssuer(), other})
		wantError(t, err, `issuer "other": issuer "idp" has the same iss`)
	})
}

// TestPSSSaltLength pins that a salt of another length than the hash's is
// refused, which golang-jwt's own method accepts.
func TestPSSSaltLength(t *testing.T) {
	input := encode(`{"alg":"PS256"}`) + "." + encode("x")
	hash := crypto.SHA256.New()
	hash.Write([]byte(input))
	private := signers()["PS256"].(*rsa.PrivateKey)
	for salt, want := range map[int]policydata.Reason{
		31: policydata.ReasonBadSignature, 32: policydata.ReasonAllowed, 33: policydata.ReasonBadSignature,
	} {
		signature := must(rsa.SignPSS(rand.Reader, private, crypto.SHA256, hash.Sum(nil), &rsa.PSSOptions{SaltLength: salt}))
		if err := jwt.SigningMethodPS256.Verify(input, signature, &private.PublicKey); err != nil {
			t.Errorf("salt of %d bytes: golang-jwt: %v", salt, err)
		}
		jws := input + "." + base64.RawURLEncoding.EncodeToString(signature)
		got := token.VerifySignature(jws, []policydata.Key{publicKey("", "PS256")}, []string{"PS256"})
		if got != want {
			t.Errorf("salt of %d bytes: got %v, want %v", salt, got, want)
		}
	}
}
