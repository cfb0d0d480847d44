// Package authorize decides an HTTP request as a proxy sees it: it canonicalizes
// path and host, finds and verifies the token, maps its claims, and asks the
// policy snapshot. The filter, the command line and the host's API all decide
// by this package, so that they can't disagree.
//
// The steps, of which the first that refuses is the decision:
//
//  1. a snapshot is there (no_snapshot) and not beyond its age (stale_snapshot)
//  2. the path is canonical, the host a host, and the method a token (bad_path)
//  3. the token, if there is one, is good (see package token), and neither its
//     user's tokens up to a later time nor the token itself, by its issuer and
//     "jti", is revoked (revoked)
//  4. principal, Service Gate and User Gate (see policydata.Evaluator)
package authorize
