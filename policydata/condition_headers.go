package policydata

import "strings"

// shown reports whether conditions see the headers of a name. They don't see
// what another variable says (":path", "host"), what a client must not say
// (x-sallyport-..., the headers that claims set), and credentials, which must
// not come up in explanations.
func (e *Evaluator) shown(name string) bool {
	switch name {
	case "", "host", "authorization", "proxy-authorization", e.req.TokenHeader:
		return false
	}
	return name[0] != ':' && !strings.HasPrefix(name, OwnHeaderPrefix) && !e.snap.claimHeaders.names[name]
}

// header returns the value of request.headers[name], an error if there is none.
// A header that is there several times has its values in their order, with a
// comma between (RFC 9110 section 5.2); cookies have "; " (RFC 9113 section
// 8.2.3).
func (e *Evaluator) header(name string) value {
	if !e.shown(name) {
		return value{}
	}
	headers := e.req.Headers
	e.charge(len(headers) / scanBytes)
	found, joined, start := value{}, false, len(e.cond.text)
	for i := range headers {
		if headers[i][0] != name {
			continue
		}
		if found.kind == kindError {
			found = stringValue(headers[i][1])
			continue
		}
		if !joined {
			joined = true
			e.charge(len(found.s) / scanBytes)
			e.cond.text = append(e.cond.text, found.s...)
		}
		separator := ","
		if name == "cookie" {
			separator = "; "
		}
		e.charge(len(headers[i][1]) / scanBytes)
		e.cond.text = append(append(e.cond.text, separator...), headers[i][1]...)
	}
	if joined {
		found.s = textOf(e.cond.text[start:])
	}
	return found
}
