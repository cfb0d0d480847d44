// Package filter is the proxy-wasm filter: it takes the snapshot from the plugin
// configuration, decides each request by package authorize, and answers.
//
// It fails closed. One place lets a request go on ([httpContext.OnHttpRequestHeaders]);
// a hostcall that fails, a panic, a configuration that is not there all end in a
// denial. A configuration that is wrong is refused as a whole, which makes Envoy
// keep the one before.
//
// Deciding makes two hostcalls that return data, at most: the header map in one
// piece, and, where a token or an age has to be checked, the time. Each such call
// re-enters the module to allocate and costs more than the decision.
//
// State is kept by plugin context, since several plugins may share one VM; what
// outlives a configuration (the last good snapshot) is kept by the plugin's name.
package filter
