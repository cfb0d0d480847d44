package filter

import (
	"errors"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"sallyport/policydata/pluginconfig"
)

// All calls to the proxy stand in this file, but for logging, metrics, the clock
// and the verification of signatures (package native).

// filterStatePath is the name of the decision in the filter state.
var filterStatePath = []string{pluginconfig.DecisionProperty}

func pluginConfiguration() ([]byte, error) {
	b, err := proxywasm.GetPluginConfiguration()
	if errors.Is(err, types.ErrorStatusNotFound) {
		return nil, nil // Envoy's answer for a configuration that is empty
	}
	return b, err
}

// pluginName tells apart plugins that share the VM. Without a name they are one.
func pluginName() string {
	name, err := proxywasm.GetProperty([]string{"plugin_name"})
	if err != nil {
		return ""
	}
	return string(name)
}

func requestHeaders() ([][2]string, error) { return proxywasm.GetHttpRequestHeaders() }

func removeHeader(name string) error { return proxywasm.RemoveHttpRequestHeader(name) }

func setHeader(name, value string) error { return proxywasm.ReplaceHttpRequestHeader(name, value) }

func requestTrailers() ([][2]string, error) { return proxywasm.GetHttpRequestTrailers() }

func removeTrailer(name string) error { return proxywasm.RemoveHttpRequestTrailer(name) }

// respond answers the request itself. If even that fails, the request stays
// held, which is closed as well.
func respond(a *answer) {
	if err := proxywasm.SendHttpResponse(a.status, a.headers, a.body, -1); err != nil {
		proxywasm.LogError("sallyport: the proxy did not take the response")
	}
}

// resume moves on a request that was paused. If that fails, it stays paused.
func resume() bool {
	if err := proxywasm.ResumeHttpRequest(); err != nil {
		proxywasm.LogError("sallyport: the proxy did not resume the request")
		return false
	}
	return true
}

// enter makes the calls that follow, until the proxy's call into the filter
// ends, those of another context. It fails where there is no such context.
func enter(context uint32) bool { return proxywasm.SetEffectiveContext(context) == nil }

// setTick makes the proxy call OnTick every so many milliseconds; 0: no more.
func setTick(milliseconds uint32) bool {
	return proxywasm.SetTickPeriodMilliSeconds(milliseconds) == nil
}

// response is the answer to a request of the filter's own. Its body can be read
// until the function that got it returns.
type response struct {
	status  string // "" where there was no answer
	headers [][2]string
	size    int // of the body
}

// header returns the first value of a header; "" if there is none.
func (r *response) header(name string) string {
	for _, h := range r.headers {
		if h[0] == name {
			return h[1]
		}
	}
	return ""
}

// body returns at most so many of the first bytes of the body.
func (r *response) body(limit int) []byte {
	if r.size == 0 {
		return nil
	}
	b, err := proxywasm.GetHttpCallResponseBody(0, min(r.size, limit))
	if err != nil {
		return nil
	}
	return b
}

// send sends a request to a cluster. A panic in done is nobody's.
func send(cluster string, headers [][2]string, body []byte, timeout uint32, done func(r *response)) error {
	_, err := proxywasm.DispatchHttpCall(cluster, headers, body, nil, timeout, func(_, size, _ int) {
		protect(func() {
			r := &response{size: size}
			if all, err := proxywasm.GetHttpCallResponseHeaders(); err == nil {
				r.headers = all
				r.status = r.header(":status")
			}
			done(r)
		})
	})
	return err
}

// For setSharedData, instead of the number of an entry that was read.
const (
	whatever uint32 = 0         // sets in any case
	absent   uint32 = 1<<32 - 1 // sets if there is no such entry; no entry has this number
)

// sharedData returns an entry that the VMs of a proxy share, and its number,
// which each change changes. An entry that is not there is empty and absent.
func sharedData(key string) (value []byte, number uint32, ok bool) {
	value, number, err := proxywasm.GetSharedData(key)
	if errors.Is(err, types.ErrorStatusNotFound) {
		return nil, absent, true
	}
	return value, number, err == nil
}

// setSharedData sets an entry if it has still this number.
func setSharedData(key string, value []byte, number uint32) bool {
	return proxywasm.SetSharedData(key, value, number) == nil
}

// nodeID returns what the proxy is called; "" if it has no name.
func nodeID() string {
	id, err := proxywasm.GetProperty([]string{"xds", "node", "id"})
	if err != nil {
		return ""
	}
	return string(id)
}

// setFilterState hands the decision to access logs and other filters, as
// %FILTER_STATE(wasm.sallyport:PLAIN)%: Envoy keeps properties that a filter
// sets in the filter state, below "wasm.". Its foreign function
// set_envoy_filter_state takes only names that Envoy has a factory for.
func setFilterState(value []byte) error {
	return proxywasm.SetProperty(filterStatePath, value)
}
