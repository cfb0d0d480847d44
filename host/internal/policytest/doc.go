// Package policytest runs suites of tests against policies: principals times
// requests, with the decisions that are wanted; what is not listed must be
// denied. Suites are documents of kind PolicyTest (package manifest).
//
// A denial by mistake is no proof of a policy, so a request that is refused
// before any rule is asked, for its path or its token, fails unless its reason
// is expected.
package policytest
