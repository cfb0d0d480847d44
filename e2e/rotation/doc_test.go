// Package rotation tests the keys of issuers at work: the host fetches them from
// providers that rotate them and that fail, and the real Envoy is asked under
// load.
package rotation
