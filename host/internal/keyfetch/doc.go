// Package keyfetch fetches the key sets of issuers: from a URL, or by discovery
// (OpenID Connect Discovery 1.0 section 4, RFC 8414 section 3).
//
// # Where it goes
//
// What is fetched is decided by documents that operators apply, and by what
// issuers answer. So that neither becomes a way into the host's own network:
//
//   - https only, unless Policy.AllowHTTP; a redirection never leads from https
//     to http, even then.
//   - Addresses are checked when a connection is made, after names were
//     resolved, so a name that resolves to something else the second time gains
//     nothing. Loopback and private networks are refused unless
//     Policy.AllowPrivate; link-local addresses, the metadata services of clouds
//     and what is no address of a host are refused always.
//   - At most three redirections, each under the same rules.
//   - No proxy: its address would be the one that is checked.
//
// A request carries no cookies and no credentials. It ends after 10 seconds, and
// 256 KiB of answer, after decompression.
//
// # Caching
//
// An answer says how long it is good for (RFC 9111), within 1 minute and 24
// hours. ETag and Last-Modified are sent back, so that a set that did not change
// is not sent again. One thing differs from a cache: an old set is never
// forgotten because a new one can't be had ("must-revalidate" is for copies that
// may not outlive their origin; an issuer that is down has not withdrawn its
// keys). That is for the caller to decide, who gets an error and keeps what it
// has.
package keyfetch
