package authorize

import "sallyport/policydata"

// Identity returns who the last decision was about, as the token or the caller
// said; the zero Identity without a token.
func (e *Engine) Identity() policydata.Identity { return e.identity }
