package policydata

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// maxParams bounds what a client can make of a query.
const maxParams = 1024

// query is a request's query, read when the first condition asks for it.
type query struct {
	state  queryState
	params [][2]string // names and values, decoded, in the order of the query
	text   []byte      // of those that were escaped
}

type queryState uint8

const (
	queryUnread queryState = iota
	queryGood
	queryBad
)

// read splits and decodes the query once, as servers read forms
// (application/x-www-form-urlencoded, URL standard): "&" between parameters, the
// first "=" behind the name, "+" for a space, percent-escapes. It is not ok where
// servers differ in what it means: with ";", which some take for "&", bad
// escapes, what is no UTF-8, and more than maxParams parameters.
func (q *query) read(raw string) bool {
	if q.state == queryUnread {
		q.state = queryBad
		q.params = q.params[:0]
		q.text = slices.Grow(q.text[:0], len(raw)) // so that it stays where it is
		if q.parse(raw) {
			q.state = queryGood
		}
	}
	return q.state == queryGood
}

func (q *query) parse(raw string) bool {
	for raw != "" {
		var param string
		param, raw, _ = strings.Cut(raw, "&")
		if param == "" {
			continue
		}
		rawName, rawValue, _ := strings.Cut(param, "=")
		name, nameOK := q.decode(rawName)
		value, valueOK := q.decode(rawValue)
		if !nameOK || !valueOK || len(q.params) == maxParams {
			return false
		}
		q.params = append(q.params, [2]string{name, value})
	}
	return true
}

func (q *query) decode(s string) (string, bool) {
	start := len(q.text)
	if strings.IndexByte(s, ';') >= 0 {
		return "", false
	}
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s, utf8.ValidString(s)
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+':
			c = ' '
		case c == '%' && !isEscape(s, i):
			return "", false
		case c == '%':
			c = unhex(s[i+1])<<4 | unhex(s[i+2])
			i += 2
		}
		q.text = append(q.text, c)
	}
	decoded := textOf(q.text[start:])
	return decoded, utf8.ValidString(decoded)
}
