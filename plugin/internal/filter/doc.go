// Package filter is the proxy-wasm filter: it takes the snapshot from the plugin
// configuration, decides each request by package authorize, and answers.
//
// It fails closed. One place lets a request go on ([httpContext.OnHttpRequestHeaders]);
// a hostcall that fails, a panic, a configuration that is not there all end in a
// denial. A configuration that is wrong is refused as a whole, which makes Envoy
// keep the one before.
//
// A request that goes on makes three hostcalls and asks for the time: the header
// map in one piece, the filter state, one counter. Only the first returns data,
// for which the proxy re-enters the module to allocate; each such call costs more
// than the decision.
//
// State is kept by plugin context, since several plugins may share one VM; what
// outlives a configuration (the last good snapshot) is kept by the plugin's name,
// and only while the key that signed it is trusted.
//
// The built module exports only the callbacks that are implemented here: package
// trim lists them.
package filter
