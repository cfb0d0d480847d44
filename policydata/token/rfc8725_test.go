package token_test

import (
	"bytes"
	"compress/flate"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"sallyport/policydata"
	"sallyport/policydata/token"
)

// RFC 8725, JSON Web Token Best Current Practices, section by section: what a
// verifier has to do.

// hmacToken signs with a public key's text as the secret of HS256, the attack of
// section 2.1.
func hmacToken(secret []byte) string {
	input := encode(`{"alg":"HS256","kid":"r"}`) + "." + encode(goodPayload)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(input))
	return input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func TestRFC8725Section3_1_AlgorithmVerification(t *testing.T) {
	v := newVerifier(t, testIssuer())
	der := publicKey("r", "RS256").SPKI
	unsigned := encode(`{"alg":"none"}`) + "." + encode(goodPayload) + "."
	for name, raw := range map[string]string{
		"none":                                unsigned,
		"none with a kid":                     strings.Replace(unsigned, encode(`{"alg":"none"}`), encode(`{"alg":"none","kid":"r"}`), 1),
		"None":                                encode(`{"alg":"None"}`) + "." + encode(goodPayload) + ".",
		"a public key as the secret of HMAC":  hmacToken(der),
		"its PEM text as the secret":          hmacToken(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
		"an algorithm that is not the key's":  sign(t, "RS384", `{"alg":"RS384","kid":"r"}`, goodPayload),
		"the header lies about the algorithm": sign(t, "PS256", `{"alg":"RS512","kid":"r"}`, goodPayload),
	} {
		t.Run(name, func(t *testing.T) { wantReason(t, v, raw, policydata.ReasonBadToken) })
	}
	t.Run("one algorithm for one key", func(t *testing.T) {
		issuer := testIssuer()
		issuer.Algorithms = []string{"RS256", "PS256"}
		issuer.Keys = issuer.Keys[:1] // for RS256 only
		wantReason(t, newVerifier(t, issuer), sign(t, "PS256", `{"alg":"PS256","kid":"r"}`, goodPayload), policydata.ReasonBadToken)
	})
}

func TestRFC8725Section3_2_AppropriateAlgorithms(t *testing.T) {
	for _, alg := range []string{"none", "None", "HS256", "HS384", "HS512", "RSA1_5", "RSA-OAEP", "ES256K", "dir", "A128KW", "RS1", ""} {
		t.Run("not "+alg, func(t *testing.T) {
			issuer := testIssuer()
			issuer.Algorithms = []string{alg}
			if _, err := token.NewVerifier([]policydata.Issuer{issuer}); err == nil {
				t.Error("an issuer may use it")
			}
			wantError(t, token.CheckKey(policydata.Key{Algorithm: "x" + alg, SPKI: publicKey("", "RS256").SPKI}), "not supported")
		})
	}
}

// A JWS has one cryptographic operation. An encrypted token, signed inside or
// not, is none that is accepted.
func TestRFC8725Section3_3_AllCryptographicOperations(t *testing.T) {
	v := newVerifier(t, testIssuer())
	good := sign(t, "RS256", headerRS256, goodPayload)
	part := strings.Split(good, ".")
	for name, tt := range map[string]struct {
		raw  string
		want policydata.Reason
	}{
		"five parts":                       {strings.Join([]string{encode(`{"alg":"dir","enc":"A128GCM"}`), "", part[0], part[1], part[2]}, "."), policydata.ReasonBadToken},
		"a token in a token":               {sign(t, "RS256", `{"alg":"RS256","kid":"r","cty":"JWT"}`, good), policydata.ReasonBadToken},
		"a good inside, a bad outside":     {sign(t, "RS256", `{"alg":"RS256","kid":"r"}`, `"`+good+`"`), policydata.ReasonBadToken},
		"the signature of another payload": {part[0] + "." + encode(strings.Replace(goodPayload, "eric", "root", 1)) + "." + part[2], policydata.ReasonBadSignature},
		"the signature of another header":  {encode(`{"kid":"r","alg":"RS256"}`) + "." + part[1] + "." + part[2], policydata.ReasonBadSignature},
		"no signature":                     {part[0] + "." + part[1] + ".", policydata.ReasonBadSignature},
	} {
		t.Run(name, func(t *testing.T) { wantReason(t, v, tt.raw, tt.want) })
	}
}

// Inputs are validated before they are used: points are on their curve, numbers
// in their range. TestCheckKey and TestVerifyMalformedECDSA have more.
func TestRFC8725Section3_4_CryptographicInputs(t *testing.T) {
	off := publicKey("e", "ES256")
	off.SPKI = bytes.Clone(off.SPKI)
	off.SPKI[len(off.SPKI)-1] ^= 1
	wantError(t, token.CheckKey(off), "not a point on its curve")
	v := newVerifier(t, testIssuer())
	good := sign(t, "ES256", headerES256, goodPayload)
	input := good[:strings.LastIndexByte(good, '.')+1]
	wantReason(t, v, input+encode(strings.Repeat("\x00", 64)), policydata.ReasonBadSignature)
	good = sign(t, "RS256", headerRS256, goodPayload)
	input = good[:strings.LastIndexByte(good, '.')+1]
	n := signers()["RS256"].Public().(*rsa.PublicKey).N
	wantReason(t, v, input+encode(string(n.Bytes())), policydata.ReasonBadSignature)
	wantReason(t, v, input+encode(string(make([]byte, 256))), policydata.ReasonBadSignature)
}

func TestRFC8725Section3_5_KeyEntropy(t *testing.T) {
	weak := must(rand.Prime(rand.Reader, 1024))
	wantError(t, token.CheckKey(policydata.Key{SPKI: spki(&rsa.PublicKey{N: weak.SetBit(weak, 0, 1), E: 65537})}), "at least 2048")
	// A human's secret can't sign, since no secret can: see 3.2.
	issuer := testIssuer()
	issuer.Keys = append(issuer.Keys, policydata.Key{ID: "s", SPKI: []byte("password")})
	if _, err := token.NewVerifier([]policydata.Issuer{issuer}); err == nil {
		t.Error("a secret is taken for a key")
	}
	wantError(t, token.CheckKey(policydata.Key{SPKI: spki(&rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 2047, 1), E: 3})}), "exponent")
}

func TestRFC8725Section3_6_NoCompression(t *testing.T) {
	var packed bytes.Buffer
	w := must(flate.NewWriter(&packed, 9))
	_, err := w.Write([]byte(goodPayload))
	must(0, err)
	must(0, w.Close())
	v := newVerifier(t, testIssuer())
	for name, raw := range map[string]string{
		"zip":                      sign(t, "RS256", `{"alg":"RS256","kid":"r","zip":"DEF"}`, packed.String()),
		"zip, and nothing packed":  sign(t, "RS256", `{"alg":"RS256","kid":"r","zip":"DEF"}`, goodPayload),
		"zip null":                 sign(t, "RS256", `{"alg":"RS256","kid":"r","zip":null}`, goodPayload),
		"packed without saying so": sign(t, "RS256", headerRS256, packed.String()),
	} {
		t.Run(name, func(t *testing.T) { wantReason(t, v, raw, policydata.ReasonBadToken) })
	}
}

func TestRFC8725Section3_7_UTF8(t *testing.T) {
	v := newVerifier(t, testIssuer())
	utf16 := "\xff\xfe"
	for _, c := range goodPayload {
		utf16 += string(c) + "\x00"
	}
	for name, raw := range map[string]string{
		"a header in Latin-1":      sign(t, "RS256", "{\"alg\":\"RS256\",\"x\":\"\xfc\"}", goodPayload),
		"a payload in Latin-1":     sign(t, "RS256", headerRS256, "{\"x\":\"\xfc\","+goodPayload[1:]),
		"a payload in UTF-16":      sign(t, "RS256", headerRS256, utf16),
		"an overlong form":         sign(t, "RS256", headerRS256, "{\"x\":\"\xc0\xaf\","+goodPayload[1:]),
		"a surrogate in UTF-8":     sign(t, "RS256", headerRS256, "{\"x\":\"\xed\xa0\x80\","+goodPayload[1:]),
		"a byte order mark before": sign(t, "RS256", headerRS256, "\ufeff"+goodPayload),
	} {
		t.Run(name, func(t *testing.T) { wantReason(t, v, raw, policydata.ReasonBadToken) })
	}
}

// The issuer is compared byte for byte, and only its own keys count; the subject
// is one of this issuer.
func TestRFC8725Section3_8_IssuerAndSubject(t *testing.T) {
	first, second := testIssuer(), otherIssuer()
	second.UsernamePrefix = "other:"
	first.Keys, second.Keys = first.Keys[:1], second.Keys[:1] // RS256 of the first, ES256 of the second
	v := newVerifier(t, first, second)
	ofSecond := strings.Replace(goodPayload, "idp.", "other.", 1)
	for name, tt := range map[string]struct {
		raw  string
		want policydata.Reason
	}{
		"the first's":                          {sign(t, "RS256", headerRS256, goodPayload), policydata.ReasonAllowed},
		"the second's":                         {sign(t, "ES256", headerES256, ofSecond), policydata.ReasonAllowed},
		"the first's name by the second's key": {sign(t, "ES256", headerES256, goodPayload), policydata.ReasonBadToken},
		"the second's name by the first's key": {sign(t, "RS256", headerRS256, ofSecond), policydata.ReasonBadToken},
		"another's":                            {sign(t, "RS256", headerRS256, strings.Replace(goodPayload, "idp.", "evil.", 1)), policydata.ReasonUnknownIssuer},
		"no subject":                           {sign(t, "RS256", headerRS256, strings.Replace(goodPayload, `"sub":"eric",`, "", 1)), policydata.ReasonBadToken},
		"a subject that is a number":           {sign(t, "RS256", headerRS256, strings.Replace(goodPayload, `"eric"`, "1", 1)), policydata.ReasonBadToken},
	} {
		t.Run(name, func(t *testing.T) { wantReason(t, v, tt.raw, tt.want) })
	}
	identity, _, _ := v.Verify(sign(t, "ES256", headerES256, ofSecond), now)
	if identity.User != "other:eric" || identity.Issuer != "other" {
		t.Errorf("the second's subject is %q of %q", identity.User, identity.Issuer)
	}
}

func TestRFC8725Section3_9_Audience(t *testing.T) {
	v := newVerifier(t, testIssuer())
	for aud, want := range map[string]policydata.Reason{
		`"api"`: policydata.ReasonAllowed, `["x","api"]`: policydata.ReasonAllowed,
		`"x"`: policydata.ReasonBadAudience, `[]`: policydata.ReasonBadAudience, `""`: policydata.ReasonBadAudience, `"*"`: policydata.ReasonBadAudience,
	} {
		t.Run(aud, func(t *testing.T) {
			wantReason(t, v, sign(t, "RS256", headerRS256, strings.Replace(goodPayload, `"api"`, aud, 1)), want)
		})
	}
	wantReason(t, v, sign(t, "RS256", headerRS256, strings.Replace(goodPayload, `"aud":"api",`, "", 1)), policydata.ReasonBadAudience)
	issuer := testIssuer()
	issuer.Audiences = nil
	if _, err := token.NewVerifier([]policydata.Issuer{issuer}); err == nil {
		t.Error("an issuer may be without audiences, which would switch the check off")
	}
}

// What a token says is no address, path or query to anything: a "kid" is only
// compared, and "jku", "x5u", "jwk" and "x5c" are not read.
func TestRFC8725Section3_10_ReceivedClaims(t *testing.T) {
	v := newVerifier(t, testIssuer())
	for _, kid := range []string{"../../dev/null", "/proc/self/environ", "r' or '1'='1", "r;r", "*", "r\\u0000", "http://127.0.0.1/"} {
		t.Run("kid "+kid, func(t *testing.T) {
			wantReason(t, v, sign(t, "RS256", fmt.Sprintf(`{"alg":"RS256","kid":"%s"}`, kid), goodPayload), policydata.ReasonBadToken)
		})
	}
	attacker := must(rsa.GenerateKey(rand.Reader, 2048))
	jwk := fmt.Sprintf(`{"kty":"RSA","kid":"r","e":"AQAB","n":"%s"}`, base64.RawURLEncoding.EncodeToString(attacker.N.Bytes()))
	for _, parameter := range []string{
		`"jku":"https://attacker.example/jwks"`, `"x5u":"https://attacker.example/cert"`, `"jwk":` + jwk, `"x5c":["AA=="]`, `"x5t":"AA"`,
	} {
		t.Run(parameter[:5], func(t *testing.T) {
			raw := sign(t, "RS256", `{"alg":"RS256","kid":"r",`+parameter+`}`, goodPayload)
			wantReason(t, v, raw, policydata.ReasonAllowed)
			forged := raw[:strings.LastIndexByte(raw, '.')+1] + encode(strings.Repeat("x", 256))
			wantReason(t, v, forged, policydata.ReasonBadSignature)
		})
	}
}

func TestRFC8725Section3_11_ExplicitTyping(t *testing.T) {
	v := newVerifier(t, testIssuer())
	for typ, want := range map[string]policydata.Reason{
		"JWT": policydata.ReasonAllowed, "at+jwt": policydata.ReasonAllowed, "application/at+jwt": policydata.ReasonAllowed,
		"dpop+jwt": policydata.ReasonBadToken, "logout+jwt": policydata.ReasonBadToken, "secevent+jwt": policydata.ReasonBadToken,
		"oauth-authz-req+jwt": policydata.ReasonBadToken, "token-introspection+jwt": policydata.ReasonBadToken, "kb+jwt": policydata.ReasonBadToken,
		"JOSE": policydata.ReasonBadToken, "": policydata.ReasonBadToken,
	} {
		t.Run(typ, func(t *testing.T) {
			wantReason(t, v, sign(t, "RS256", fmt.Sprintf(`{"alg":"RS256","kid":"r","typ":%q}`, typ), goodPayload), want)
		})
	}
}

// Rules by which one kind of token can't pass for another: types (3.11),
// audiences, keys and issuers that differ, and claims that are required.
func TestRFC8725Section3_12_MutuallyExclusiveRules(t *testing.T) {
	v := newVerifier(t, testIssuer())
	for name, raw := range map[string]string{
		"a logout token":          sign(t, "RS256", `{"alg":"RS256","kid":"r","typ":"logout+jwt"}`, goodPayload),
		"an ID token's audience":  sign(t, "RS256", headerRS256, strings.Replace(goodPayload, `"api"`, `"web-client"`, 1)),
		"a key for other purpose": sign(t, "RS256", `{"alg":"RS256","kid":"id-tokens"}`, goodPayload),
		"another issuer":          sign(t, "RS256", headerRS256, strings.Replace(goodPayload, "idp.", "idp2.", 1)),
		"no expiry":               sign(t, "RS256", headerRS256, strings.Replace(goodPayload, `,"exp":1800000300`, "", 1)),
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, reason := v.Verify(raw, now); reason == policydata.ReasonAllowed {
				t.Error("it is accepted")
			}
		})
	}
}
