package filter

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"sallyport/policydata"
)

// OnHttpRequestTrailers takes from the trailers of a request that was let go on
// what is taken from headers: a server may merge trailers into these (RFC 9110
// section 6.5.1). Trailers can't change the decision. The proxy calls this only
// where there are some, and sends them on to an HTTP/2 upstream alone.
//
// Where that fails, the request ends. The answer goes to the client if none has
// gone before; the upstream, which has the head and the body already, sees its
// stream reset in the place of the trailers, and so a request that is not whole.
func (c *httpContext) OnHttpRequestTrailers(count int) types.Action {
	clean := c.passed
	if clean && count > 0 {
		clean = false // also where what follows panics
		protect(func() { clean = c.cleanTrailers() == nil })
	}
	if clean {
		return types.ActionContinue
	}
	proxywasm.LogError("sallyport: the trailers of a request could not be cleaned: it ends")
	respond(&answers[policydata.ReasonInternalError])
	return types.ActionPause
}

func (c *httpContext) cleanTrailers() error {
	trailers, err := requestTrailers()
	if err != nil {
		return err
	}
	return c.removeForbidden(trailers, removeTrailer)
}
