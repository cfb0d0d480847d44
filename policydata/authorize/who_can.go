package authorize

import "sallyport/policydata"

// WhoCan lists who may make a request; a token that it has counts for nothing.
func (e *Engine) WhoCan(r *Request, now int64, page policydata.AccessPage) policydata.WhoCan {
	if d, ok := e.begin(r, now); !ok {
		return policydata.WhoCan{Refused: d.Reason.String(), Entries: []policydata.WhoEntry{}, Denials: []policydata.WhoRule{}}
	}
	return e.evaluator.WhoCan(e.snapshot, &e.request, page)
}
