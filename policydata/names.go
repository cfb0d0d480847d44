package policydata

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// systemPrefix begins the names that only the project itself gives out.
const systemPrefix = "system:"

// CheckName says whether s may name a user, group, policy, role, service or
// issuer: 1 to 256 bytes of UTF-8 without "/", "*" and control characters, not
// "." or "..", and not beginning with "system:".
func CheckName(s string) error {
	if isPlainName(s) {
		return nil
	}
	switch {
	case s == "":
		return errors.New("a name must not be empty")
	case len(s) > MaxNameBytes:
		return errors.New("a name has at most 256 bytes")
	case !utf8.ValidString(s):
		return errors.New("a name must be valid UTF-8")
	case s == "." || s == "..":
		return errors.New(`a name must not be "." or ".."`)
	case IsSystemName(s):
		return errors.New(`a name must not begin with "system:"`)
	case strings.ContainsAny(s, "/*"):
		return errors.New(`a name must not contain "/" or "*"`)
	case strings.ContainsFunc(s, unicode.IsControl):
		return errors.New("a name must not contain control characters")
	}
	return nil
}

// isPlainName reports whether s is a name without anything to look at twice, as
// nearly all are: building a snapshot checks each of many thousands.
func isPlainName(s string) bool {
	if s == "" || len(s) > MaxNameBytes || s[0] == '.' || IsSystemName(s) {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c >= 0x7F || c == '/' || c == '*' {
			return false
		}
	}
	return true
}

// IsSystemName reports whether s begins with "system:", as the built-in groups
// do. Such a name in a token is ignored.
func IsSystemName(s string) bool { return strings.HasPrefix(s, systemPrefix) }

// checkCaptureName says whether s may stand between the braces of a capture:
// an identifier, since conditions name it as path.<s> or host.<s>.
func checkCaptureName(s string) error {
	if s == "" || len(s) > 64 {
		return errors.New("a capture's name has 1 to 64 characters")
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return errors.New("a capture's name is a letter or _, then letters, digits and _")
		}
	}
	return nil
}
