// Package jwks reads and writes JSON Web Key Sets (RFC 7517): the form in which
// issuers publish their keys, and in which the host publishes its own.
//
// Parse reads a set that an operator wrote, strictly. What can't be a
// verification key is left out, since real sets hold such keys: other use ("use":
// "enc", "key_ops" without "verify"), an unknown "kty", curve or "alg" (RFC 7517
// section 5). What should never be published, or is broken, refuses the set:
// symmetric and private keys, names that stand twice, two keys with one "kid",
// wrong lengths, points off their curve, weak keys, an "alg" that contradicts the
// key. Select reads what an issuer publishes, and skips more of it.
package jwks
