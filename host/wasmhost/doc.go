// Package wasmhost runs proxy-wasm filters (ABI 0.2.0 and 0.2.1) in wazero, so
// that the module which Envoy loads can decide without Envoy: behind a local
// reverse proxy, on the command line, and in tests.
//
// A [Runtime] holds what all VMs of one process share: the compiler with its
// cache, shared data, queues and metrics. [Runtime.Compile] makes a [Module],
// the slow step; [Module.NewInstance] makes an [Instance], one VM with a plugin
// configuration. An Instance serves one callback at a time, as an Envoy worker
// does. A [Pool] hands out instances to concurrent requests, replaces those
// that trapped, and takes new configurations by way of a canary. A
// [ReverseProxy] puts a Pool in front of an upstream.
//
// # Fidelity
//
// Hostcalls answer with the statuses of Envoy's host, also where these look
// odd: a repeated header's single value is its first, while the pairs list
// each, unless Envoy joins that header's lines as it reads them (see
// joinedHeaders); the request's header map is gone after its callback has
// continued, until the log callback; set_envoy_filter_state takes no key that
// Envoy has no factory for. What a filter can't do here: call other services
// (an HTTP call finds no cluster, gRPC is Unimplemented), see trailers, be told
// of a queue's item or be waited for in proxy_on_done. A VM that traps is dead:
// the call returns [ErrTrap], and the request must be refused.
//
// # Failing closed
//
// The zero [Verdict] is not [VerdictContinue]. A request may go on only where
// an error is nil and the verdict is VerdictContinue.
package wasmhost
