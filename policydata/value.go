package policydata

import (
	"cmp"
	"math"
	"strings"
	"unsafe"
)

// kind is a type of the condition language.
type kind uint8

const (
	kindError kind = iota // the zero value spreads through every operator but && and ||
	kindNull
	kindBool
	kindInt
	kindUint
	kindDouble
	kindString
	kindTime
	kindList
	kindMap
)

// form says where the elements of a list or map are.
type form uint8

const (
	formStack   form = iota // list: count values from number n of the stack
	formGroups              // list: the effective groups
	formRoles               // list: the roles
	formParam               // list: the values of the query's parameter s
	formJSON                // list or map: the text s
	formClaims              // map: the text s, which is the token's claims
	formHeaders             // map: the request's headers
	formQuery               // map: the query's parameters
)

// value is a value of the condition language.
type value struct {
	kind  kind
	form  form
	count uint32 // nanoseconds of a timestamp; number of elements, see form
	n     int64  // int; uint and double as their bits; bool as 0 and 1; seconds
	s     string
}

func boolValue(b bool) value {
	if b {
		return value{kind: kindBool, n: 1}
	}
	return value{kind: kindBool}
}

func intValue(n int) value { return value{kind: kindInt, n: int64(n)} }

func stringValue(s string) value { return value{kind: kindString, s: s} }

// stringOr returns s as a value, or an error.
func stringOr(s string, ok bool) value {
	if !ok {
		return value{}
	}
	return stringValue(s)
}

func (v *value) double() float64 { return math.Float64frombits(uint64(v.n)) }

// textOf returns bytes as a string that shares their memory. They must not
// change while the string is in use.
func textOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// compareValues orders two values: numbers of any kinds by what they are worth,
// and strings, bools and timestamps among themselves. Other values have no order.
func compareValues(x, y value) (int, bool) {
	if x.kind != y.kind {
		return compareNumbers(x, y)
	}
	switch x.kind {
	case kindString:
		return strings.Compare(x.s, y.s), true
	case kindInt, kindBool:
		return cmp.Compare(x.n, y.n), true
	case kindUint:
		return cmp.Compare(uint64(x.n), uint64(y.n)), true
	case kindDouble:
		return compareDoubles(x.double(), y.double()), true
	case kindTime:
		return cmp.Or(cmp.Compare(x.n, y.n), cmp.Compare(x.count, y.count)), true
	}
	return 0, false
}

// compareNumbers compares numbers of different kinds, a double against an
// integer as the double nearest to the integer, which is how cel-go does it.
func compareNumbers(x, y value) (int, bool) {
	if x.kind > y.kind {
		c, ok := compareNumbers(y, x)
		return -c, ok
	}
	switch {
	case x.kind == kindInt && y.kind == kindUint:
		if x.n < 0 || y.n < 0 { // as an int, a uint beyond these is negative
			return -1, true
		}
		return cmp.Compare(x.n, y.n), true
	case x.kind == kindInt && y.kind == kindDouble:
		return compareDoubles(float64(x.n), y.double()), true
	case x.kind == kindUint && y.kind == kindDouble:
		return compareDoubles(float64(uint64(x.n)), y.double()), true
	}
	return 0, false
}

// compareDoubles orders doubles; none here is ever NaN.
func compareDoubles(x, y float64) int {
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

// maxValueDepth bounds how deep lists and maps are compared. Claims and
// conditions are both less deep.
const maxValueDepth = 64

// equal is ==: values of kinds that can't be compared are not equal, lists are
// by element and maps by key.
func (e *Evaluator) equal(x, y value, depth int) bool {
	switch {
	case x.kind == kindList && y.kind == kindList:
		return e.equalLists(x, y, depth+1)
	case x.kind == kindMap && y.kind == kindMap:
		return e.equalMaps(x, y, depth+1)
	case x.kind == kindNull || y.kind == kindNull:
		return x.kind == y.kind
	}
	if x.kind == kindString && y.kind == kindString {
		if len(x.s) == len(y.s) {
			e.charge(len(x.s) / scanBytes)
		}
		return x.s == y.s
	}
	c, ok := compareValues(x, y)
	return ok && c == 0
}

func (e *Evaluator) equalLists(x, y value, depth int) bool {
	if depth > maxValueDepth {
		e.abandon()
		return false
	}
	a, b := e.each(x), e.each(y)
	for {
		more, also := e.next(&a), e.next(&b)
		if !more || !also {
			return more == also
		}
		if !e.equal(a.value, b.value, depth) {
			return false
		}
	}
}

func (e *Evaluator) equalMaps(x, y value, depth int) bool {
	if depth > maxValueDepth {
		e.abandon()
		return false
	}
	if e.length(x) != e.length(y) {
		return false
	}
	keys := e.each(x)
	for e.next(&keys) {
		mine, theirs := e.field(x, keys.value.s), e.field(y, keys.value.s)
		if theirs.kind == kindError || !e.equal(mine, theirs, depth) {
			return false
		}
	}
	return true
}
