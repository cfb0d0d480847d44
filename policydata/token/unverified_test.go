package token

import (
	"encoding/base64"
	"testing"
)

func TestUnverifiedPayloadIsThatOfAWellFormedToken(t *testing.T) {
	encode := base64.RawURLEncoding.EncodeToString
	token := func(header, payload string) string {
		return encode([]byte(header)) + "." + encode([]byte(payload)) + ".AA"
	}
	for name, tt := range map[string]struct {
		raw, want string
		ok        bool
	}{
		"a token, signed by nobody":   {token(`{"alg":"none"}`, `{"jti":"x"}`), `{"jti":"x"}`, true},
		"nothing":                     {"", "", false},
		"two parts":                   {"e30.e30", "", false},
		"padding":                     {token(`{}`, `{}`) + "==", "", false},
		"a name twice":                {token(`{}`, `{"jti":"x","\u006ati":"y"}`), "", false},
		"a payload that is no object": {token(`{}`, `["x"]`), "", false},
		"a header that is none":       {token(`x`, `{}`), "", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got, ok := UnverifiedPayload(tt.raw); got != tt.want || ok != tt.ok {
				t.Errorf("got %q, %v", got, ok)
			}
		})
	}
}
