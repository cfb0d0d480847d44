// Package directory keeps users, groups, policies, roles, services, issuers and
// credentials in a store.Store.
//
// # Keys
//
//	auth/users/<Username>                          auth/groups/<DisplayName>
//	auth/users/<Username>/policies/<Policy>        auth/groups/<g>/users/<u>
//	auth/users/<Username>/credentials/<AccessKey>  auth/groups/<g>/policies/<p>
//	auth/policies/<DisplayName>                    auth/roles/<Name>
//	auth/services/<ServiceID>                      auth/roles/<r>/policies/<p>
//	auth/issuers/<Name>                            auth/roles/<r>/users/<u>
//	auth/issuers/<Name>/keys                       auth/roles/<r>/groups/<g>
//	auth/issuers/<i>/revoked/<SHA-256 of a jti>    auth/services/<s>/credentials/<AccessKey>
//	auth/audit/<number of the record>              auth/proxytokens/<id>
//	meta/audit-content/<number>/before, /after     meta/format  meta/generation
//
// # Re-created names
//
// An entity has a random id besides its name. A relation's value holds the ids
// of both ends, a credential's the id of its user or service, a revoked token's
// the id of its issuer, fetched keys that id and where they were fetched from,
// and each counts only where these are the ids of what now has the names. So an
// entity that is deleted and created again gets nothing back, whatever a lost
// race or a restored file left behind. What does not count is skipped when
// reading and removed by the next write, or by Collect.
//
// Within a commit what is new is put after what it refers to; of what is deleted
// all indexes go first, then the entities, and then whatever is found below them.
// So even a store that broke off a commit could be read, and gave nothing away.
//
// # Audit
//
// Each commit writes a Record for each thing that it changed, in its own
// transaction. Their numbers have no gaps. The context says whose the write is
// (see As); without an actor it is the host's. The records say all that is
// needed to undo what became of documents, which is how Rollback finds what they
// were; what is too large for a record is kept below a key of its own.
//
// # Generation
//
// Each commit raises the generation, by one, in its own transaction. All writes
// read it and write it, so on a store with optimistic transactions it is the one
// key that makes them serializable. Its value has a random id of the commit, so
// that what is read at one value can be kept in memory for as long as that is
// the value.
package directory
