package token

import (
	"encoding/base64"
	"strings"

	"github.com/tidwall/gjson"
)

// MaxTokenBytes is how long a token may be. Proxies allow about 60 KiB of
// headers in all; tokens of real issuers rarely pass 8 KiB.
const MaxTokenBytes = 16 << 10

// strictBase64 refuses padding and bits that decode to nothing, so that a
// value has exactly one encoding. It would skip line breaks: see decode.
var strictBase64 = base64.RawURLEncoding.Strict()

// compact is a JWS in compact serialization (RFC 7515 section 7.1), decoded
// but not verified.
type compact struct {
	header       header
	payload      string
	signingInput string
	signature    []byte
}

// parseCompact makes the structural checks: size, parts, encoding, header.
// It leaves the payload's form to the caller.
func parseCompact(raw string) (t compact, ok bool) {
	if len(raw) > MaxTokenBytes {
		return compact{}, false
	}
	encodedHeader, rest, _ := strings.Cut(raw, ".")
	encodedPayload, encodedSignature, found := strings.Cut(rest, ".")
	if !found {
		return compact{}, false
	}
	// Base64url has no ".", so a fourth part fails in decode.
	headerText, ok := decode(encodedHeader)
	if !ok {
		return compact{}, false
	}
	headerObject, ok := parseObject(string(headerText))
	if !ok {
		return compact{}, false
	}
	payload, ok := decode(encodedPayload)
	if !ok {
		return compact{}, false
	}
	signature, ok := decode(encodedSignature)
	if !ok {
		return compact{}, false
	}
	return compact{
		header:       readHeader(headerObject),
		payload:      string(payload),
		signingInput: raw[:len(raw)-len(encodedSignature)-1],
		signature:    signature,
	}, true
}

// decode decodes base64url as RFC 7515 section 2 defines it: no padding, no
// line breaks, no white space, nothing in the unused bits.
func decode(text string) ([]byte, bool) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, false
	}
	b, err := strictBase64.DecodeString(text)
	return b, err == nil
}

// header is what counts of a JOSE header (RFC 7515 section 4). Key parameters
// (jwk, jku, x5u, x5c, x5t) are not read: a token does not choose its key.
type header struct {
	alg    string
	kid    string
	hasKid bool
	typ    string
	hasTyp bool
	// refused: a parameter that changes how the token is to be read, or one of
	// a wrong type.
	refused bool
}

func readHeader(object gjson.Result) (h header) {
	object.ForEach(func(name, value gjson.Result) bool {
		switch name.Str {
		case "alg":
			h.alg = value.Str
			h.refused = h.refused || value.Type != gjson.String
		case "kid":
			h.kid, h.hasKid = value.Str, true
			h.refused = h.refused || value.Type != gjson.String
		case "typ":
			h.typ, h.hasTyp = value.Str, true
			h.refused = h.refused || value.Type != gjson.String
		case "crit", "b64", "zip":
			h.refused = true
		}
		return !h.refused
	})
	return h
}

// fitsJWT reports whether the type says JWT or access token, or nothing.
func (h *header) fitsJWT() bool {
	if !h.hasTyp {
		return true
	}
	const prefix = "application/"
	typ := h.typ
	if len(typ) > len(prefix) && strings.EqualFold(typ[:len(prefix)], prefix) {
		typ = typ[len(prefix):]
	}
	return strings.EqualFold(typ, "JWT") || strings.EqualFold(typ, "at+jwt")
}
