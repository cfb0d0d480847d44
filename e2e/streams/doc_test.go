// Package streams tests in the real Envoy what is more than a request and an
// answer: bodies, trailers, upgrades, CONNECT and gRPC. The filter decides at the
// head; these tests show that nothing of what is denied, or not decided yet,
// reaches the upstream.
package streams
