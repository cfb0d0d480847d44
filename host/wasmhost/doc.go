// Package wasmhost runs proxy-wasm filters (ABI 0.2.0 and 0.2.1) in wazero, so
// that the module which Envoy loads can decide without Envoy: behind a local
// reverse proxy, on the command line, and in tests.
//
// A [Runtime] holds what all VMs of one process share: the compiler with its
// cache, shared data, queues and metrics, and the clusters that filters may
// call. [Runtime.Compile] makes a [Module], the slow step; [Module.NewInstance]
// makes an [Instance], one VM with a plugin configuration, which one callback
// enters at a time, as on an Envoy worker. A [Pool] spreads concurrent requests
// over instances, replaces those that trapped, and gives new configurations to
// all of them by way of a canary. A [ReverseProxy] puts a Pool in front of an
// upstream.
//
// # Waiting
//
// A filter may pause a request and resume or answer it in a later callback: the
// answer to an HTTP call, a tick, a new configuration. Meanwhile its instance
// serves other requests. Ticks come to idle instances, too. A new configuration
// is a new root context in the same VM, at once in every instance; the old one
// ends when its last request has ended and, where it asks for that, by
// proxy_done. HTTP calls belong to the root context, so that their answers come
// also where the request is gone, as in Envoy. When the client of a paused
// request goes away, the request ends in the filter as any other: proxy_on_done,
// proxy_on_log, proxy_on_delete. A VM that traps refuses all that is paused in it.
//
// # Fidelity
//
// Hostcalls answer with the statuses of Envoy's host, also where these look
// odd: a repeated header's single value is its first, while the pairs list
// each, unless Envoy joins that header's lines as it reads them (see
// joinedHeaders); the request's header map is gone after its callback has
// continued, until the log callback; set_envoy_filter_state takes no key that
// Envoy has no factory for; an HTTP call that finds no connection or takes too
// long is answered with 503 or 504, one that was cut has no headers at all.
// What a filter can't do here: gRPC (Unimplemented), resume a request that it
// paused at its trailers, see a response's trailers, or be told of a queue's item. A VM that traps is dead: the call returns [ErrTrap], and the
// request must be refused.
//
// # Failing closed
//
// The zero [Verdict] is not [VerdictContinue]. A request may go on only where
// an error is nil and the verdict is VerdictContinue.
package wasmhost
