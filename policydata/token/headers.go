package token

import (
	"strings"

	"github.com/tidwall/gjson"

	"sallyport/policydata"
)

// MaxHeaderBytes is how long the value of a claim's header may be.
const MaxHeaderBytes = 8 << 10

// AppendHeaders appends the headers that an issuer's ClaimHeaders make of the
// claims in a payload that [ValidateJSON] accepts.
//
// A string is its text, a number or bool its JSON text, and an array of these
// its elements with commas between. In a text every byte but visible ASCII, and
// "%" and ",", is percent-encoded, so that no two claims give the same value by
// accident and none ends the header. There is no header for a claim that is
// absent, null, empty, an object, an array of anything else, or too long.
//
// Envoy's claim_to_headers copies strings as they are and sends arrays and
// objects as base64 of their JSON; an object here has a claim path to what is
// wanted of it.
func AppendHeaders(out [][2]string, issuer *policydata.Issuer, payload string) [][2]string {
	if len(issuer.ClaimHeaders) == 0 {
		return out
	}
	object := gjson.Parse(payload)
	for _, h := range issuer.ClaimHeaders {
		claim, ok := lookup(object, h.Claim)
		if !ok {
			continue
		}
		if value := headerValue(claim); value != "" && len(value) <= MaxHeaderBytes {
			out = append(out, [2]string{h.Header, value})
		}
	}
	return out
}

// headerValue returns "" for what can't be a header.
func headerValue(claim gjson.Result) string {
	if !claim.IsArray() {
		text, _ := scalarText(claim)
		return text
	}
	var parts []string
	whole := true
	claim.ForEach(func(_, entry gjson.Result) bool {
		text, ok := scalarText(entry)
		parts = append(parts, text)
		whole = ok
		return ok
	})
	if !whole {
		return ""
	}
	return strings.Join(parts, ",")
}

func scalarText(value gjson.Result) (text string, ok bool) {
	switch value.Type {
	case gjson.String:
		return escapeHeader(value.Str), true
	case gjson.Number, gjson.True, gjson.False:
		return value.Raw, true
	}
	return "", false
}

func escapeHeader(s string) string {
	plain := func(c byte) bool { return c > 0x20 && c < 0x7F && c != '%' && c != ',' }
	i := 0
	for i < len(s) && plain(s[i]) {
		i++
	}
	if i == len(s) {
		return s // as nearly all are
	}
	const hex = "0123456789ABCDEF"
	out := append(make([]byte, 0, len(s)+16), s[:i]...)
	for ; i < len(s); i++ {
		if c := s[i]; plain(c) {
			out = append(out, c)
		} else {
			out = append(out, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(out)
}
