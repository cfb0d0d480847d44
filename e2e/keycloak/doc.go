// Package keycloak tests the product with a real Keycloak: its tokens, its key
// set, and the rotation of its keys. It needs Java and `make keycloak`, which gets
// the server and builds these tests; the other tests use oidctest instead.
package keycloak
