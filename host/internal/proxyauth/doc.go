// Package proxyauth says which proxy it is that asks.
//
// A proxy proves who it is by a token (Authorization: Bearer spx_..., RFC 6750)
// or by a client certificate. A token that is shown counts, whatever certificate
// is shown with it, and is never passed over: one that is wrong is refused, even
// where anybody may ask, so that a mistake is seen. Where no proof is needed, who
// shows none is anonymous.
//
// # Identities
//
//	proxy:<name>  a proxy's own token; it speaks only for the instance of that name
//	fleet:<name>  a token of a fleet, for any instance
//	cert:<name>   a certificate, for any instance; the name is its first URI or else
//	              DNS name (RFC 5280 section 4.2.1.6), or else its common name
//	""            anonymous, for any instance
//
// What a proxy reports stands under its identity, so that no proxy speaks over
// another of another identity. Tokens of one name are one identity: a new one
// takes the place of an old one without the proxy becoming another.
//
// # Ends
//
// A token that is revoked or expires, and a certificate that expires, ends what
// was begun by it within [CheckEvery].
package proxyauth
