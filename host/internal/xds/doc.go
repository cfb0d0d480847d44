// Package xds pushes the filter's configuration to Envoy by ECDS, the
// extension configuration discovery service of xDS, state of the world over
// gRPC. There is one resource, [ResourceName], and every proxy gets the same.
//
// A proxy asks for it either from the service of its own
// (ExtensionConfigDiscoveryService) or over ADS. At most one response is on its
// way to a proxy: while it is being tried there, newer configurations replace
// each other, and the proxy's answer is followed by the newest one.
//
// # What an answer means
//
// An ACK says that Envoy's main thread took the configuration: it has run the
// filter's OnPluginStart in a trial VM. It does not say that the workers enforce
// it; they take it a moment later. A NACK says that the trial failed; the proxy
// keeps what it had. A refused configuration is not sent again on that stream,
// only a different one is: the ready-made snapshot cache of go-control-plane
// would answer each NACK at once with the same resource, for ever. That, and
// 7 MB of binary for resource types that we never serve, is why this package
// uses the generated API alone.
//
// A new stream always gets the current configuration, whatever version the proxy
// says it has: versions name a generation of the store, and the code or the
// settings of the filter may have changed under the same generation. Envoy
// compares the contents and skips a configuration that it already runs.
//
// # Trust
//
// This package authenticates nobody. Who serves it on more than loopback passes
// transport credentials and an interceptor to [Server.Serve], and says by
// Options.Proxy who it is. A stream whose proof is for one node alone is ended
// when it says that it is another.
package xds
