// Package devissuer is the development issuer: it signs tokens for any user and
// group, for trying things out and for tests. Its keys are a file in the data
// directory. Whoever can read that file can be anyone where the issuer is
// trusted, so nothing trusts it by default.
package devissuer
