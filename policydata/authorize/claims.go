package authorize

import (
	"github.com/tidwall/gjson"

	"sallyport/policydata"
	"sallyport/policydata/token"
)

// issuerOf returns the issuer that claims, which are valid JSON, name by "iss".
// Without "iss" it is the only issuer, if there is one alone.
func (e *Engine) issuerOf(claims string) *policydata.Issuer {
	issuers := e.snapshot.Issuers()
	var iss gjson.Result
	gjson.Parse(claims).ForEach(func(name, value gjson.Result) bool {
		if name.Str == "iss" {
			iss = value
		}
		return !iss.Exists()
	})
	if !iss.Exists() {
		if len(issuers) == 1 {
			return &issuers[0]
		}
		return nil
	}
	for i := range issuers {
		if iss.Type == gjson.String && issuers[i].Issuer == iss.Str {
			return &issuers[i]
		}
	}
	return nil
}

// ClaimHeaders returns the headers that some issuer's claims set. No client may
// send one.
func (e *Engine) ClaimHeaders() policydata.HeaderNames { return e.snapshot.ClaimHeaders() }

// AppendClaimHeaders appends the headers that the token of the last allowed
// decision gives the upstream: see token.AppendHeaders.
func (e *Engine) AppendClaimHeaders(out [][2]string) [][2]string {
	if !e.snapshot.HasClaimHeaders() || e.identity.Claims == "" {
		return out
	}
	issuer := issuerNamed(e.snapshot.Issuers(), e.identity.Issuer)
	if issuer == nil {
		return out
	}
	return token.AppendHeaders(out, issuer, e.identity.Claims)
}
