// Package verify compares, in the real Envoy, the two ways in which the filter
// verifies signatures: by the proxy's own function and by Go in the module. On
// every vector they must say the same. Its benchmarks measure what either costs
// in V8, what garbage costs, and what loading a snapshot does.
package verify
