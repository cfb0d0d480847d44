// Package condition compiles the "when" conditions of rules: it parses and
// type-checks them with cel-go and translates them to [policydata.Expr].
//
// The language is the part of CEL that the decision engine can run. What CEL
// has beyond it is refused here, at the write, with line, column and the name of
// the construct, so that a condition that was stored always means the same in
// cel-go and in the filter:
//
//	constants    strings, ints, bools
//	lists        [a, b] of strings, of ints or of bools
//	variables    request.method .path .host, token.iss .sub .groups .roles,
//	             user.name, service.name, path.<capture>, host.<capture>
//	operators    && || ! == != < <= > >= in
//	functions    a.startsWith(b), a.endsWith(b), a.contains(b), size(a), a.size()
//
// A capture whose name is a word of CEL is written in backticks: path.`in`.
//
// Macros are off: has, all, exists and the others parse as plain calls and are
// refused by their names. Ints are ordered, and so are strings (by code point,
// which for valid UTF-8 is the order of the bytes); bools are not.
//
// See the CEL specification, https://github.com/google/cel-spec.
package condition
