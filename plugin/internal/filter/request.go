package filter

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"sallyport/policydata"
	"sallyport/policydata/authorize"
)

// actionHold holds a request back with its body and its trailers. It is Envoy's
// StopAllIterationAndWatermark, which the SDK has no name for. By ActionPause Envoy
// means the same, unless the operator has set allow_on_headers_stop_iteration: then
// the arrival of the body would let the request go on.
const actionHold types.Action = 4

type httpContext struct {
	types.DefaultHttpContext

	id       uint32
	plugin   *pluginContext
	enforcer *enforcer
	wait     *wait // nil: it does not wait for a key

	// Of a request that was let go on, for its trailers.
	passed       bool
	claimHeaders policydata.HeaderNames // as they were when it was decided
}

// OnHttpRequestHeaders decides. Nothing of the request, its body included, goes
// on before the decision.
func (c *httpContext) OnHttpRequestHeaders(int, bool) types.Action {
	d := guard(c.decide)
	if d.Reason == policydata.ReasonBadToken && c.await() {
		return actionHold
	}
	return c.settle(d)
}

// OnHttpStreamDone forgets a request that waits: its client has gone.
func (c *httpContext) OnHttpStreamDone() {
	if c.wait != nil {
		c.plugin.room.leave(c)
		c.enforcer.metrics.waited(waitGone)
	}
}

// settle lets a request go on or answers it, once; only what was reported goes
// on. It is the only place that lets a request go on: one that has waited by a
// call, another by the return value.
func (c *httpContext) settle(d policydata.Decision) types.Action {
	waited := c.wait != nil
	c.plugin.room.leave(c)
	reason := guard(func() policydata.Decision { return c.report(d) }).Reason
	if reason == policydata.ReasonAllowed {
		c.passed = true // before, since trailers may follow at once
		if !waited || resume() {
			c.settled(reason)
			return types.ActionContinue
		}
		c.passed = false
		reason = policydata.ReasonInternalError
	}
	c.settled(reason)
	respond(&answers[reason])
	return actionHold
}

// settled counts the decision. The request lets go of the snapshot that decided
// it: it may last for days.
func (c *httpContext) settled(reason policydata.Reason) {
	c.plugin.reporter.counted(reason)
	c.enforcer = &nothing
}

// nothing denies everything.
var nothing enforcer

// guard runs f; a panic in it is an internal error of one request, where it
// would otherwise take the VM and all that run in it down.
func guard(f func() policydata.Decision) (d policydata.Decision) {
	defer func() {
		if r := recover(); r != nil {
			proxywasm.LogCritical("sallyport: internal error while deciding")
			d = policydata.Decision{}
		}
	}()
	return f()
}

// decide decides, and prepares what goes to the upstream if that is allowed.
func (c *httpContext) decide() policydata.Decision {
	headers, err := requestHeaders()
	seconds, ok := now()
	if err != nil || !ok || c.enforcer.engine == nil {
		return policydata.Decision{}
	}
	d := c.enforcer.engine.Authorize(newRequest(headers), seconds)
	if !d.Allowed() {
		return d
	}
	if err := c.prepare(headers, &d); err != nil {
		return policydata.Decision{Epoch: d.Epoch, Generation: d.Generation}
	}
	return d
}

// report hands the decision to the operator: to access logs and to the counters.
func (c *httpContext) report(d policydata.Decision) policydata.Decision {
	c.enforcer.state = d.AppendJSON(c.enforcer.state[:0])
	if err := setFilterState(c.enforcer.state); err != nil {
		d = policydata.Decision{}
	}
	c.enforcer.metrics.decided(d.Reason)
	return d
}

// newRequest reads the pseudo-headers. Where one is there twice, the request is
// malformed (RFC 9113 section 8.3) and its path becomes one that is refused.
func newRequest(headers [][2]string) *authorize.Request {
	r := &authorize.Request{Headers: headers}
	seen := [3]bool{}
	set := func(i int, into *string, value string) {
		if seen[i] {
			r.Target = ""
			seen[0] = true
			return
		}
		seen[i] = true
		*into = value
	}
	for i := range headers {
		switch headers[i][0] {
		case ":path":
			set(0, &r.Target, headers[i][1])
		case ":method":
			set(1, &r.Method, headers[i][1])
		case ":authority":
			set(2, &r.Authority, headers[i][1])
		}
	}
	return r
}
