package token

import (
	"strconv"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// Limits of ValidateJSON. Real tokens stay far below both.
const (
	MaxJSONDepth  = 32   // nested arrays and objects
	MaxJSONValues = 4096 // values in all, at every depth
)

// pairwiseNames is up to how many members of an object are compared pair by
// pair. Above it a hash set keeps the work linear: an attacker chooses the names.
const pairwiseNames = 16

// JSONError says where and why a text is refused. It quotes none of it.
type JSONError struct {
	Offset  int // in bytes
	Problem string
}

func (e *JSONError) Error() string {
	return "invalid JSON at byte " + strconv.Itoa(e.Offset) + ": " + e.Problem
}

// ValidateJSON reports whether text is one JSON value (RFC 8259) that every
// reader understands in the same way: valid UTF-8, surrogate escapes in pairs,
// no object with two names that are equal after unescaping (RFC 8725 section
// 2.4 shows why), nothing after the value, and not beyond MaxJSONDepth and
// MaxJSONValues. Its errors are *JSONError.
func ValidateJSON(text string) error {
	offset, problem := checkJSON(text)
	if problem == "" {
		return nil
	}
	return &JSONError{Offset: offset, Problem: problem}
}

// parseObject returns text as a JSON object for gjson, which needs valid input.
func parseObject(text string) (gjson.Result, bool) {
	if _, problem := checkJSON(text); problem != "" {
		return gjson.Result{}, false
	}
	object := gjson.Parse(text)
	return object, object.IsObject()
}

func checkJSON(text string) (offset int, problem string) {
	s := scanner{text: text}
	s.space()
	if !s.value(0) {
		return s.pos, s.problem
	}
	s.space()
	if s.pos < len(text) {
		return s.pos, "text after the value"
	}
	return s.pos, ""
}

type scanner struct {
	text    string
	pos     int
	values  int
	problem string
}

func (s *scanner) fail(problem string) bool {
	s.problem = problem
	return false
}

// peek returns the byte at pos, and 0, which no JSON text holds outside of
// strings, at the end.
func (s *scanner) peek() byte {
	if s.pos < len(s.text) {
		return s.text[s.pos]
	}
	return 0
}

func (s *scanner) space() {
	for s.pos < len(s.text) {
		switch s.text[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// accept skips c and the white space behind it, if c is what comes next.
func (s *scanner) accept(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.pos++
	s.space()
	return true
}

func (s *scanner) value(depth int) bool {
	if s.values++; s.values > MaxJSONValues {
		return s.fail("too many values")
	}
	switch s.peek() {
	case '{', '[':
		if depth == MaxJSONDepth {
			return s.fail("too deep")
		}
		if s.peek() == '{' {
			return s.object(depth + 1)
		}
		return s.array(depth + 1)
	case '"':
		_, ok := s.quoted()
		return ok
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	}
	return s.number()
}

func (s *scanner) literal(word string) bool {
	end := s.pos + len(word)
	if end > len(s.text) || s.text[s.pos:end] != word {
		return s.fail("not a value")
	}
	s.pos = end
	return true
}

func (s *scanner) array(depth int) bool {
	s.accept('[')
	if s.peek() == ']' {
		s.pos++
		return true
	}
	for {
		if !s.value(depth) {
			return false
		}
		s.space()
		if s.peek() == ']' {
			s.pos++
			return true
		}
		if !s.accept(',') {
			return s.fail("expected , or ] in an array")
		}
	}
}

func (s *scanner) object(depth int) bool {
	s.accept('{')
	if s.peek() == '}' {
		s.pos++
		return true
	}
	var few [pairwiseNames]string // on the stack
	names := few[:0]
	for {
		name, ok := s.name()
		if !ok || !s.value(depth) {
			return false
		}
		names = append(names, name)
		s.space()
		if s.peek() == '}' {
			break
		}
		if !s.accept(',') {
			return s.fail("expected , or } in an object")
		}
	}
	if repeats(names) {
		return s.fail("a name stands twice in the object that ends here")
	}
	s.pos++
	return true
}

// name skips a name with its colon and returns it unescaped.
func (s *scanner) name() (string, bool) {
	if s.peek() != '"' {
		return "", s.fail("expected a name")
	}
	start := s.pos
	escaped, ok := s.quoted()
	if !ok {
		return "", false
	}
	name := s.text[start+1 : s.pos-1]
	if escaped {
		name = gjson.Parse(s.text[start:s.pos]).Str
	}
	s.space()
	if !s.accept(':') {
		return "", s.fail("expected : after a name")
	}
	return name, true
}

func repeats(names []string) bool {
	if len(names) > pairwiseNames {
		seen := make(map[string]struct{}, len(names))
		for _, name := range names {
			seen[name] = struct{}{}
		}
		return len(seen) < len(names)
	}
	for i, name := range names {
		for _, other := range names[:i] {
			if name == other {
				return true
			}
		}
	}
	return false
}

// quoted skips a string and reports whether it holds escapes.
func (s *scanner) quoted() (escaped, ok bool) {
	s.pos++
	for s.pos < len(s.text) {
		c := s.text[s.pos]
		switch {
		case c == '"':
			s.pos++
			return escaped, true
		case c == '\\':
			escaped = true
			if !s.escape() {
				return escaped, false
			}
		case c < ' ':
			return escaped, s.fail("control character in a string")
		case c < utf8.RuneSelf:
			s.pos++
		default:
			r, size := utf8.DecodeRuneInString(s.text[s.pos:])
			if r == utf8.RuneError && size == 1 {
				return escaped, s.fail("invalid UTF-8")
			}
			s.pos += size
		}
	}
	return escaped, s.fail("string without an end")
}

func (s *scanner) escape() bool {
	s.pos++
	switch s.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos++
		return true
	case 'u':
		return s.unicodeEscape()
	}
	return s.fail("unknown escape")
}

// unicodeEscape skips uXXXX, and the low surrogate that must follow a high one
// (RFC 8259 section 7): readers differ in what a lone one means.
func (s *scanner) unicodeEscape() bool {
	unit, ok := s.codeUnit()
	if !ok {
		return false
	}
	switch {
	case unit < 0xD800 || unit > 0xDFFF:
		return true
	case unit > 0xDBFF || s.peek() != '\\':
		return s.fail("lone surrogate")
	}
	s.pos++
	if s.peek() != 'u' {
		return s.fail("lone surrogate")
	}
	if unit, ok = s.codeUnit(); !ok {
		return false
	}
	if unit < 0xDC00 || unit > 0xDFFF {
		return s.fail("lone surrogate")
	}
	return true
}

// codeUnit skips the u at pos and four hexadecimal digits.
func (s *scanner) codeUnit() (unit uint32, ok bool) {
	s.pos++
	for range 4 {
		c := s.peek()
		switch {
		case '0' <= c && c <= '9':
			unit = unit<<4 | uint32(c-'0')
		case 'a' <= c && c <= 'f':
			unit = unit<<4 | uint32(c-'a'+10)
		case 'A' <= c && c <= 'F':
			unit = unit<<4 | uint32(c-'A'+10)
		default:
			return 0, s.fail(`expected four hexadecimal digits after \u`)
		}
		s.pos++
	}
	return unit, true
}

func (s *scanner) number() bool {
	if s.peek() == '-' {
		s.pos++
	}
	if s.peek() == '0' {
		s.pos++
	} else if !s.digits() {
		return s.fail("not a value")
	}
	if s.peek() == '.' {
		s.pos++
		if !s.digits() {
			return s.fail("expected a digit")
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		if !s.digits() {
			return s.fail("expected a digit")
		}
	}
	return true
}

// digits skips digits and reports whether there was one.
func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.text) && '0' <= s.text[s.pos] && s.text[s.pos] <= '9' {
		s.pos++
	}
	return s.pos > start
}
