// Package policydata is the decision engine and the format of policy snapshots.
// The filter in the proxy, the control service and the command line all decide
// by it.
//
// [Build] compiles a [Source] into a snapshot's body, [AppendSignature]
// completes it, [Load] checks all of it once, and [Evaluator.Decide] answers
// requests from it in place: no entry is copied or allocated. [CanonicalPath]
// and [CanonicalHost] bring a request into the form that rules are about.
//
// Nothing here reads a clock, does I/O, logs, keeps global state or starts a
// goroutine. A [Snapshot] is immutable and may be shared; an [Evaluator] serves
// one goroutine at a time.
//
// No secrets in clear ever enter a snapshot: it holds names, rules and public
// keys. Whoever reads one learns the policy and can forge nothing.
//
// # The decision
//
// The first step that refuses is the decision:
//
//  1. Path: the request target is canonical or refused, see [CanonicalPath].
//     (Package authorize; steps 1 and 2.)
//  2. Token: none, good or refused, see package token.
//  3. Principal: without a token nobody. Else an actor that is no service is
//     service_gate; a disabled service is service_disabled; then, unless the
//     token is the service's own, a disabled user is user_disabled, and one who
//     is not in the store, where the issuer requires that, is unknown_user.
//  4. Service Gate, where a service asks on behalf of a user: the policies of
//     the governing roles that its delegation gives for this user. Any denial
//     is service_gate, and the User Gate is not asked.
//  5. User Gate: the policies of the user, of its effective groups and roles,
//     and of the built-in group that applies. For a service's own token: those
//     of its one role. Without a token every denial here is no_token.
//
// At a gate every rule of these policies whose path, method, host and condition
// match counts. A matching deny wins over any allow (denied_by_rule); a deny
// rule whose condition errs denies (condition_error) unless another deny
// matches; an allow rule whose condition errs does not match; no match denies
// (no_matching_rule). Each path and host pattern of a rule is tried alone, with
// its own captures. The rule that is reported is, among those of the kind that
// decided, the smallest by policy name, then index; its captures are those of
// its first path, then host pattern that matches.
//
// The zero [Decision] denies, and so does a nil Snapshot.
//
// # Conditions
//
// A condition is an [Expr], and means what the CEL specification says of the
// expression that it was made of. Operands are checked as they are met: what does
// not fit its operator is an error, and so are a key that is not there and an
// index out of range. Errors spread through every operator but && and ||, which
// take an operand that decides alone even if the other errs, ?:, which leaves
// one branch alone, and exists and all, which are || and && over the elements.
// What is no bool in the end is an error.
//
// Evaluating is bounded by [MaxConditionSteps]; what needs more errs as a whole,
// whatever && and || would make of it. Nothing is evaluated twice but for the
// elements of macros.
//
// token.claims is read from the token's text, as it is asked for: numbers are
// doubles, as in every JSON value of CEL, and infinite beyond their range.
// request.query is decoded at its first use as application/x-www-form-urlencoded
// (URL standard), and an error as a whole where servers differ in what it means:
// bad escapes, no UTF-8, ";", more than 1,024 parameters. Of request.headers a
// name that stands several times has all its values, in their order, joined by
// "," (RFC 9110 section 5.2), cookies by "; " (RFC 9113 section 8.2.3). Pseudo
// headers, "host", "authorization", "proxy-authorization", the header of the
// token, and names that begin with "x-sallyport-" are not in it.
//
// # Snapshot format, version 1
//
// This is the normative specification. All integers are little-endian, u32 and
// u64 without sign, i64 in two's complement; times are seconds since the Unix
// epoch. "none" is the u32 0xFFFFFFFF. A range is two u32, the index of its
// first record and their number. A snapshot is
//
//	header          64 bytes
//	section table   29 entries of 16 bytes
//	sections        each begins at a multiple of 8; zeroes between
//	signature block
//
// The header:
//
//	 0  8 bytes  magic: the text "SALLYPRT"
//	 8  u32      version of the format: 1
//	12  u32      number of sections: 29
//	16  u64      feature bits: 0; see Compatibility
//	24  u64      epoch
//	32  u64      generation; snapshots are ordered by (epoch, generation)
//	40  i64      when the generation was committed
//	48  i64      when the snapshot becomes stale; 0: never
//	56  u32      length of header, table and sections: what is signed
//	60  u32      0
//
// An entry of the section table is four u32: the section's number, the size of
// its records, its offset from the snapshot's first byte, and its length in
// bytes. Entries stand in the order of their numbers; the first section begins
// behind the table, each other one at the next multiple of 8 behind the one
// before. Records of a section are numbered from 0. The sections, with the size
// of a record and what it holds, u32 each unless said otherwise:
//
//	 0  strings       8  range of text
//	 1  text          1  bytes
//	 2  seeds         4  of the hash tables: edges, users, groups, role claims
//	 3  policies     12  name, range of rules
//	 4  rules        48  name, policy, index in it, flags, method bits, range of methods,
//	                     range of hosts, range of expressions, condition's text or none
//	 5  nodes        20  wildcard child or none, range of terminals that end here,
//	                     range of terminals that end here with "**"
//	 6  edges        12  parent node or none, segment's text, child node: a hash table
//	 7  terminals    24  rule, index of the pattern in its paths, pattern's text,
//	                     range of captures, 0
//	 8  captures      8  name, number of the path segment from 0
//	 9  hosts        12  flags, range of labels
//	10  labels        8  kind (0 literal, 1 capture), text; from the right
//	11  methods       4  string: a method without a bit of its own
//	12  expressions  16  u8 operator, u8 number of arguments, u16 position, u32 operand, i64 value
//	13  users        40  name, flags, i64 time before which tokens are revoked or 0,
//	                     lists of policies, groups, roles
//	14  user index    4  hash table over users
//	15  groups       20  name, lists of policies, roles
//	16  group index   4  hash table over groups
//	17  roles        16  name, flags, list of policies
//	18  role claims  12  value, list of roles
//	19  claim index   4  hash table over role claims
//	20  services     20  name, flags, role, range of delegations
//	21  identities   16  issuer's name, client, subject or none, service
//	22  delegations  24  role, flags, lists of user names, group names
//	23  policy lists  4  policy
//	24  group lists   4  group
//	25  role lists    4  role
//	26  name lists    4  string
//	27  issuers       1  see below
//	28  revoked      16  issuer's name, token's id, i64 time when the token expires
//
// A name, value, text, client, subject or token's id is the number of a string; a
// list is a range of the section of lists of that kind, one of names of section 26.
// A string has at most 4096 bytes.
//
// Flags: of a rule, 1 allows (else it denies), 2 has no hosts; of a host, 1 one
// or more labels stand before the first, 2 the host's own API (alone, without
// labels); of a user or service, 1 disabled; of a role, 1 governing; of a
// delegation, 1 every user. Method bits from 1 on: GET HEAD OPTIONS POST PUT
// PATCH DELETE CONNECT TRACE, CORS preflight, any.
//
// Order. Policies, users, groups, roles, role claims and services ascend by
// name, bytewise, each once; identities by issuer, client, subject; revoked
// tokens by issuer, id, each once. Rules stand by policy, then index. The
// terminals of a range ascend by rule, then pattern; the names of a delegation's
// lists ascend. The ranges of one section follow each other without gap or
// overlap in the order of their owners' sections, records and fields: strings over
// text; policies over rules; rules over methods, hosts and expressions; hosts over
// labels; nodes over terminals; terminals over captures; services over delegations;
// users, groups, roles, role claims and delegations over lists.
//
// The trie. Node 0 is the root, for the empty path. A pattern leads from a node
// to its child by each segment: by an edge for a literal, by the wildcard child
// for "*" and "{name}", which match any segment that is not empty. The nodes
// are one tree: each but the root has one parent, with a smaller number.
//
// Hash tables have a power of two of slots, at least 2 and twice the records. A
// record stands in the first slot that is free at or behind its place, wrapping
// around; its place is the lowest bits of its hash. A free slot is none in all its
// fields. At most 128 slots are looked at. The hash of a text is FNV-1a (offset
// basis 2166136261) with, as its prime, 16777619 xor twice the table's seed mixed,
// then mixed itself (the seed 0 stays 0, so it is the usual prime). That of an
// edge is the hash of the node that it leads to: the root's is 0; that of a node
// behind a literal is mixed from the hash of the segment's text xor p times
// 0x9E3779B1, where p is the hash of its parent; behind a wildcard it is p times
// 0x9E3779B1 plus 1. So a place depends on what is named, not on numbers, and few
// change when a policy comes or goes: see package delta. To mix h:
//
//	h ^= h >> 16; h *= 0x85EBCA6B; h ^= h >> 13; h *= 0xC2B2AE35; h ^= h >> 16
//
// Build takes the lowest seed from 0 to 65,535 by which each record is found.
//
// Expressions. A condition is one tree, breadth first: the arguments of a node
// stand behind each other, and behind those of the node before. The operators
// and their numbers of arguments are those of [Op]. The operand is the string of
// a text or capture name; the number of a variable (see [Var]), or of a macro
// from the outermost around, 0; the nanoseconds of a timestamp; 0 for other
// constants; and for all else the place of the first argument, counted from the
// root. The value is that of an integer, the bits of a double, 0 or 1 for a bool,
// the seconds of a timestamp; the string of the key of a field or has; the part
// of a timestamp that is asked for; else 0. The position is where the node stands
// in the condition's text, in bytes. A tree has at most 256 nodes, is at most 32
// deep, and has at most 4 macros within each other, whose variables only stand
// in their second arguments.
//
// Issuers are a u32 number of them, then each field as [Issuer] has them, in
// that order: a text behind its length as u32; a list behind its length as u64;
// integers as i64; bools as the i64 0 or 1.
//
// The signature block:
//
//	0  4 bytes  the text "SIGN"
//	4  u16      length of the key's id, at most 255
//	6  u16      length of the signature, at most 1024
//	8           key id, signature; nothing behind
//
// The signature is ECDSA with P-256 and SHA-256 over all bytes before the block,
// as ASN.1 DER (RFC 3279 section 2.2.3). The key id is not signed: it only helps
// to find the key, which the reader has from its own configuration.
//
// # Limits
//
// A snapshot has at most [MaxSnapshotBytes]; the other limits are the constants
// beside [Source] and [Issuer.Check]'s. Build refuses what exceeds them and so
// does Load, where they bound what reading costs.
//
// # What a reader must check
//
// The frame first (magic, version, lengths, signature block), then the
// signature, and only then the rest, all of it before the first use: feature
// bits, the section table, zero padding and zero reserved fields, flags, every
// index and range, the order of names, ranges and terminals, that nodes and
// conditions are trees, the settings of issuers.
// Ranges that can't overlap and nodes that are a tree keep the work of loading
// linear in the snapshot's size, and that of a decision below it.
// A reader keeps the last good snapshot when it refuses one, and refuses a lower
// (epoch, generation) than it has.
//
// # Compatibility
//
// A reader refuses a version and a feature bit that it does not know. A change
// of the layout is a new version, once there is a release: until the first one,
// version 1 may still change. A feature bit marks a snapshot of an old
// layout in which something means more than an old reader knows, such as a new
// operator of conditions; Build sets it only where that is used, so that old
// readers go on with what they understand. Numbers of operators, variables,
// flags and sections are never given another meaning.
//
// # Example
//
// One policy, "read", with one rule: allow @read on /docs/{page}; the group
// system:authenticated has it. Epoch 1, generation 7.
//
//	0000  53 41 4c 4c 59 50 52 54  magic
//	0008  01 00 00 00  version 1
//	000c  1d 00 00 00  29 sections
//	0010  00 00 00 00 00 00 00 00  no feature bits
//	0018  01 00 00 00 00 00 00 00  epoch 1
//	0020  07 00 00 00 00 00 00 00  generation 7
//	0028  00 d2 49 6b 00 00 00 00  created 2027-01-15T08:00:00Z
//	0030  00 00 00 00 00 00 00 00  never stale
//	0038  78 03 00 00 00 00 00 00  888 bytes are signed
//	0040  00 00 00 00 08 00 00 00 10 02 00 00 30 00 00 00  section 0: strings, records of 8 bytes, at 0x210, 48 bytes
//	0050  01 00 00 00 01 00 00 00 40 02 00 00 2e 00 00 00  section 1: text
//	0060  02 00 00 00 04 00 00 00 70 02 00 00 10 00 00 00  section 2: seeds
//	0070  03 00 00 00 0c 00 00 00 80 02 00 00 0c 00 00 00  section 3: policies
//	0080  04 00 00 00 30 00 00 00 90 02 00 00 30 00 00 00  section 4: rules
//	0090  05 00 00 00 14 00 00 00 c0 02 00 00 3c 00 00 00  section 5: nodes
//	00a0  06 00 00 00 0c 00 00 00 00 03 00 00 18 00 00 00  section 6: edges
//	00b0  07 00 00 00 18 00 00 00 18 03 00 00 18 00 00 00  section 7: terminals
//	00c0  08 00 00 00 08 00 00 00 30 03 00 00 08 00 00 00  section 8: captures
//	00d0  09 00 00 00 0c 00 00 00 38 03 00 00 00 00 00 00  section 9: hosts
//	00e0  0a 00 00 00 08 00 00 00 38 03 00 00 00 00 00 00  section 10: labels
//	00f0  0b 00 00 00 04 00 00 00 38 03 00 00 00 00 00 00  section 11: methods
//	0100  0c 00 00 00 10 00 00 00 38 03 00 00 00 00 00 00  section 12: expressions
//	0110  0d 00 00 00 28 00 00 00 38 03 00 00 00 00 00 00  section 13: users
//	0120  0e 00 00 00 04 00 00 00 38 03 00 00 08 00 00 00  section 14: user index
//	0130  0f 00 00 00 14 00 00 00 40 03 00 00 14 00 00 00  section 15: groups
//	0140  10 00 00 00 04 00 00 00 58 03 00 00 08 00 00 00  section 16: group index
//	0150  11 00 00 00 10 00 00 00 60 03 00 00 00 00 00 00  section 17: roles
//	0160  12 00 00 00 0c 00 00 00 60 03 00 00 00 00 00 00  section 18: role claims
//	0170  13 00 00 00 04 00 00 00 60 03 00 00 08 00 00 00  section 19: claim index
//	0180  14 00 00 00 14 00 00 00 68 03 00 00 00 00 00 00  section 20: services
//	0190  15 00 00 00 10 00 00 00 68 03 00 00 00 00 00 00  section 21: identities
//	01a0  16 00 00 00 18 00 00 00 68 03 00 00 00 00 00 00  section 22: delegations
//	01b0  17 00 00 00 04 00 00 00 68 03 00 00 04 00 00 00  section 23: policy lists
//	01c0  18 00 00 00 04 00 00 00 70 03 00 00 00 00 00 00  section 24: group lists
//	01d0  19 00 00 00 04 00 00 00 70 03 00 00 00 00 00 00  section 25: role lists
//	01e0  1a 00 00 00 04 00 00 00 70 03 00 00 00 00 00 00  section 26: name lists
//	01f0  1b 00 00 00 01 00 00 00 70 03 00 00 04 00 00 00  section 27: issuers
//	0200  1c 00 00 00 10 00 00 00 78 03 00 00 00 00 00 00  section 28: revoked
//	0210  00 00 00 00 04 00 00 00  string 0: read
//	0218  04 00 00 00 0c 00 00 00  string 1: /docs/{page}
//	0220  10 00 00 00 04 00 00 00  string 2: docs
//	0228  14 00 00 00 04 00 00 00  string 3: page
//	0230  18 00 00 00 02 00 00 00  string 4: #0
//	0238  1a 00 00 00 14 00 00 00  string 5: system:authenticated
//	0240  72 65 61 64 2f 64 6f 63 73 2f 7b 70 61 67 65 7d  text: read/docs/{page}
//	0250  64 6f 63 73 70 61 67 65 23 30 73 79 73 74 65 6d  docspage#0system
//	0260  3a 61 75 74 68 65 6e 74 69 63 61 74 65 64 00 00  :authenticated, padding
//	0270  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  seeds: all 0
//	0280  00 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00  policy 0: read, rules 0 to 0; padding
//	0290  04 00 00 00 00 00 00 00 00 00 00 00 03 00 00 00  rule 0: "#0" of policy 0, index 0, allow, any host,
//	02a0  07 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  GET HEAD OPTIONS; no other methods, no hosts,
//	02b0  00 00 00 00 00 00 00 00 00 00 00 00 ff ff ff ff  no condition
//	02c0  ff ff ff ff 00 00 00 00 00 00 00 00 00 00 00 00  node 0: no wildcard, nothing ends
//	02d0  00 00 00 00
//	02d4  02 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  node 1, behind docs: wildcard to node 2
//	02e4  00 00 00 00
//	02e8  ff ff ff ff 00 00 00 00 01 00 00 00 01 00 00 00  node 2: terminal 0 ends; padding
//	02f8  00 00 00 00 00 00 00 00
//	0300  ff ff ff ff ff ff ff ff ff ff ff ff  free slot
//	030c  00 00 00 00 02 00 00 00 01 00 00 00  edge: node 0 by "docs" to node 1
//	0318  00 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00  terminal 0: rule 0, path 0, /docs/{page}, capture 0
//	0328  01 00 00 00 00 00 00 00
//	0330  03 00 00 00 01 00 00 00  capture 0: page is segment 1
//	0338  ff ff ff ff ff ff ff ff  user index: free slots
//	0340  05 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00  group 0: system:authenticated, policy list 0 to 0, no roles; padding
//	0350  00 00 00 00 00 00 00 00
//	0358  ff ff ff ff 00 00 00 00  group index: group 0 in slot 1
//	0360  ff ff ff ff ff ff ff ff  claim index: free slots
//	0368  00 00 00 00 00 00 00 00  policy list 0: policy 0; padding
//	0370  00 00 00 00 00 00 00 00  no issuers; padding
//	0378  53 49 47 4e 02 00 02 00  signature block: key id of 2 bytes, signature of 2
//	0380  6b 31 30 00  "k1", and bytes in place of a signature
package policydata
