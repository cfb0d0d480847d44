package jwks

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/policydata"
)

// The example keys of RFC 7517 appendix A.1 and RFC 8037 appendix A.2.
const (
	ecKey  = `"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"`
	rsaN   = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
	rsaKey = `"kty":"RSA","e":"AQAB","n":"` + rsaN + `"`
	okpKey = `"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"`
)

func set(keys ...string) string { return `{"keys":[{` + strings.Join(keys, "},{") + `}]}` }

func TestParseKeepsVerificationKeys(t *testing.T) {
	tests := []struct {
		name, set string
		want      []string // "kid alg" of each
	}{
		{"every type", set(ecKey+`,"kid":"a","alg":"ES256"`, rsaKey+`,"kid":"b","use":"sig"`, okpKey+`,"alg":"EdDSA"`), []string{"a ES256", "b ", " EdDSA"}},
		{"one key may sign for several algorithms", set(rsaKey + `,"kid":"a"`), []string{"a "}},
		{"key_ops with verify", set(ecKey + `,"kid":"a","key_ops":["sign","verify"]`), []string{"a "}},
		{"unknown members", `{"x":1,"keys":[{` + ecKey + `,"kid":"a","x5c":["x"],"y2":null}]}`, []string{"a "}},
		{"no keys", `{"keys":[]}`, nil},
		{"left out: use enc, as in Keycloak's sets", set(rsaKey+`,"kid":"a","use":"enc","alg":"RSA-OAEP"`, rsaKey+`,"kid":"b","use":"sig"`), []string{"b "}},
		{"left out: the kid of another key, for another use", set(rsaKey+`,"kid":"a","use":"enc"`, rsaKey+`,"kid":"a","use":"sig"`), []string{"a "}},
		{"left out: key_ops without verify", set(rsaKey + `,"key_ops":["encrypt"]`), nil},
		{"left out: use sig, key_ops without verify", set(rsaKey + `,"use":"sig","key_ops":[]`), nil},
		{"left out: an algorithm for encryption", set(rsaKey + `,"alg":"RSA-OAEP-256"`), nil},
		{"left out: an unknown kty", set(`"kty":"AKP","alg":"ML-DSA-44","pub":"x"`), nil},
		{"left out: an unknown curve", set(`"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"`), nil},
		{"left out: another curve of OKP", set(`"kty":"OKP","crv":"X25519","x":"AA"`), nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			keys, err := Parse([]byte(test.set))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, key := range keys {
				got = append(got, key.ID+" "+key.Algorithm)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	small := base64.RawURLEncoding.EncodeToString(new(big.Int).SetBit(big.NewInt(1), 1023, 1).Bytes())
	tests := []struct{ name, set, want string }{
		{"empty", "", "key set: invalid JSON"},
		{"an array", "[]", "not a JSON object"},
		{"no keys", "{}", `no array "keys"`},
		{"keys no array", `{"keys":{}}`, `no array "keys"`},
		{"a name twice in the set", `{"keys":[],"keys":[]}`, "stands twice"},
		{"a name twice in a key", set(ecKey + `,"\u006bty":"oct"`), "stands twice"},
		{"text behind", `{"keys":[]}x`, "text after"},
		{"too large", strings.Repeat(" ", MaxSetBytes+1), "at most 262144"},
		{"too many keys", set(strings.Split(strings.Repeat(`"kty":"x";`, MaxKeys)+`"kty":"x"`, ";")...), "at most 64"},
		{"a key no object", `{"keys":["x"]}`, "keys[0]: not a JSON object"},
		{"no kty", set(ecKey, `"x":1`), `keys[1]: no "kty"`},
		{"kty no string", set(`"kty":["EC"]`), `"kty" is not a string`},
		{"kid no string", set(ecKey + `,"kid":1`), `"kid" is not a string`},
		{"kid twice", set(ecKey+`,"kid":"a"`, rsaKey+`,"kid":"a"`), `keys[1]: the kid "a" is that of keys[0]`},
		{"use no string", set(ecKey + `,"use":null`), `"use" is not a string`},
		{"key_ops no array", set(ecKey + `,"key_ops":"verify"`), `"key_ops" is not an array`},
		{"key_ops with a number", set(ecKey + `,"key_ops":[1]`), `no string`},
		{"key_ops with one twice", set(ecKey + `,"key_ops":["verify","verify"]`), `"verify" twice`},
		{"a symmetric key", set(`"kty":"oct","k":"AA"`), "symmetric key"},
		{"a symmetric key among others", set(ecKey, `"kty":"oct","k":"AA"`), "keys[1]: a symmetric key"},
		{"a private EC key", set(ecKey + `,"d":"AA"`), `private parameter "d"`},
		{"a private key for encryption", set(rsaKey + `,"use":"enc","p":"AA"`), `private parameter "p"`},
		{"a private key, empty", set(rsaKey + `,"qi":null`), `private parameter "qi"`},
		{"alg no string", set(ecKey + `,"alg":1`), `"alg" is not a string`},
		{"alg HS256 on a public key", set(rsaKey + `,"alg":"HS256"`), `"HS256" is none for a public key`},
		{"alg none", set(rsaKey + `,"alg":"None"`), `"None" is none for a public key`},
		{"alg of another type", set(rsaKey + `,"alg":"ES256"`), "does not fit"},
		{"alg of another curve", set(ecKey + `,"alg":"ES384"`), "does not fit"},
		{"RSA without n", set(`"kty":"RSA","e":"AQAB"`), `no "n"`},
		{"RSA without e", set(`"kty":"RSA","n":"` + rsaN + `"`), `no "e"`},
		{"RSA e empty", set(`"kty":"RSA","e":"","n":"` + rsaN + `"`), `no "e"`},
		{"RSA n with padding", set(`"kty":"RSA","e":"AQAB","n":"` + rsaN + `=="`), `"n" is not base64url`},
		{"RSA n with a line break", set(`"kty":"RSA","e":"AQAB","n":"\n` + rsaN + `"`), `"n" is not base64url`},
		{"RSA e with stray bits", set(`"kty":"RSA","e":"Ax","n":"` + rsaN + `"`), `"e" is not base64url`},
		{"RSA e with leading zeros", set(`"kty":"RSA","e":"AAEAAQ","n":"` + rsaN + `"`), `"e" has leading zeros`},
		{"RSA n with leading zeros", set(`"kty":"RSA","e":"AQAB","n":"AA` + rsaN[2:] + `"`), `"n" has leading zeros`},
		{"RSA e even", set(`"kty":"RSA","e":"AQAC","n":"` + rsaN + `"`), "exponent is even"},
		{"RSA e 3", set(`"kty":"RSA","e":"Aw","n":"` + rsaN + `"`), "too small"},
		{"RSA e huge", set(`"kty":"RSA","e":"` + rsaN + `","n":"` + rsaN + `"`), `"e" is too large`},
		{"RSA small", set(`"kty":"RSA","e":"AQAB","n":"` + small + `"`), "1024 bits"},
		{"EC off the curve", set(strings.Replace(ecKey, "MKBC", "MKBD", 1)), "not a point on P-256"},
		{"EC of another curve", set(strings.Replace(ecKey, "P-256", "P-384", 1)), `"x" has 32 bytes, not the 48`},
		{"EC with a short coordinate", set(`"kty":"EC","crv":"P-256","x":"AA","y":"AA"`), `"x" has 1 bytes`},
		{"EC without y", set(strings.Replace(ecKey, `"y"`, `"z"`, 1)), `no "y"`},
		{"EC without crv", set(`"kty":"EC"`), `no "crv"`},
		{"OKP of a wrong length", set(`"kty":"OKP","crv":"Ed25519","x":"AA"`), `"x" has 1 bytes`},
		{"OKP of small order", set(`"kty":"OKP","crv":"Ed25519","x":"` + strings.Repeat("A", 43) + `"`), "small order"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			keys, err := Parse([]byte(test.set))
			if err == nil || !strings.Contains(err.Error(), test.want) || keys != nil {
				t.Errorf("got %v, %v, want %q", keys, err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), rsaN[:8]) {
				t.Errorf("the error quotes the key: %v", err)
			}
		})
	}
}

// TestThumbprint has the examples of RFC 7638 section 3.1 and RFC 8037 appendix A.3.
func TestThumbprint(t *testing.T) {
	for key, want := range map[string]string{
		rsaKey: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
		okpKey: "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
	} {
		keys, err := Parse([]byte(set(key)))
		if err != nil {
			t.Fatal(err)
		}
		public, err := x509.ParsePKIXPublicKey(keys[0].SPKI)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Thumbprint(public); err != nil || got != want {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
	}
}

func TestMarshalRoundTrip(t *testing.T) {
	var keys []policydata.Key
	add := func(alg string, public crypto.PublicKey, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		spki, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, policydata.Key{ID: "k-" + alg, Algorithm: alg, SPKI: spki})
	}
	rsaPrivate, err := rsa.GenerateKey(rand.Reader, 2048)
	add("PS256", &rsaPrivate.PublicKey, err)
	for alg, curve := range map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()} {
		private, err := ecdsa.GenerateKey(curve, rand.Reader)
		add(alg, &private.PublicKey, err)
	}
	edPublic, _, err := ed25519.GenerateKey(rand.Reader)
	add("EdDSA", edPublic, err)

	text, err := Marshal(keys)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(keys, got); diff != "" {
		t.Error(diff)
	}
	for _, name := range privateMembers {
		if strings.Contains(string(text), `"`+name+`":`) {
			t.Errorf("private member %q: %s", name, text)
		}
	}
}

func TestMarshalNoKeys(t *testing.T) {
	if text, err := Marshal(nil); err != nil || string(text) != `{"keys":[]}` {
		t.Errorf("%s, %v", text, err)
	}
	if _, err := Marshal([]policydata.Key{{SPKI: []byte("x")}}); err == nil || !strings.Contains(err.Error(), "keys[0]") {
		t.Errorf("got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(set(ecKey, rsaKey, okpKey)))
	f.Add([]byte(set(ecKey + `,"use":"sig","key_ops":["verify"],"alg":"ES256","kid":"a"`)))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := Parse(text)
		if err != nil {
			return
		}
		// What is accepted is published and read again as the same.
		published, err := Marshal(keys)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(published)
		if diff := cmp.Diff(keys, again); err != nil || diff != "" {
			t.Errorf("%v\n%s", err, diff)
		}
		if !json.Valid(text) {
			t.Errorf("accepted %q", text)
		}
	})
}

func ExampleParse() {
	_, err := Parse([]byte(`{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}`))
	fmt.Println(err)
	// Output: keys[0]: a symmetric key: who verifies by it can sign, and it must never be published
}
