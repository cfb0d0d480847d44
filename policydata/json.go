package policydata

import (
	"strconv"
	"unicode/utf8"
)

// AppendJSON appends the decision as a JSON object, in the form that logs, the
// API and the command line share:
//
//	{"decision":"allow|deny","status":200,"reason":"allowed","gate":"user",
//	 "policy":"","rule":"","user":"","service":"","generation":"0","captures":{}}
//
// The generation is a decimal string, since JSON numbers lose integers beyond
// 2^53 in many readers. Captures of the host are named "host.<name>".
func (d *Decision) AppendJSON(out []byte) []byte {
	verdict := "deny"
	if d.Allowed() {
		verdict = "allow"
	}
	out = append(out, `{"decision":"`...)
	out = append(out, verdict...)
	out = append(out, `","status":`...)
	out = strconv.AppendInt(out, int64(d.Reason.Status()), 10)
	out = appendMember(out, "reason", d.Reason.String())
	out = appendMember(out, "gate", d.Gate.String())
	out = appendMember(out, "policy", d.Policy)
	out = appendMember(out, "rule", d.Rule)
	out = appendMember(out, "user", d.User)
	out = appendMember(out, "service", d.Service)
	out = append(out, `,"generation":"`...)
	out = strconv.AppendUint(out, d.Generation, 10)
	out = append(out, `","captures":{`...)
	for i, c := range d.Captures {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, '"')
		if c.Host {
			out = append(out, "host."...)
		}
		out = append(AppendEscaped(out, c.Name), `":"`...)
		out = append(AppendEscaped(out, c.Value), '"')
	}
	return append(out, "}}"...)
}

func appendMember(out []byte, name, text string) []byte {
	out = append(out, `,"`...)
	out = append(out, name...)
	out = append(out, `":"`...)
	out = AppendEscaped(out, text)
	return append(out, '"')
}

// AppendEscaped appends s as the inside of a JSON string (RFC 8259 section 7).
// Bytes that are no UTF-8 become U+FFFD.
func AppendEscaped(out []byte, s string) []byte {
	const hex = "0123456789abcdef"
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			switch {
			case c == '"' || c == '\\':
				out = append(out, '\\', c)
			case c < 0x20 || c == 0x7F:
				out = append(out, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			default:
				out = append(out, c)
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		out = utf8.AppendRune(out, r)
		i += size
	}
	return out
}
