package authorize

import "sallyport/policydata"

// Watch makes the Engine tell in t how its gates decide; nil ends it. A decision
// that no gate made leaves t as it was.
func (e *Engine) Watch(t *policydata.Trace) {
	e.evaluator.Watch(t)
	if t != nil { // what is asked for later is of decisions from here on
		e.request, e.identity = policydata.Request{}, policydata.Identity{}
	}
}

// Changes returns single changes by which the request of the last decision,
// which t tells of, would be allowed.
func (e *Engine) Changes(t *policydata.Trace) []policydata.Change {
	return t.Changes(e.snapshot, &e.request, &e.identity)
}

// Request returns the request of the last decision as the rules were asked
// about it.
func (e *Engine) Request() policydata.Request { return e.request }
