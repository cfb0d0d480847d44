// Package api is the host's HTTP interface: the REST API under /api/v1, and what
// probes, monitoring and proxies ask for.
//
// # Who may
//
// The API decides by the project's own engine: a request is allowed if the
// policies of whoever asks allow it on the host "system:api". Callers prove who
// they are by an access key (HTTP Basic, RFC 7617) of a user or a service, or by
// a token of a trusted issuer.
//
// A token says who its bearer is in words of its issuer, and the first user has a
// name that anybody may have there who can choose one. So the first user acts by
// access key alone; a token that names it is refused, unless it is of the
// development issuer where that is trusted. Who is to use the API by token gets
// a policy with "system:api" under another name, or a group that has one.
//
// Nobody grants what they don't hold (package grants), nor makes an access key
// of somebody else, nor lets a revoked token count again, unless their policies
// allow the method ESCALATE on /api/v1. That is the method of no request; methods
// ["*"] has it, and [GET, PUT] or "@write" has not. It is asked about that one
// path, so that all methods on /api/v1/users/** are not enough.
//
// A first start makes reserved policies for the API: admin allows everything,
// viewer to read, and editor to read and write without ESCALATE, so that an
// editor hands on what editors hold and no more.
//
// # Entities
//
// An entity is a document, as in files. "status" is what the host reports about
// it, and is not taken. GET answers one with its ETag, PUT creates or replaces it,
// POST creates only, DELETE deletes it with all that refers to it. If-Match and
// If-None-Match (RFC 9110 section 13.1) are evaluated in the write's transaction.
// A reserved entity is changed and deleted by ?force=true only.
//
// A write answers the generation that has it, and whether that is published; a
// change that is none has the last generation. Lists answer pages of names in
// the order of their bytes, after "after".
//
// A path must be canonical, since the engine decides by it. A name that no
// canonical path holds, such as "a;b", is written as "~" and its base64url; see
// PathName.
package api
