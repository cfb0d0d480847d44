// Package filter is the proxy-wasm filter: it takes the snapshot from the plugin
// configuration, decides each request by package authorize, and answers.
//
// It fails closed. One place lets a request go on (settle);
// a hostcall that fails, a panic, a configuration that is not there all end in a
// denial. A configuration that is wrong is refused as a whole, which makes Envoy
// keep the one before.
//
// A request that goes on makes three hostcalls and asks for the time: the header
// map in one piece, the filter state, one counter. Only the first returns data,
// for which the proxy re-enters the module to allocate; each such call costs more
// than the decision.
//
// A request whose token lacks nothing but a key, which the host may have by now,
// waits for the snapshot that has it: see keys.go. The proxy holds its body back
// meanwhile. It is decided once more, by what is in force then, and by the same
// steps as any other.
//
// Snapshots come with the configuration or, where it says so, from the host by
// long poll (feed.go): one of a proxy's workers asks and shares what it gets with
// the others, each of which verifies it again. Each worker tells the host what it
// enforces (report.go). Package pushapi describes both.
//
// State is kept by plugin context, since several plugins may share one VM; what
// outlives a configuration (the last good snapshot) is kept by the plugin's name,
// and only while the key that signed it is trusted.
//
// The built module exports only the callbacks that are implemented here: package
// trim lists them.
package filter
