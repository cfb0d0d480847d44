// Package token verifies JSON Web Tokens (RFC 7519) against the issuers of a
// snapshot and maps their claims. Filter, CLI and host share it: what the CLI
// explains is what the proxy decides.
//
// [Verifier.Verify] makes its checks in one fixed order; the first that fails
// is the reason that is reported:
//
//  1. size and structure: at most [MaxTokenBytes], three parts of strict
//     base64url, header and payload JSON objects as [ValidateJSON] wants them:
//     bad_token
//  2. "iss", a string that equals a trusted issuer byte for byte:
//     unknown_issuer
//  3. the header: "alg" out of the issuer's list and fit for the key, "kid",
//     "typ", no "crit", "b64", "zip": bad_token
//  4. the signature: bad_signature
//  5. "exp", required: expired
//  6. "nbf" and "iat": not_yet_valid
//  7. "aud": bad_audience
//  8. the maximum lifetime, then the claims of [Map]: bad_token
//
// Whether the token was revoked is asked behind that, by package authorize.
//
// A claim of a wrong type is bad_token at the place of its check.
//
// Decisions that the RFCs leave open, each on the strict side unless real
// issuers need otherwise:
//
//   - Key parameters in the header ("jwk", "jku", "x5u", "x5c", "x5t") are never
//     read; real issuers send them, so their presence is no error.
//   - A "kid" that is present must equal a key's, also where only one key is
//     there. Without "kid" exactly one of the issuer's keys must fit "alg".
//   - "typ", if present, is JWT or at+jwt, with or without "application/", in
//     any case (RFC 8725 section 3.11): ID tokens, access tokens (RFC 9068);
//     no logout tokens, DPoP proofs or security events.
//   - Times are JSON numbers from 0 to the end of the year 9999, fractions
//     allowed (RFC 7519 section 2); what is in milliseconds is out of range.
//   - A token without "iat" has, at any time, the lifetime that it has left.
//
// Nothing here panics on any input, reads a clock or keeps state; time is a
// parameter, and a Verifier may be used by several goroutines at once.
package token
