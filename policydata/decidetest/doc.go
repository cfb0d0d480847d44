// Package decidetest is there to disagree with the engine, in tests. It decides
// a second time, slowly and from the specification alone, sharing nothing with
// package policydata but the types of what goes in and comes out, and it makes
// random policy sets and requests for both.
//
// [Decide] is for what [policydata.Evaluator] does, [Authorize] for the whole of
// a decision, from the request as a proxy sees it and the claims of its token.
package decidetest
