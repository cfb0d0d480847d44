// Package envoytest runs real Envoys for tests: one process a test, on ports of
// its own, stopped when the test ends.
//
// A bootstrap names port 0 for its listeners and its admin interface; Envoy
// picks free ones, and [Envoy.Address] and [Envoy.Admin] say which. Access logs
// go to stdout as a line of JSON each, as in the bootstraps of
// host/internal/envoyconfig.
package envoytest
