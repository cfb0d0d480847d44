package policydata

import (
	"strings"
	"unicode/utf8"
)

// MaxPathBytes bounds a request's raw path, query included.
const MaxPathBytes = 16 << 10

// CanonicalPath returns the path of the raw request target (Envoy's ":path"),
// decoded once and without its query, or false where the target is not
// canonical. Nothing is normalized: what two servers could read in two ways is
// refused, since an upstream gets the bytes as they came. Refused are a target
// that does not begin with "/", "//", a "." or ".." segment, an encoded "/",
// "\" or ";" raw or encoded, "#", bytes that a URI can't hold, encoded control
// characters, bad escapes, what is still escaped after one decoding, and
// invalid UTF-8 (RFC 3986 sections 2.1, 3.3, 6.2.2).
func CanonicalPath(raw string) (string, bool) {
	if raw == "" || raw[0] != '/' || len(raw) > MaxPathBytes {
		return "", false
	}
	escaped := false
	end := len(raw)
	for i := 0; i < end; i++ {
		switch c := raw[i]; {
		case c == '?':
			end = i
		case c <= 0x20 || c >= 0x7F || c == '\\' || c == ';' || c == '#':
			return "", false
		case c == '%':
			escaped = true
		case c == '/' && i > 0 && raw[i-1] == '/':
			return "", false
		}
	}
	// The query is no part of the path, but it is forwarded beside it: a server
	// that ends the target at a control byte or "#" would see another request.
	for i := end; i < len(raw); i++ {
		if raw[i] <= 0x20 || raw[i] == 0x7F || raw[i] == '#' {
			return "", false
		}
	}
	path := raw[:end]
	if escaped {
		var ok bool
		if path, ok = unescapePath(path); !ok {
			return "", false
		}
	}
	if hasDotSegment(path) {
		return "", false
	}
	return path, true
}

// unescapePath decodes each percent-escape of p once.
func unescapePath(p string) (string, bool) {
	out := make([]byte, 0, len(p))
	for i := 0; i < len(p); i++ {
		c := p[i]
		if c == '%' {
			if !isEscape(p, i) {
				return "", false
			}
			c = unhex(p[i+1])<<4 | unhex(p[i+2])
			if c < 0x20 || c == 0x7F || c == '/' || c == '\\' || c == ';' {
				return "", false
			}
			i += 2
		}
		out = append(out, c)
	}
	s := string(out)
	for i := range len(s) {
		if s[i] == '%' && isEscape(s, i) {
			return "", false
		}
	}
	return s, utf8.ValidString(s)
}

func isEscape(s string, i int) bool {
	return i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2])
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c >= 'a':
		return c - 'a' + 10
	case c >= 'A':
		return c - 'A' + 10
	}
	return c - '0'
}

func hasDotSegment(p string) bool {
	for i := 0; i+1 < len(p); i++ {
		if p[i] != '/' || p[i+1] != '.' {
			continue
		}
		rest := p[i+2:]
		if rest == "" || rest[0] == '/' || rest == "." || strings.HasPrefix(rest, "./") {
			return true
		}
	}
	return false
}

// CanonicalHost returns the request's host (Envoy's ":authority") in lower
// case, without port and without a trailing dot, or false where it is no host:
// text that a rule and a router could read differently. The empty authority is
// the empty host.
func CanonicalHost(authority string) (string, bool) {
	if authority == "" {
		return "", true
	}
	if authority[0] == '[' {
		return canonicalAddress(authority)
	}
	host, port, _ := strings.Cut(authority, ":")
	if !isPort(port) {
		return "", false
	}
	host = strings.TrimSuffix(host, ".")
	if len(host) > maxHostBytes {
		return "", false
	}
	start := 0
	for i := 0; i <= len(host); i++ {
		if i < len(host) && host[i] != '.' {
			continue
		}
		if !isHostLabel(host[start:i]) {
			return "", false
		}
		start = i + 1
	}
	// Only now, since other letters than those of ASCII become ASCII in lower
	// case, such as the Kelvin sign.
	return strings.ToLower(host), true
}

func canonicalAddress(authority string) (string, bool) {
	end := strings.IndexByte(authority, ']')
	if end < 2 || end > 64 {
		return "", false
	}
	for i := 1; i < end; i++ {
		if !isHex(authority[i]) && authority[i] != ':' && authority[i] != '.' {
			return "", false
		}
	}
	rest := authority[end+1:]
	if rest != "" && (rest[0] != ':' || !isPort(rest[1:])) {
		return "", false
	}
	return strings.ToLower(authority[:end+1]), true
}

// isPort reports whether s is a port as it may stand after the colon, where
// nothing is allowed, too (RFC 3986 section 3.2.3).
func isPort(s string) bool {
	if len(s) > 5 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

func isHostLabel(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isAlphanumeric(s[i]) && s[i] != '-' && s[i] != '_' {
			return false
		}
	}
	return s != ""
}
