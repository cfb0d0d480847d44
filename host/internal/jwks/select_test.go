package jwks

import (
	"encoding/base64"
	"math/big"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/policydata/token"
)

func TestSelect(t *testing.T) {
	small := base64.RawURLEncoding.EncodeToString(new(big.Int).SetBit(big.NewInt(1), 1023, 1).Bytes())
	good := rsaKey + `,"kid":"good"`
	tests := []struct {
		name, set string
		keys      string   // kids
		skipped   []string // kid, reason; "!" before flawed ones
	}{
		{"a set as Keycloak's", set(rsaKey+`,"kid":"e","use":"enc","alg":"RSA-OAEP"`, good+`,"use":"sig","alg":"RS256"`), "good", []string{`e use "enc"`}},
		{"an algorithm that the issuer may not use", set(good, rsaKey+`,"kid":"b","alg":"RS512"`), "good", []string{"b not for an algorithm"}},
		{"a type that no algorithm of the issuer is for", set(good, ecKey+`,"kid":"b"`), "good", []string{"b not for an algorithm"}},
		{"an unknown type", set(good, `"kty":"AKP","alg":"ML-DSA-44","kid":"b","pub":"x"`), "good", []string{`b alg "ML-DSA-44"`}},
		{"an unknown curve", set(good, `"kty":"EC","kid":"b","crv":"secp256k1","x":"AA","y":"AA"`), "good", []string{`b kty "EC", crv "secp256k1"`}},
		{"a weak key", set(good, `"kty":"RSA","kid":"b","e":"AQAB","n":"`+small+`"`), "good", []string{"!b RSA modulus of 1024 bits"}},
		{"a small exponent", set(good, `"kty":"RSA","kid":"b","e":"Aw","n":"`+rsaN+`"`), "good", []string{"!b RSA exponent 3 is too small"}},
		{"a key without modulus", set(good, `"kty":"RSA","kid":"b","e":"AQAB"`), "good", []string{`!b no "n"`}},
		{"an alg of another type", set(good, rsaKey+`,"kid":"b","alg":"ES256"`), "good", []string{"!b algorithm ES256 does not fit"}},
		{"HS256 on a public key", set(good, rsaKey+`,"kid":"b","alg":"HS256"`), "good", []string{`!b the algorithm "HS256"`}},
		{"no type", set(good, `"kid":"b"`), "good", []string{`! no "kty"`}},
		{"an entry that is no key", `{"keys":[7,{` + good + `}]}`, "good", []string{"! not a JSON object"}},
		{"a kid beyond all measure", set(good, rsaKey+`,"kid":"`+strings.Repeat("x", MaxKeyIDBytes+1)+`"`), "good", []string{"!" + strings.Repeat("x", MaxKeyIDBytes+1) + ` a "kid" of 1025 bytes`}},
		{"the kid of a key for another use", set(good, rsaKey+`,"kid":"good","use":"enc"`), "good", []string{`good use "enc"`}},
		{"keys for encryption alone", set(rsaKey + `,"kid":"e","use":"enc"`), "", []string{`e use "enc"`}},
		{"none", `{"keys":[]}`, "", nil},
		{"keys without kid", set(rsaKey, rsaKey+`,"alg":"RS256"`), " ", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, err := Select([]byte(test.set), []string{"RS256"})
			if err != nil {
				t.Fatal(err)
			}
			var kids, skipped []string
			for _, k := range s.Keys {
				kids = append(kids, k.ID)
			}
			for i, k := range s.Skipped {
				text := k.KeyID + " " + k.Reason
				if k.Flawed {
					text = "!" + text
				}
				if i < len(test.skipped) && strings.HasPrefix(text, test.skipped[i]) {
					text = test.skipped[i]
				}
				skipped = append(skipped, text)
			}
			if diff := cmp.Diff(test.skipped, skipped); diff != "" || strings.Join(kids, " ") != test.keys {
				t.Errorf("got keys %q, want %q; skipped: %s", kids, test.keys, diff)
			}
		})
	}
}

func TestSelectRefusesTheSet(t *testing.T) {
	good := rsaKey + `,"kid":"good"`
	tests := []struct{ name, set, want string }{
		{"a symmetric key", set(good, `"kty":"oct","kid":"b","k":"AA"`), "keys[1]: a symmetric key"},
		{"a private key", set(good, rsaKey+`,"kid":"b","d":"AA"`), `keys[1]: the private parameter "d"`},
		{"a private key for encryption", set(good, rsaKey+`,"kid":"b","use":"enc","d":"AA"`), `keys[1]: the private parameter "d"`},
		{"a private key without type", set(good, `"kid":"b","p":"AA"`), `keys[1]: the private parameter "p"`},
		{"one kid for two keys", set(good, ecKey+`,"kid":"good"`), `keys[1]: the kid "good" is that of keys[0]`},
		{"one kid for a good and a weak key", set(good, `"kty":"RSA","kid":"good","e":"Aw","n":"`+rsaN+`"`), `keys[1]: the kid "good"`},
		{"a name twice", set(good + `,"kid":"b"`), "stands twice"},
		{"truncated", `{"keys":[{` + good, "invalid JSON"},
		{"HTML", "<html>", "invalid JSON"},
		{"an error document", `{"error":"no"}`, `no array "keys"`},
		{"too many", set(strings.Split(strings.Repeat(`"kty":"x";`, MaxKeys)+`"kty":"x"`, ";")...), "at most 64"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, err := Select([]byte(test.set), []string{"RS256", "ES256"})
			if err == nil || !strings.Contains(err.Error(), test.want) || s.Keys != nil {
				t.Errorf("got %v, %v, want %q", s, err, test.want)
			}
		})
	}
}

// FuzzSelect wants what is selected to be good for a verifier, whatever was
// published.
func FuzzSelect(f *testing.F) {
	f.Add(set(rsaKey+`,"kid":"a"`, ecKey+`,"kid":"b","alg":"ES256"`, okpKey))
	f.Add(set(rsaKey+`,"kid":"a","use":"enc"`, `"kty":"EC","crv":"secp256k1"`))
	f.Add(set(`"kty":"oct","k":"AA"`))
	f.Add(`{"keys":[1,{"kty":[]},{"d":null}]}`)
	algorithms := []string{"RS256", "ES256", "EdDSA"}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Select([]byte(text), algorithms)
		if err != nil {
			return
		}
		ids := map[string]bool{}
		for _, k := range s.Keys {
			if err := token.CheckKey(k); err != nil {
				t.Error(err)
			}
			if k.ID != "" && ids[k.ID] {
				t.Errorf("kid %q twice", k.ID)
			}
			ids[k.ID] = true
		}
		if strict, err := Parse([]byte(text)); err == nil && len(strict) < len(s.Keys) {
			t.Errorf("Parse takes %d keys, Select %d", len(strict), len(s.Keys))
		}
	})
}
