package token

import "sallyport/policydata"

// MaxKeyIDBytes is how long the "kid" of a key may be that [Verifier.MissingKey]
// reports. Real ones have up to 64.
const MaxKeyIDBytes = 128

// MissingKey says which key a token lacks that [Verifier.Verify] refuses as
// bad_token: its issuer's keys are fetched, and none has the token's "kid". It is
// not ok where the token would be refused with that key, too, as far as that can
// be said without one. Nothing of the token is verified: iss is a trusted
// issuer's, but kid may be anything.
func (v *Verifier) MissingKey(raw string, now int64) (iss, kid string, ok bool) {
	t, reason := v.parse(raw)
	if reason != policydata.ReasonAllowed || !t.issuer.FetchedKeys {
		return "", "", false
	}
	h := &t.header
	if h.refused || !h.fitsJWT() || h.kid == "" || len(h.kid) > MaxKeyIDBytes {
		return "", "", false
	}
	if t.issuer.algorithm(h.alg) == nil || t.issuer.hasKey(h.kid) {
		return "", "", false
	}
	if _, reason := t.identity(now); reason != policydata.ReasonAllowed {
		return "", "", false
	}
	return t.issuer.Issuer.Issuer, h.kid, true
}

func (r *keyring) hasKey(id string) bool {
	for i := range r.keys {
		if r.keys[i].id == id {
			return true
		}
	}
	return false
}
