// Package explain says why a request was decided as it was: what the token
// said, who that is here, which policies counted through what, what kept each
// rule from matching, and what would have to change.
//
// It decides nothing. The engine is watched while it decides
// (policydata.Trace), and what would change a denial was decided by it, too.
package explain
