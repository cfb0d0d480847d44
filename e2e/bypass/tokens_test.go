package bypass

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"sallyport/e2e/oidctest"
)

// issuers are two that the policies trust, with their keys.
type issuers struct{ idp, other *oidctest.Key }

func newIssuers(t *testing.T) issuers {
	t.Helper()
	return issuers{oidctest.NewKey(t, "ES256"), oidctest.NewKey(t, "ES256")}
}

// policies returns the documents: eric is in team foo.
func (is issuers) policies(t *testing.T) string {
	t.Helper()
	text := rules
	for name, key := range map[string]*oidctest.Key{"idp": is.idp, "other": is.other} {
		jwk, err := json.Marshal(key.JWK())
		if err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintf(`---
apiVersion: sallyport/v1
kind: Issuer
metadata: {name: %s}
spec:
  issuer: https://%s.example
  audiences: [api]
  algorithms: [ES256]
  jwks: {inline: {keys: [%s]}}
  shareNames: true
`, name, name, jwk)
	}
	return text
}

// tokens returns what replaces a token's name in what is sent: FOO of eric in
// team foo, BAR of bob in team bar, ODD of mallory in teams whose names are no
// names, and what is sent in [badTokens].
func (is issuers) tokens(t *testing.T) *strings.Replacer {
	t.Helper()
	now := time.Now().Unix()
	claims := func(change oidctest.Claims) oidctest.Claims {
		all := oidctest.Claims{
			"iss": "https://idp.example", "aud": "api", "sub": "eric", "groups": []string{"foo"},
			"iat": now - 10, "exp": now + 3600,
		}
		for name, value := range change {
			all[name] = value
			if value == nil {
				delete(all, name)
			}
		}
		return all
	}
	good := func(change oidctest.Claims) string { return is.idp.Sign(t, nil, claims(change)) }
	deep := json.RawMessage(strings.Repeat("[", 2000) + strings.Repeat("]", 2000))
	_, payload, _ := strings.Cut(good(nil), ".")
	payload, _, _ = strings.Cut(payload, ".")
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + payload + "."
	return strings.NewReplacer(
		"$FOO", good(nil),
		"$BAR", good(oidctest.Claims{"sub": "bob", "groups": []string{"bar"}}),
		"$ODD", good(oidctest.Claims{"sub": "mallory", "groups": []string{
			"*", "", ".", "..", "foo/../bar", "**", "{team}", "foo bar", "system:authenticated",
		}}),
		"$FORGED", oidctest.NewKey(t, "ES256").Sign(t, map[string]any{"kid": is.idp.ID}, claims(nil)),
		"$UNSIGNED", unsigned,
		"$CONFUSED", is.other.Sign(t, nil, claims(nil)),
		"$NOBODY", good(oidctest.Claims{"iss": nil}),
		"$NEGATIVE", good(oidctest.Claims{"exp": -1}),
		"$TEXT", good(oidctest.Claims{"exp": "9999999999"}),
		"$HUGE", good(oidctest.Claims{"exp": json.RawMessage("1e400")}),
		"$ETERNAL", good(oidctest.Claims{"exp": nil}),
		"$DEEP", good(oidctest.Claims{"deep": deep}),
		"$DOT", good(oidctest.Claims{"groups": []string{"f.o", "fo."}}),
		"$SLASH", good(oidctest.Claims{"sub": "other/root", "groups": []string{}}),
	)
}
