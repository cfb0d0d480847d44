// Package recovery tests that a proxy and its host come together again, in the
// real Envoy: after the host was away for too long, was restored from a backup,
// or was killed again and again.
package recovery
