// Package lint finds what is allowed in documents and hardly meant.
//
// It says only what is surely so of the documents that it sees. A group that no
// document fills may come from tokens, and a rule that another policy overrides
// may be for somebody who does not have that; neither is a finding.
package lint
