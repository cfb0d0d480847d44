package token_test

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"sallyport/policydata"
	"sallyport/policydata/token"
)

// FuzzVerify wants that no bytes panic, that only what was signed is accepted,
// and, with every signature taken for good, that what is accepted holds to the
// rules for identities.
func FuzzVerify(f *testing.F) {
	rs256, es256 := sign(f, "RS256", headerRS256, goodPayload), sign(f, "ES256", headerES256, goodPayload)
	f.Add(rs256, headerRS256, goodPayload)
	f.Add(es256, headerES256, goodPayload)
	f.Add("..", `{"alg":"ES256"}`, `{"iss":"https://idp.example.com","sub":"\u0065ric","aud":["api"],"exp":1.8000003e9,"groups":"a b","act":{}}`)
	f.Add(rs256+"=", `{"alg":"none","crit":[]}`, `{"iss":"https://idp.example.com","realm_access":{"roles":["x"]},"azp":"c"}`)
	strict := newVerifier(f, testIssuer())
	trusting, err := token.NewVerifier([]policydata.Issuer{testIssuer()}, token.WithSignatureFunc(
		func(string, []byte, string, []byte) (bool, bool) { return true, true }))
	if err != nil {
		f.Fatal(err)
	}
	issuer := testIssuer()
	wellFormed := map[string]string{"ES256": encode(strings.Repeat("\x01", 64)), "": encode(strings.Repeat("\x01", 256))}
	f.Fuzz(func(t *testing.T, raw, header, payload string) {
		if _, _, reason := strict.Verify(raw, now); reason == policydata.ReasonAllowed && raw != rs256 && raw != es256 {
			t.Errorf("accepted: %q", raw)
		}
		signature := wellFormed[""]
		if strings.Contains(header, "ES256") {
			signature = wellFormed["ES256"]
		}
		identity, claims, reason := trusting.Verify(encode(header)+"."+encode(payload)+"."+signature, now)
		mapped, mapReason := token.Map(&issuer, payload)
		if reason != policydata.ReasonAllowed {
			return
		}
		if diff := cmp.Diff(mapped, identity); diff != "" || mapReason != reason {
			t.Errorf("Verify and Map (%v) differ:\n%s", mapReason, diff)
		}
		checkIdentity(t, &identity)
		if claims.Payload != payload || claims.Expires <= now || !json.Valid([]byte(header)) || !json.Valid([]byte(payload)) {
			t.Errorf("accepted: %q %q", header, payload)
		}
	})
}

func checkIdentity(t *testing.T, identity *policydata.Identity) {
	t.Helper()
	if err := policydata.CheckName(identity.User); err != nil {
		t.Errorf("user: %v", err)
	}
	for _, names := range [][]string{identity.Groups, identity.Roles} {
		seen := make(map[string]bool)
		for _, name := range names {
			if name == "" || name == "*" || strings.HasPrefix(name, "system:") || seen[name] {
				t.Errorf("name %q in %q", name, names)
			}
			seen[name] = true
		}
	}
}

// FuzzCheckKey wants that what is accepted is what crypto/x509 reads, too, and
// the only encoding of that key, which crypto/x509 does not see to.
func FuzzCheckKey(f *testing.F) {
	for _, alg := range token.Algorithms() {
		f.Add(publicKey("", alg).SPKI)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		err := token.CheckKey(policydata.Key{SPKI: der})
		public, x509Err := x509.ParsePKIXPublicKey(der)
		canonical := x509Err == nil && reencodes(public, der)
		if err == nil && !canonical {
			t.Errorf("accepted %x: %v", der, x509Err)
		}
		if err != nil && canonical && strings.Contains(err.Error(), "not a DER") {
			t.Errorf("refused %x: %v", der, err)
		}
	})
}

func reencodes(public crypto.PublicKey, der []byte) bool {
	encoded, err := x509.MarshalPKIXPublicKey(public)
	return err == nil && bytes.Equal(encoded, der)
}

// FuzzValidateJSON compares with a slow reference made of encoding/json.
func FuzzValidateJSON(f *testing.F) {
	for _, seed := range []string{
		goodPayload, headerRS256, `{"a":1,"\u0061":2}`, `["\ud83d\ude00","\ud800"]`, "[1.5e-3,-0,\"\xff\"]", `{"a":[{"b":{}}]} x`,
		`{"a":0,"b":0,"c":0,"d":0,"e":0,"f":0,"g":0,"h":0,"i":0,"j":0,"k":0,"l":0,"m":0,"n":0,"o":0,"p":0,"q":0,"a":0}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		err := token.ValidateJSON(text)
		if err != nil && (strings.Contains(err.Error(), "too deep") || strings.Contains(err.Error(), "too many")) {
			return // the limits are not in the reference
		}
		if want := strictlyValid(text); want != (err == nil) {
			t.Errorf("%q: got %v, want valid %t", text, err, want)
		}
	})
}

func strictlyValid(text string) bool {
	if !utf8.ValidString(text) || !json.Valid([]byte(text)) || loneSurrogate(text) {
		return false
	}
	return !repeatsName(json.NewDecoder(strings.NewReader(text)))
}

// loneSurrogate looks for escapes that encoding/json replaces: each decodes to
// U+FFFD, without being written so. text is valid otherwise.
func loneSurrogate(text string) bool {
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		if i++; text[i] != 'u' {
			continue
		}
		end := i + 5
		if surrogate(text[i:end]) && len(text) >= end+6 && text[end] == '\\' && surrogate(text[end+1:end+6]) {
			end += 6
		}
		var decoded string
		if json.Unmarshal([]byte(`"`+text[i-1:end]+`"`), &decoded) != nil {
			return true
		}
		if strings.Contains(decoded, "\ufffd") && !strings.EqualFold(text[i:end], "ufffd") {
			return true
		}
		i = end - 1
	}
	return false
}

// surrogate reports whether an escape such as ud83d is one half of a pair.
func surrogate(escape string) bool {
	return escape[0] == 'u' && strings.ContainsRune("dD", rune(escape[1])) && strings.ContainsRune("89abcdefABCDEF", rune(escape[2]))
}

func repeatsName(d *json.Decoder) bool {
	open, err := d.Token()
	if err != nil {
		return false
	}
	if open != json.Delim('{') && open != json.Delim('[') {
		return false
	}
	seen := make(map[json.Token]bool)
	for d.More() {
		if open == json.Delim('{') {
			name, _ := d.Token()
			if seen[name] {
				return true
			}
			seen[name] = true
		}
		if repeatsName(d) {
			return true
		}
	}
	_, _ = d.Token()
	return false
}
