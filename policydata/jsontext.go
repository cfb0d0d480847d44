package policydata

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Claims are read from the token's text as a condition asks for them. The text
// was found to be valid before (see package token); what is not valid all the
// same makes the condition an error.

// jsonCursor goes through the elements of an array or the members of an object.
type jsonCursor struct {
	name  string // of the member, with its quotes
	value string // the text of the value
	bad   bool   // the text is not valid

	text string
	pos  int
}

// next goes to the next element, and reports whether there is one.
func (c *jsonCursor) next(object bool) bool {
	i := skipSpace(c.text, c.pos)
	if i < len(c.text) && c.text[i] == ',' {
		i = skipSpace(c.text, i+1)
	}
	if i < len(c.text) && (c.text[i] == '}' || c.text[i] == ']') {
		c.pos = i
		return false
	}
	if object {
		end := stringEnd(c.text, i)
		c.name = c.text[min(i, end):end]
		i = skipSpace(c.text, end)
		if end == 0 || i == len(c.text) || c.text[i] != ':' {
			c.bad = true
			return false
		}
		i = skipSpace(c.text, i+1)
	}
	end := valueEnd(c.text, i)
	if end == 0 {
		c.bad = true
		return false
	}
	c.value, c.pos = c.text[i:end], end
	return true
}

func skipSpace(text string, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\n' || text[i] == '\t' || text[i] == '\r') {
		i++
	}
	return i
}

// stringEnd returns the place behind the string that begins at text[i], 0 if
// there is none.
func stringEnd(text string, i int) int {
	if i >= len(text) || text[i] != '"' {
		return 0
	}
	for start := i + 1; ; {
		n := strings.IndexByte(text[start:], '"')
		if n < 0 {
			return 0
		}
		start += n + 1
		escapes := start - 2
		for text[escapes] == '\\' { // ends at the first quote at the latest
			escapes--
		}
		if (start-escapes)%2 == 0 { // pairs of backslashes, or none
			return start
		}
	}
}

// valueEnd returns the place behind the value that begins at text[i], 0 if there
// is none.
func valueEnd(text string, i int) int {
	start, depth := i, 0
	for i < len(text) {
		switch c := text[i]; c {
		case '"':
			if i = stringEnd(text, i); i == 0 || depth == 0 {
				return i
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		default:
			if depth == 0 && (c == ',' || c <= ' ') {
				return endOrNone(start, i)
			}
		}
		if depth < 0 {
			return endOrNone(start, i)
		}
		i++
	}
	if depth != 0 {
		return 0
	}
	return endOrNone(start, i)
}

func endOrNone(start, end int) int {
	if end == start {
		return 0
	}
	return end
}

// claims are the members of the token's payload, found once for all conditions
// that ask for one, and for all requests with the same payload in a row.
type claims struct {
	text    string
	members []jsonMember
	bad     bool // the text is not valid
}

// jsonMember is a member of an object: its name with quotes, and the text of its
// value.
type jsonMember struct{ name, value string }

// tokenClaims returns token.claims: {} without a token.
func (e *Evaluator) tokenClaims() value {
	text := e.id.Claims
	i := skipSpace(text, 0)
	if i < len(text) && text[i] == '{' {
		return value{kind: kindMap, form: formClaims, s: text[i:]}
	}
	if text != "" {
		return e.abandon()
	}
	return value{kind: kindMap, form: formJSON, s: "{}"}
}

// claim returns a claim, an error if the token does not have it.
func (e *Evaluator) claim(text, name string) value {
	c := &e.claims
	if c.text != text {
		c.read(text)
	}
	if c.bad {
		return e.abandon()
	}
	e.charge(len(c.members) / scanBytes)
	for i := range c.members {
		if e.isName(c.members[i].name, name) {
			return e.jsonValue(c.members[i].value)
		}
	}
	return value{}
}

func (c *claims) read(text string) {
	c.text, c.members = text, c.members[:0]
	j := jsonCursor{text: text, pos: 1}
	for j.next(true) {
		c.members = append(c.members, jsonMember{j.name, j.value})
	}
	c.bad = j.bad
}

// member returns a member of the object that text is, an error if there is none.
func (e *Evaluator) member(text, name string) value {
	c := jsonCursor{text: text, pos: 1}
	for c.next(true) {
		if e.isName(c.name, name) {
			e.charge(c.pos / scanBytes)
			return e.jsonValue(c.value)
		}
	}
	e.charge(c.pos / scanBytes)
	if c.bad {
		return e.abandon()
	}
	return value{}
}

// isName reports whether the string quoted means name.
func (e *Evaluator) isName(quoted, name string) bool {
	inner := quoted[1 : len(quoted)-1]
	if strings.IndexByte(inner, '\\') < 0 {
		return inner == name
	}
	start := len(e.cond.text)
	same := e.unescape(inner) && string(e.cond.text[start:]) == name
	e.cond.text = e.cond.text[:start]
	return same
}

// jsonValue returns the value that a text is. A number beyond the range of
// doubles is infinite, as rounding has it.
func (e *Evaluator) jsonValue(text string) value {
	switch c := text[0]; {
	case c == '"':
		return e.jsonString(text)
	case c == '{':
		return value{kind: kindMap, form: formJSON, s: text}
	case c == '[':
		return value{kind: kindList, form: formJSON, s: text}
	case text == "true":
		return boolValue(true)
	case text == "false":
		return boolValue(false)
	case text == "null":
		return value{kind: kindNull}
	case c == '-' || '0' <= c && c <= '9':
		d, err := strconv.ParseFloat(text, 64)
		if err != nil && !math.IsInf(d, 0) {
			return e.abandon()
		}
		return value{kind: kindDouble, n: int64(math.Float64bits(d))}
	}
	return e.abandon()
}

func (e *Evaluator) jsonString(quoted string) value {
	inner := quoted[1 : len(quoted)-1]
	if strings.IndexByte(inner, '\\') < 0 {
		return stringValue(inner)
	}
	start := len(e.cond.text)
	if !e.unescape(inner) {
		return e.abandon()
	}
	return stringValue(textOf(e.cond.text[start:]))
}

// unescape appends the string that inner means to e.cond.text (RFC 8259
// section 7).
func (e *Evaluator) unescape(inner string) bool {
	e.charge(1 + len(inner)/scanBytes) // many short names take as long as a long text
	out := e.cond.text
	for i := 0; i < len(inner); i++ {
		c := inner[i]
		if c != '\\' {
			out = append(out, c)
			continue
		}
		if i++; i == len(inner) {
			return false
		}
		switch inner[i] {
		case '"', '\\', '/':
			out = append(out, inner[i])
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, n := escapedRune(inner[i+1:])
			if n == 0 {
				return false
			}
			out = utf8.AppendRune(out, r)
			i += n
		default:
			return false
		}
	}
	e.cond.text = out
	return true
}

// escapedRune reads what stands behind \u: four digits, or the ten bytes of a
// surrogate pair. n is how many bytes it took, 0 for what is neither.
func escapedRune(s string) (r rune, n int) {
	unit, ok := codeUnit(s)
	switch {
	case !ok:
		return 0, 0
	case unit < 0xD800 || unit > 0xDFFF:
		return unit, 4
	case unit > 0xDBFF || len(s) < 10 || s[4] != '\\' || s[5] != 'u':
		return 0, 0
	}
	low, ok := codeUnit(s[6:])
	if !ok || low < 0xDC00 || low > 0xDFFF {
		return 0, 0
	}
	return (unit-0xD800)<<10 + (low - 0xDC00) + 0x10000, 10
}

func codeUnit(s string) (rune, bool) {
	if len(s) < 4 {
		return 0, false
	}
	unit := rune(0)
	for i := range 4 {
		if !isHex(s[i]) {
			return 0, false
		}
		unit = unit<<4 | rune(unhex(s[i]))
	}
	return unit, true
}
