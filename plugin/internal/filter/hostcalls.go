package filter

import (
	"errors"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"sallyport/policydata/pluginconfig"
)

// All calls to the proxy stand in this file, but for logging, metrics and the
// clock.

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
// paused, which is closed as well: Envoy holds its body back, too, unless
// allow_on_headers_stop_iteration is set, which this filter must not have.
func respond(a *answer) {
	if err := proxywasm.SendHttpResponse(a.status, a.headers, a.body, -1); err != nil {
		proxywasm.LogError("sallyport: the proxy did not take the response")
	}
}

// setFilterState hands the decision to access logs and other filters, as
// %FILTER_STATE(wasm.sallyport:PLAIN)%: Envoy keeps properties that a filter
// sets in the filter state, below "wasm.". Its foreign function
// set_envoy_filter_state takes only names that Envoy has a factory for.
func setFilterState(value []byte) error {
	return proxywasm.SetProperty(filterStatePath, value)
}

// notThere reports whether the proxy answers that it has no such function.
func notThere(err error) bool {
	return errors.Is(err, types.ErrorStatusNotFound) || errors.Is(err, types.ErrorUnimplemented)
}

// verifyNatively asks the proxy to verify a signature by a hash function such as
// "sha256". It is not known where the proxy can't.
func verifyNatively(hash string, spki, signed, sig []byte) (ok, known bool) {
	result, err := proxywasm.CallForeignFunction("verify_signature", verifyArguments(hash, spki, signed, sig))
	if notThere(err) {
		return false, false
	}
	return err == nil && verifyResult(result), true
}
