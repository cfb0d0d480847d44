package authorize

import "sallyport/policydata"

// Bearer is who asks: by claims, as in AuthorizeClaims, or by a token in its
// place among headers; without either it is a request without a token.
type Bearer struct {
	Claims  string
	Headers [][2]string
}

// Access returns what a bearer may do at a proxy, whatever the request, and who
// that is, without the gates.
func (e *Engine) Access(b Bearer, now int64, page policydata.AccessPage) (policydata.Access, policydata.Trace) {
	r := &Request{Method: "GET", Target: "/", Headers: b.Headers} // the principal is the same for each
	t := policydata.Trace{}
	e.Watch(&t)
	var d policydata.Decision
	if b.Claims != "" {
		d = e.AuthorizeClaims(r, b.Claims, now)
	} else {
		d = e.Authorize(r, now)
	}
	e.Watch(nil)
	if !t.Decided() {
		return policydata.Access{Refused: d.Reason.String(), Entries: []policydata.AccessEntry{}}, t
	}
	t.Gates = nil
	return e.evaluator.Access(e.snapshot, &e.identity, page), t
}
