// Package logins limits failed logins.
//
// What is limited are failures, by the access key that was named and by where
// they come from. Who proves to be who they say is let in at all times: anybody
// may know an access key's id, and if failures of others counted against its
// holder, knowing the id would be enough to lock them out, and so would sharing
// an address with somebody. That takes nothing away: a secret is 32 random bytes
// that the host made, which no number of tries finds, and comparing one costs a
// SHA-256, less than reading the request. The limit is for the rest: it tells a
// misconfigured client to slow down, and makes guessing show in the metrics.
//
// Memory is bounded: of names and addresses only hashes are kept, and of these
// the ones that failed last.
package logins
