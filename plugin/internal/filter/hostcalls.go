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

// post sends JSON to a cluster. done gets the status of the answer and the first
// bytes of its body; the status is "" where there was no answer.
func post(cluster, authority, path string, body []byte, timeout uint32, done func(status string, body []byte)) error {
	headers := [][2]string{
		{":method", "POST"},
		{":path", path},
		{":authority", authority},
		{"content-type", "application/json"},
	}
	_, err := proxywasm.DispatchHttpCall(cluster, headers, body, nil, timeout, func(_, size, _ int) {
		status, answer := "", []byte(nil)
		if all, err := proxywasm.GetHttpCallResponseHeaders(); err == nil {
			for _, h := range all {
				if h[0] == ":status" {
					status = h[1]
				}
			}
		}
		if size > 0 {
			if b, err := proxywasm.GetHttpCallResponseBody(0, min(size, maxAnswerBytes)); err == nil {
				answer = b
			}
		}
		done(status, answer)
	})
	return err
}

// setFilterState hands the decision to access logs and other filters, as
// %FILTER_STATE(wasm.sallyport:PLAIN)%: Envoy keeps properties that a filter
// sets in the filter state, below "wasm.". Its foreign function
// set_envoy_filter_state takes only names that Envoy has a factory for.
func setFilterState(value []byte) error {
	return proxywasm.SetProperty(filterStatePath, value)
}
