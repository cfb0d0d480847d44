// Package issuers tests the Issuer documents of envoy/issuers with tokens as
// their providers issue them: the good ones, and those of each trap that a
// document warns of.
package issuers
