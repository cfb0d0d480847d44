// Package issuerkeys keeps the fetched keys of issuers in force: it fetches what
// issuers publish, again and again, and commits what differs from what is
// committed.
//
// Each Issuer document with fetched keys has a loop of its own, so that one
// broken issuer delays no other. A set that can't be fetched, or is refused,
// changes nothing: the keys that are committed stay in force, and the status says
// what is wrong. A key that an issuer no longer lists stays for the document's
// keepRemoved, since tokens that it signed are still around. What is compiled is
// thus a function of what is committed, on every host of a store.
//
// A proxy that meets a token with an unknown "kid" asks for it (Find). All who
// ask at once share one fetch, and fetches for the sake of unknown kids are
// limited, by issuer and in all: whoever sends tokens chooses their "kid". A
// flood of these delays nobody for long, since each fetch brings all keys.
package issuerkeys
