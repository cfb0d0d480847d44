package policydata

import (
	"math"
	"unicode/utf8"
)

// cursor goes through the elements of a list, or the keys of a map.
type cursor struct {
	value value // the element or key

	of   value
	at   int // number of the next element
	json jsonCursor
}

// each returns a cursor before the first element of a list or key of a map.
func (e *Evaluator) each(v value) cursor {
	c := cursor{of: v}
	if v.form == formJSON || v.form == formClaims {
		c.json = jsonCursor{text: v.s, pos: 1}
	}
	return c
}

// next goes to the next element and reports whether there is one.
func (e *Evaluator) next(c *cursor) bool {
	if e.charge(1); e.cond.steps < 0 {
		return false
	}
	switch c.of.form {
	case formStack:
		if c.at == int(c.of.count) {
			return false
		}
		c.value = e.cond.stack[int(c.of.n)+c.at]
	case formGroups:
		return c.text(e.groupNames)
	case formRoles:
		return c.text(e.roleNames)
	case formJSON, formClaims:
		return e.nextJSON(c)
	case formHeaders:
		return e.nextHeader(c)
	default:
		return e.nextParam(c)
	}
	c.at++
	return true
}

func (c *cursor) text(of []string) bool {
	if c.at == len(of) {
		return false
	}
	c.value = stringValue(of[c.at])
	c.at++
	return true
}

func (e *Evaluator) nextJSON(c *cursor) bool {
	start := c.json.pos
	if !c.json.next(c.of.kind == kindMap) {
		if c.json.bad {
			e.abandon()
		}
		return false
	}
	e.charge((c.json.pos - start) / scanBytes)
	if c.of.kind == kindMap {
		c.value = e.jsonString(c.json.name)
	} else {
		c.value = e.jsonValue(c.json.value)
	}
	return true
}

// nextHeader goes to the next header whose name did not come before.
func (e *Evaluator) nextHeader(c *cursor) bool {
	headers := e.req.Headers
	for ; c.at < len(headers); c.at++ {
		name := headers[c.at][0]
		e.charge(c.at / scanBytes)
		if e.shown(name) && !repeated(headers[:c.at], name) {
			c.value = stringValue(name)
			c.at++
			return true
		}
	}
	return false
}

// nextParam goes to the next value of a parameter, or, in the whole query, to
// the next parameter whose name did not come before.
func (e *Evaluator) nextParam(c *cursor) bool {
	params := e.query.params
	for ; c.at < len(params); c.at++ {
		p := &params[c.at]
		switch {
		case c.of.form == formParam && p[0] == c.of.s:
			c.value = stringValue(p[1])
		case c.of.form == formQuery && !e.repeatedParam(c.at):
			c.value = stringValue(p[0])
		default:
			e.charge(1)
			continue
		}
		c.at++
		return true
	}
	return false
}

func (e *Evaluator) repeatedParam(i int) bool {
	e.charge(i / scanBytes)
	return repeated(e.query.params[:i], e.query.params[i][0])
}

// repeated reports whether a name is among pairs.
func repeated(pairs [][2]string, name string) bool {
	for i := range pairs {
		if pairs[i][0] == name {
			return true
		}
	}
	return false
}

// length returns how many elements a list, or keys a map, has.
func (e *Evaluator) length(v value) int {
	switch v.form {
	case formStack:
		return int(v.count)
	case formGroups:
		return len(e.groupNames)
	case formRoles:
		return len(e.roleNames)
	}
	n := 0
	for c := e.each(v); e.next(&c); {
		n++
	}
	return n
}

func (e *Evaluator) size(v value) value {
	switch v.kind {
	case kindString:
		e.charge(len(v.s) / scanBytes)
		return intValue(utf8.RuneCountInString(v.s))
	case kindList, kindMap:
		if v.open() {
			return e.unknown()
		}
		return intValue(e.length(v))
	}
	return value{}
}

func (e *Evaluator) in(x, of value) value {
	switch {
	case of.kind == kindMap:
		return boolValue(x.kind == kindString && e.field(of, x.s).kind != kindError)
	case of.kind != kindList:
		return value{}
	case of.form == formGroups:
		return e.inTexts(x, of, e.groupNames)
	case of.form == formRoles:
		return e.inTexts(x, of, e.roleNames)
	}
	for c := e.each(of); e.next(&c); {
		if e.equal(x, c.value, 0) {
			return boolValue(true)
		}
	}
	return boolValue(false)
}

func (e *Evaluator) inTexts(x, of value, texts []string) value {
	e.charge(len(texts))
	found := x.kind == kindString && contains(texts, x.s)
	if !found && of.open() {
		return e.unknown()
	}
	return boolValue(found)
}

// field returns the value of a key, an error if it has none.
func (e *Evaluator) field(v value, key string) value {
	if v.kind != kindMap {
		return value{}
	}
	switch v.form {
	case formClaims:
		return e.claim(v.s, key)
	case formHeaders:
		return e.header(key)
	case formQuery:
		e.charge(len(e.query.params) / scanBytes)
		if !repeated(e.query.params, key) {
			return value{}
		}
		return value{kind: kindList, form: formParam, s: key}
	}
	return e.member(v.s, key)
}

// has is has(v.<key>). Of what can't have keys cel-go says no, except that of a
// list, which has numbers for keys, it is an error.
func (e *Evaluator) has(v value, key string) value {
	if v.kind == kindError || v.kind == kindList {
		return value{}
	}
	return boolValue(e.field(v, key).kind != kindError)
}

// index is v[at]: at a number that is whole for lists, a key for maps.
func (e *Evaluator) index(v, at value) value {
	if v.kind == kindMap && at.kind == kindString {
		return e.field(v, at.s)
	}
	if v.kind != kindList {
		return value{}
	}
	n := at.n
	switch at.kind {
	case kindDouble:
		d := at.double()
		if d != math.Trunc(d) || d < 0 || d > math.MaxInt32 {
			return value{}
		}
		n = int64(d)
	case kindInt, kindUint:
	default:
		return value{}
	}
	if n < 0 || v.form == formStack && n >= int64(v.count) {
		return value{}
	}
	for c := e.each(v); e.next(&c); n-- {
		if n == 0 {
			return c.value
		}
	}
	return value{}
}
