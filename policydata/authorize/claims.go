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

// claimHeaderNames returns the names of the claim headers of all issuers; nil if
// there are none.
func claimHeaderNames(issuers []policydata.Issuer) map[string]bool {
	var names map[string]bool
	for i := range issuers {
		for _, h := range issuers[i].ClaimHeaders {
			if names == nil {
				names = map[string]bool{}
			}
			names[h.Header] = true
		}
	}
	return names
}

// IsClaimHeader reports whether a header is one that some issuer's claims set,
// whatever issuer's token the request has, if any. No client may send one. A
// server might take several spellings for it, see policydata.FoldHeader.
func (e *Engine) IsClaimHeader(name string) bool {
	return len(e.claimHeaders) > 0 && e.claimHeaders[policydata.FoldHeader(name)]
}

// AppendClaimHeaders appends the headers that the token of the last allowed
// decision gives the upstream: see token.AppendHeaders.
func (e *Engine) AppendClaimHeaders(out [][2]string) [][2]string {
	if len(e.claimHeaders) == 0 || e.claims == "" {
		return out
	}
	issuer := issuerNamed(e.snapshot.Issuers(), e.identity.Issuer)
	if issuer == nil {
		return out
	}
	return token.AppendHeaders(out, issuer, e.claims)
}
