package verify

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
)

// vector is a token, the key and the one algorithm by which it is verified. good
// says whether it must be accepted.
type vector struct {
	Name string `json:"-"`
	Alg  string `json:"alg"`
	SPKI []byte `json:"spki"`
	JWS  string `json:"jws"`
	Good bool   `json:"-"`
}

// hashOf is the hash of an algorithm.
func hashOf(alg string) crypto.Hash {
	switch alg[2:] {
	case "256":
		return crypto.SHA256
	case "384":
		return crypto.SHA384
	case "512":
		return crypto.SHA512
	}
	return 0 // EdDSA signs the message
}

// curves are the ES algorithms.
var curves = map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()}

// rsaKeys are moduli of several sizes: a multiple of 8 bits and not, and another
// exponent than the usual one.
var rsaKeys = []struct {
	bits     int
	exponent int64
}{{2048, 0}, {2049, 0}, {3072, 0}, {4096, 0}, {2048, 1<<31 - 1}}

func newRSA(t testing.TB, bits int, exponent int64) *rsa.PrivateKey {
	t.Helper()
	for {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		if exponent == 0 {
			return key
		}
		one, e := big.NewInt(1), big.NewInt(exponent)
		p, q := new(big.Int).Sub(key.Primes[0], one), new(big.Int).Sub(key.Primes[1], one)
		d := new(big.Int).ModInverse(e, new(big.Int).Mul(p, q))
		if d == nil {
			continue
		}
		other := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: key.N, E: int(exponent)}, D: d, Primes: key.Primes}
		other.Precompute()
		if err := other.Validate(); err != nil {
			t.Fatal(err)
		}
		return other
	}
}

func newEC(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func spkiOf(t testing.TB, public crypto.PublicKey) []byte {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return spki
}

// signingInput is that of a token with an algorithm's name and a payload.
func signingInput(alg, payload string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"`+alg+`"}`)) + "." + encode([]byte(payload))
}

func digest(h crypto.Hash, text string) []byte {
	sum := h.New()
	sum.Write([]byte(text))
	return sum.Sum(nil)
}

// vectors collects the vectors of one key and algorithm.
type vectors struct {
	t    testing.TB
	alg  string
	spki []byte
	key  string // what is told of the key in names
	all  *[]vector
}

func (v *vectors) add(name, input string, signature []byte, good bool) {
	*v.all = append(*v.all, vector{
		Name: fmt.Sprintf("%s, %s: %s", v.alg, v.key, name), Alg: v.alg, SPKI: v.spki, Good: good,
		JWS: input + "." + base64.RawURLEncoding.EncodeToString(signature),
	})
}

// mangle adds what becomes of any good signature.
func (v *vectors) mangle(input string, signature []byte) {
	v.add("good", input, signature, true)
	for i := 0; i < len(signature); i += max(1, len(signature)/16) {
		for _, bit := range []byte{1, 0x80} {
			flipped := bytes.Clone(signature)
			flipped[i] ^= bit
			v.add(fmt.Sprintf("byte %d flipped by %#x", i, bit), input, flipped, false)
		}
	}
	last := bytes.Clone(signature)
	last[len(last)-1] ^= 1
	v.add("last byte flipped", input, last, false)
	for name, other := range map[string][]byte{
		"empty":                 nil,
		"one byte":              {1},
		"truncated at the end":  signature[:len(signature)-1],
		"truncated in front":    signature[1:],
		"half":                  signature[:len(signature)/2],
		"zero behind":           append(bytes.Clone(signature), 0),
		"zero in front":         append([]byte{0}, signature...),
		"twice":                 append(bytes.Clone(signature), signature...),
		"all zero":              make([]byte, len(signature)),
		"all ones":              bytes.Repeat([]byte{0xFF}, len(signature)),
		"reversed":              reversed(signature),
		"one, in its length":    append(make([]byte, len(signature)-1), 1),
		"two halves exchanged":  append(bytes.Clone(signature[len(signature)/2:]), signature[:len(signature)/2]...),
		"second half is first":  append(bytes.Clone(signature[:len(signature)/2]), signature[:len(signature)-len(signature)/2]...),
		"base64 of it, as text": []byte(base64.RawURLEncoding.EncodeToString(signature)),
	} {
		v.add(name, input, other, false)
	}
	v.add("another payload", signingInput(v.alg, `{"sub":"mallory"}`), signature, false)
	v.add("another header", strings.Replace(input, ".", "A.", 1), signature, false)
}

func reversed(b []byte) []byte {
	out := make([]byte, len(b))
	for i := range b {
		out[len(b)-1-i] = b[i]
	}
	return out
}

// allVectors are those of each algorithm, and those of the RFCs.
func allVectors(t testing.TB) []vector {
	t.Helper()
	all := rfcVectors()
	var other *rsa.PrivateKey // of the same size as the first and the last
	for _, size := range rsaKeys {
		key := newRSA(t, size.bits, size.exponent)
		if other == nil {
			other = newRSA(t, size.bits, 0)
		}
		name := fmt.Sprintf("%d bits, exponent %d", size.bits, key.E)
		for _, alg := range []string{"RS256", "RS384", "RS512"} {
			v := &vectors{t, alg, spkiOf(t, &key.PublicKey), name, &all}
			v.pkcs1(key, other)
		}
		for _, alg := range []string{"PS256", "PS384", "PS512"} {
			v := &vectors{t, alg, spkiOf(t, &key.PublicKey), name, &all}
			v.pss(key, other)
		}
	}
	for alg, curve := range curves {
		key := newEC(t, curve)
		v := &vectors{t, alg, spkiOf(t, &key.PublicKey), curve.Params().Name, &all}
		v.ecdsa(key, newEC(t, curve))
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	v := &vectors{t, "EdDSA", spkiOf(t, public), "Ed25519", &all}
	input := signingInput("EdDSA", `{"sub":"eric"}`)
	v.mangle(input, ed25519.Sign(private, []byte(input)))
	return all
}

// pss adds the vectors of PS algorithms.
func (v *vectors) pss(key, other *rsa.PrivateKey) {
	input, h := signingInput(v.alg, `{"sub":"eric"}`), hashOf(v.alg)
	sign := func(key *rsa.PrivateKey, salt int) []byte {
		s, err := rsa.SignPSS(rand.Reader, key, h, digest(h, input), &rsa.PSSOptions{SaltLength: salt})
		if err != nil {
			v.t.Fatal(err)
		}
		return s
	}
	v.mangle(input, sign(key, rsa.PSSSaltLengthEqualsHash))
	v.add("another salt length", input, sign(key, 0), false)
	v.add("another key", input, sign(other, rsa.PSSSaltLengthEqualsHash), false)
	pkcs1, err := rsa.SignPKCS1v15(nil, key, h, digest(h, input))
	if err != nil {
		v.t.Fatal(err)
	}
	v.add("PKCS #1 v1.5", input, pkcs1, false)
}

// pkcs1 adds the vectors of RS algorithms.
func (v *vectors) pkcs1(key, other *rsa.PrivateKey) {
	input, h := signingInput(v.alg, `{"sub":"eric"}`), hashOf(v.alg)
	sum := digest(h, input)
	sign := func(key *rsa.PrivateKey, h crypto.Hash) []byte {
		s, err := rsa.SignPKCS1v15(nil, key, h, digest(h, input))
		if err != nil {
			v.t.Fatal(err)
		}
		return s
	}
	good := sign(key, h)
	v.mangle(input, good)
	v.add("another key", input, sign(other, h), false)
	for _, wrong := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		if wrong != h {
			v.add("hash "+wrong.String(), input, sign(key, wrong), false)
		}
	}
	pss, err := rsa.SignPSS(rand.Reader, key, h, sum, nil)
	if err != nil {
		v.t.Fatal(err)
	}
	v.add("PSS", input, pss, false)
	size, s := key.Size(), new(big.Int).SetBytes(good)
	one := big.NewInt(1)
	for name, n := range map[string]*big.Int{
		"the modulus":                    key.N,
		"the modulus less one":           new(big.Int).Sub(key.N, one),
		"the modulus and one":            new(big.Int).Add(key.N, one),
		"the signature and the modulus":  new(big.Int).Add(s, key.N),
		"the modulus less the signature": new(big.Int).Sub(key.N, s),
		"one":                            one,
	} {
		if n.BitLen() <= 8*size {
			v.add(name, input, n.FillBytes(make([]byte, size)), false)
		}
		v.add(name+", in its own length", input, n.Bytes(), false)
	}
	for name, padded := range paddings(sum, h, size) {
		m := new(big.Int).SetBytes(padded)
		if m.Cmp(key.N) < 0 {
			v.add("padding: "+name, input, m.Exp(m, key.D, key.N).FillBytes(make([]byte, size)), name == "as it should be")
		}
	}
}

// paddings are encoded messages (RFC 8017 section 9.2), one right and the others
// wrong in the ways of known forgeries.
func paddings(sum []byte, h crypto.Hash, size int) map[string][]byte {
	oid := map[crypto.Hash]byte{crypto.SHA256: 1, crypto.SHA384: 2, crypto.SHA512: 3}[h]
	algorithm := []byte{0x06, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, oid}
	info := func(parameters []byte, sum []byte) []byte {
		inner := append(bytes.Clone(algorithm), parameters...)
		inner = append([]byte{0x30, byte(len(inner))}, inner...)
		inner = append(append(inner, 0x04, byte(len(sum))), sum...)
		return append([]byte{0x30, byte(len(inner))}, inner...)
	}
	null := []byte{5, 0}
	encode := func(head [2]byte, fill byte, separator byte, tail []byte) []byte {
		out := append(head[:], bytes.Repeat([]byte{fill}, size-3-len(tail))...)
		return append(append(out, separator), tail...)
	}
	right := info(null, sum)
	long := append([]byte{0x30, 0x81, right[1]}, right[2:]...) // a length that is not the shortest
	garbage := encode([2]byte{0, 1}, 0xFF, 0, right)
	short := append([]byte{0, 1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0}, right...)
	short = append(short, make([]byte, size-len(short))...)
	hole := bytes.Clone(garbage)
	hole[5] = 0xFE
	return map[string][]byte{
		"as it should be":              garbage,
		"bytes behind the hash":        short,
		"a hole":                       hole,
		"block type 2":                 encode([2]byte{0, 2}, 0xFF, 0, right),
		"block type 0":                 encode([2]byte{0, 0}, 0, 0, right),
		"first byte is 1":              encode([2]byte{1, 1}, 0xFF, 0, right),
		"separator is 1":               encode([2]byte{0, 1}, 0xFF, 1, right),
		"no parameters":                encode([2]byte{0, 1}, 0xFF, 0, info(nil, sum)),
		"parameters with content":      encode([2]byte{0, 1}, 0xFF, 0, info([]byte{5, 1, 0}, sum)),
		"a length in the long form":    encode([2]byte{0, 1}, 0xFF, 0, long),
		"the hash alone":               encode([2]byte{0, 1}, 0xFF, 0, sum),
		"a hash that is cut":           encode([2]byte{0, 1}, 0xFF, 0, info(null, sum[:len(sum)-1])),
		"a hash with a byte behind it": encode([2]byte{0, 1}, 0xFF, 0, info(null, append(bytes.Clone(sum), 0))),
		"no hash":                      encode([2]byte{0, 1}, 0xFF, 0, info(null, nil)),
	}
}

// ecdsa adds the vectors of ES algorithms.
func (v *vectors) ecdsa(key, other *ecdsa.PrivateKey) {
	h, n := hashOf(v.alg), key.Params().N
	size := (n.BitLen() + 7) / 8
	raw := func(r, s *big.Int) []byte {
		return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
	}
	sign := func(key *ecdsa.PrivateKey, sum []byte) (r, s *big.Int) {
		r, s, err := ecdsa.Sign(rand.Reader, key, sum)
		if err != nil {
			v.t.Fatal(err)
		}
		return r, s
	}
	input := signingInput(v.alg, `{"sub":"eric"}`)
	sum := digest(h, input)
	r, s := sign(key, sum)
	v.mangle(input, raw(r, s))
	// Who has a signature can make this one of it: it is as good (RFC 7518 does
	// not want the lower one), which is why the cache's key is the whole token.
	v.add("n-s", input, raw(r, new(big.Int).Sub(n, s)), true)
	v.add("another key", input, raw(sign(other, sum)), false)
	for _, wrong := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		if wrong != h {
			v.add("hash "+wrong.String(), input, raw(sign(key, digest(wrong, input))), false)
		}
	}
	der, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
	if err != nil {
		v.t.Fatal(err)
	}
	v.add("in DER", input, der, false)
	zero, one, below := new(big.Int), big.NewInt(1), new(big.Int).Sub(n, big.NewInt(1))
	for name, x := range map[string]*big.Int{"0": zero, "1": one, "n-1": below, "n": n, "n+1": new(big.Int).Add(n, one)} {
		v.add("r = "+name, input, raw(x, s), false)
		v.add("s = "+name, input, raw(r, x), false)
		v.add("r = s = "+name, input, raw(x, x), false)
	}
	for name, pair := range map[string][2]*big.Int{"r+n": {new(big.Int).Add(r, n), s}, "s+n": {r, new(big.Int).Add(s, n)}, "n-r": {new(big.Int).Sub(n, r), s}} {
		if pair[0].BitLen() <= 8*size && pair[1].BitLen() <= 8*size {
			v.add(name, input, raw(pair[0], pair[1]), false)
		}
	}
	v.add("s before r", input, raw(s, r), false)
	v.short(key, raw, sign)
}

// short adds good signatures of which r or s begins with a zero byte: in DER they
// are shorter, and without one the first bit may be set.
func (v *vectors) short(key *ecdsa.PrivateKey, raw func(r, s *big.Int) []byte, sign func(*ecdsa.PrivateKey, []byte) (r, s *big.Int)) {
	var shortR, shortS, high bool
	byteLess := key.Params().BitSize - 8
	for i := 0; !shortR || !shortS || !high; i++ {
		input := signingInput(v.alg, fmt.Sprintf(`{"n":%d}`, i))
		r, s := sign(key, digest(hashOf(v.alg), input))
		switch signature := raw(r, s); {
		case !shortR && r.BitLen() <= byteLess:
			shortR = true
			v.add("short r", input, signature, true)
		case !shortS && s.BitLen() <= byteLess:
			shortS = true
			v.add("short s", input, signature, true)
		// P-521's numbers have at most one bit in their first byte.
		case !high && r.BitLen()%8 == 0 && s.BitLen()%8 == 0 || !high && v.alg == "ES512":
			high = true
			v.add("r and s with their first bits set", input, signature, true)
		}
	}
}

// rfcVectors are the public-key examples of RFC 7515 appendix A and RFC 8037
// appendix A.
func rfcVectors() []vector {
	decode := func(s string) []byte {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			panic(err)
		}
		return b
	}
	point := slices.Concat([]byte{4}, decode("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"), decode("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"))
	p256, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		panic(err)
	}
	spki := func(key crypto.PublicKey) []byte {
		b, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			panic(err)
		}
		return b
	}
	return []vector{
		{
			Name: "RFC 7515 A.3", Alg: "ES256", SPKI: spki(p256), Good: true,
			JWS: "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ." +
				"DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
		},
		{
			Name: "RFC 8037 A.4", Alg: "EdDSA", SPKI: spki(ed25519.PublicKey(decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"))), Good: true,
			JWS: "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc." +
				"hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
		},
	}
}
