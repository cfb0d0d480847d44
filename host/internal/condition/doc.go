// Package condition compiles the "when" conditions of rules: it parses and
// type-checks them with cel-go and translates them to [policydata.Expr].
//
// The language is the part of CEL that the decision engine can run. What CEL
// has beyond it is refused here, at the write, with line, column and the name of
// the construct, so that a condition that was stored always means the same in
// cel-go and in the filter:
//
//	constants    strings, ints, uints (1u), doubles, bools, null
//	             timestamp("2026-11-01T00:00:00Z")
//	lists        [a, b]
//	strings      request.method .path .host, token.iss .sub, user.name,
//	             service.name, path.<capture>, host.<capture>
//	lists        token.groups, token.roles: lists of strings
//	maps         request.headers: string to string
//	             request.query: string to list of strings
//	             token.claims: the token's payload, of any depth
//	time         request.time
//	operators    && || ! ?: == != < <= > >= in, a.b, a[b], + of strings
//	macros       has(a.b), a.exists(x, p), a.all(x, p), over lists and keys of maps
//	functions    a.startsWith(b), a.endsWith(b), a.contains(b), size(a), a.size()
//	             of timestamps in UTC: getFullYear() getMonth() getDate()
//	             getDayOfMonth() getDayOfWeek() getDayOfYear() getHours()
//	             getMinutes() getSeconds() getMilliseconds()
//
// A capture whose name is a word of CEL is written in backticks: path.`in`.
//
// # The variables
//
// Headers have their names in lower case. One that is there several times has
// its values joined by "," (RFC 9110 section 5.2), cookies by "; ". Not there
// are ":path" and the like, "host", "authorization", "proxy-authorization", the
// header that holds the token, and "x-sallyport-...".
//
// A query's parameter has all its values, in their order: "a" in
// request.query.x. It is decoded as forms are; where a query has bad escapes, no
// UTF-8, a ";" or more than 1,024 parameters, request.query is an error.
//
// request.time has whole seconds. Numbers in token.claims are doubles, as in
// cel-go where JSON is read by encoding/json; they compare with ints. A number
// beyond their range is infinite.
//
// # Errors
//
// A key that is not there, an index out of range, an operand of a wrong type in
// what comes from claims: an error. && and || take an operand that decides alone
// even if the other errs, and so do exists and all. has(a.b) asks for b only:
// where a is not there it errs, too. What a condition comes to must be a bool;
// the rest, and more than policydata.MaxConditionSteps, is an error of the
// condition: an allow rule does not match, a deny rule denies.
//
// See the CEL specification, https://github.com/google/cel-spec.
package condition
