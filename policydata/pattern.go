package policydata

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// segmentKind is what one part of a pattern (a path segment, a host label)
// matches. The numbers are part of the snapshot format.
type segmentKind uint8

const (
	segLiteral segmentKind = iota // exactly text
	segCapture                    // one non-empty part, kept under the name text
	segAny                        // "*": one non-empty part; in a host, one or more
	segTail                       // "**": zero or more segments, at the end of a path only
)

type segment struct {
	kind segmentKind
	text string
}

// CheckPathPattern checks the path pattern p and returns the names that it
// captures, in order. A pattern is decoded text beginning with "/"; "{name}" is
// one non-empty segment, captured; "*" is one non-empty segment; a final "**"
// is zero or more segments; all else is literal.
func CheckPathPattern(p string) ([]string, error) {
	segs, err := parsePathPattern(p)
	return captureNames(segs), err
}

// CheckHostPattern checks the host pattern p and returns the names that it
// captures. A pattern is a host name in any case, without port; its labels are
// literal or "{name}", which captures one label; a first label "*" is one or
// more labels. HostAPI names the host's own API.
func CheckHostPattern(p string) ([]string, error) {
	segs, err := parseHostPattern(p)
	return captureNames(segs), err
}

// HostAPI as a rule's host names the host's own API. Such a rule counts there
// and nowhere else, and there no other rule counts.
const HostAPI = "system:api"

func captureNames(segs []segment) []string {
	var names []string
	for _, s := range segs {
		if s.kind == segCapture {
			names = append(names, s.text)
		}
	}
	return names
}

func parsePathPattern(p string) ([]segment, error) {
	if err := checkPathText(p); err != nil {
		return nil, err
	}
	parts := strings.Split(p[1:], "/")
	if len(parts) > MaxPatternSegments {
		return nil, fmt.Errorf("a path pattern has at most %d segments", MaxPatternSegments)
	}
	segs := make([]segment, 0, len(parts))
	for i, part := range parts {
		last := i == len(parts)-1
		switch {
		case part == "**" && !last:
			return nil, errors.New(`"**" may stand only at the end`)
		case part == "**":
			segs = append(segs, segment{kind: segTail})
			continue
		case part == "" && !last:
			return nil, errors.New(`"//" can never match: such a path is refused`)
		case part == "." || part == "..":
			return nil, fmt.Errorf("a segment %q can never match: such a path is refused", part)
		}
		seg, err := parseSegment(part, segs)
		if err != nil {
			return nil, err
		}
		segs = append(segs, seg)
	}
	return segs, nil
}

// checkPathText refuses what no canonical path can hold, so that a rule which
// could never match is an error and not a surprise.
func checkPathText(p string) error {
	switch {
	case p == "" || p[0] != '/':
		return errors.New(`a path pattern begins with "/"`)
	case len(p) > MaxPatternBytes:
		return fmt.Errorf("a path pattern has at most %d bytes", MaxPatternBytes)
	case !utf8.ValidString(p):
		return errors.New("a path pattern must be valid UTF-8")
	case strings.Contains(p, "%"):
		return errors.New(`a path pattern is decoded text: "%" is not allowed`)
	case strings.ContainsAny(p, `\;`):
		return errors.New(`"\" and ";" can never match: such a path is refused`)
	}
	for i := 0; i < len(p); i++ {
		if p[i] < 0x20 || p[i] == 0x7F {
			return errors.New("a path pattern must not contain control characters")
		}
	}
	return nil
}

// parseSegment reads one path segment or host label; before are those to its
// left, in which a capture must not have the same name.
func parseSegment(part string, before []segment) (segment, error) {
	if part == "*" {
		return segment{kind: segAny}, nil
	}
	if len(part) >= 2 && part[0] == '{' && part[len(part)-1] == '}' {
		name := part[1 : len(part)-1]
		if err := checkCaptureName(name); err != nil {
			return segment{}, fmt.Errorf("%q: %w", part, err)
		}
		if slices.Contains(captureNames(before), name) {
			return segment{}, fmt.Errorf("%q captures the same name twice", part)
		}
		return segment{kind: segCapture, text: name}, nil
	}
	if strings.ContainsAny(part, "*{}") {
		return segment{}, fmt.Errorf("%q: a wildcard or capture is a whole segment", part)
	}
	return segment{kind: segLiteral, text: part}, nil
}

// maxHostBytes is the longest host name (RFC 1035 section 2.3.4, in text form).
const maxHostBytes = 253

func parseHostPattern(p string) ([]segment, error) {
	if p == HostAPI {
		return nil, nil
	}
	switch {
	case p == "":
		return nil, errors.New("a host pattern must not be empty")
	case len(p) > maxHostBytes:
		return nil, fmt.Errorf("a host pattern has at most %d bytes", maxHostBytes)
	case IsSystemName(p):
		return nil, fmt.Errorf("the only system host is %q", HostAPI)
	case p[0] == '[':
		return parseAddressPattern(p)
	case strings.Contains(p, ":"):
		return nil, errors.New("a host pattern has no port")
	}
	labels := strings.Split(strings.TrimSuffix(p, "."), ".")
	segs := make([]segment, 0, len(labels))
	for i, label := range labels {
		seg, err := parseSegment(label, segs)
		if err != nil {
			return nil, err
		}
		switch {
		case seg.kind == segAny && (i > 0 || len(labels) == 1):
			return nil, errors.New(`"*" may stand only as the first of several labels; for any host leave hosts out`)
		case seg.kind == segLiteral:
			if !isHostLabel(label) {
				return nil, fmt.Errorf("%q is no host label: letters, digits, - and _", label)
			}
			seg.text = strings.ToLower(label)
		}
		segs = append(segs, seg)
	}
	return segs, nil
}

// parseAddressPattern reads an IPv6 literal, which is one label.
func parseAddressPattern(p string) ([]segment, error) {
	host, ok := CanonicalHost(p)
	if !ok || len(host) != len(p) {
		return nil, fmt.Errorf("%q is no address: [IPv6] without port", p)
	}
	return []segment{{kind: segLiteral, text: host}}, nil
}

// The method groups that a rule's methods may name beside "*" and methods.
const (
	MethodsRead      = "@read"      // GET, HEAD, OPTIONS
	MethodsWrite     = "@write"     // POST, PUT, PATCH, DELETE
	MethodsPreflight = "@preflight" // a CORS preflight, see Request.Preflight
)

// CheckMethod checks an entry of a rule's methods: "*", a method group, or a
// method, which is a token (RFC 9110 section 9.1) and case-sensitive.
func CheckMethod(m string) error {
	switch {
	case m == "*" || m == MethodsRead || m == MethodsWrite || m == MethodsPreflight:
		return nil
	case strings.HasPrefix(m, "@"):
		return fmt.Errorf("unknown method group %q: there are @read, @write and @preflight", m)
	case m == "" || len(m) > 64:
		return errors.New("a method has 1 to 64 characters")
	case !IsToken(m):
		return fmt.Errorf("%q is no method", m)
	}
	return nil
}

// IsToken reports whether s is a token (RFC 9110 section 5.6.2), as methods and
// names of header fields are. With anything else in a method's place, such as a
// space, an HTTP/1.1 upstream could read another path than the one that is
// decided.
func IsToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isTokenByte(s[i]) {
			return false
		}
	}
	return s != ""
}

// isTokenByte reports whether c is a tchar (RFC 9110 section 5.6.2).
func isTokenByte(c byte) bool {
	return isAlphanumeric(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
