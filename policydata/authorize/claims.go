package authorize

import (
	"github.com/tidwall/gjson"

	"sallyport/policydata"
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
