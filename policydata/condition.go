package policydata

import "strings"

// condResult is what a condition comes to.
type condResult uint8

const (
	condError condResult = iota // the zero value: what is not known does not hold
	condFalse
	condTrue
)

// scanBytes is how many bytes of text are looked through for one step.
const scanBytes = 32

// evaluation is what evaluating one condition needs. Its memory is kept from one
// to the next.
type evaluation struct {
	steps   int // that are left; below zero the condition is an error
	depth   uint32
	unknown bool                 // it asked for what is not known, see knowledge
	locals  [MaxMacroDepth]value // the variables of the macros being evaluated
	stack   []value              // the elements of lists
	text    []byte               // unescaped and joined strings
}

// condition evaluates the tree whose root is expression node root. Load saw to
// it that it is a tree; outside of macros each node is visited at most once, and
// e.steps bounds the rest. An error that comes of too many steps is no operand
// that && or || could save from: the whole condition errs.
func (e *Evaluator) condition(root uint32) condResult {
	e.cond.steps = MaxConditionSteps
	e.cond.depth, e.cond.unknown = 0, false
	e.cond.stack, e.cond.text = e.cond.stack[:0], e.cond.text[:0]
	v := e.eval(root, 0)
	switch {
	case v.kind != kindBool || e.cond.steps < 0:
		return condError
	case v.n == 0:
		return condFalse
	}
	return condTrue
}

// charge takes n steps from what is left.
func (e *Evaluator) charge(n int) { e.cond.steps -= n }

// abandon makes the condition an error, whatever else its parts come to.
func (e *Evaluator) abandon() value {
	e.cond.steps = -1
	return value{}
}

// unknown is what is not known, see knowledge.
func (e *Evaluator) unknown() value {
	e.cond.unknown = true
	return value{}
}

// names is a list of the principal's, which may have more than is known.
func (e *Evaluator) names(f form) value {
	v := value{kind: kindList, form: f}
	if e.partial != nil && e.partial.open() {
		v.n = 1
	}
	return v
}

// open reports whether a list may have more elements than are known.
func (v *value) open() bool {
	return v.kind == kindList && (v.form == formGroups || v.form == formRoles) && v.n != 0
}

// eval evaluates node i of the tree at root.
func (e *Evaluator) eval(root, i uint32) value {
	if e.cond.steps--; e.cond.steps < 0 {
		return value{}
	}
	rec := e.snap.at(secExprs, root+i)
	op, args, x := e.snap.exprNode(rec)
	switch op {
	case OpVar:
		return e.variable(Var(x))
	case OpPathVar:
		return stringOr(e.pathCapture(x))
	case OpHostVar:
		return stringOr(e.hostCapture(x))
	case OpAnd, OpOr:
		return e.logic(root, x, op == OpOr)
	case OpNot:
		v := e.eval(root, x)
		if v.kind != kindBool {
			return value{}
		}
		return boolValue(v.n == 0)
	case OpSize:
		return e.size(e.eval(root, x))
	case OpList:
		return e.list(root, x, args)
	case OpField:
		return e.field(e.eval(root, x), e.snap.str(e.snap.u32(rec+exprInt)))
	case OpHas:
		return e.has(e.eval(root, x), e.snap.str(e.snap.u32(rec+exprInt)))
	case OpIf:
		return e.choose(root, x)
	case OpExists, OpAll:
		return e.quantify(root, x, op == OpExists)
	case OpLocal:
		if x >= e.cond.depth {
			return value{}
		}
		return e.cond.locals[x]
	case OpTimePart:
		return timePart(e.eval(root, x), int(e.snap.u32(rec+exprInt)))
	}
	if args == 0 {
		return e.constant(op, x, e.snap.u64(rec+exprInt))
	}
	return e.binary(op, e.eval(root, x), e.eval(root, x+1))
}

func (e *Evaluator) constant(op Op, x uint32, n uint64) value {
	switch op {
	case OpString:
		return stringValue(e.snap.str(x))
	case OpInt:
		return value{kind: kindInt, n: int64(n)}
	case OpBool:
		return boolValue(n != 0)
	case OpNull:
		return value{kind: kindNull}
	case OpUint:
		return value{kind: kindUint, n: int64(n)}
	case OpDouble:
		return value{kind: kindDouble, n: int64(n)}
	case OpTime:
		return value{kind: kindTime, n: int64(n), count: x}
	}
	return value{}
}

func (e *Evaluator) variable(v Var) value {
	if e.partial != nil && !e.partial.knows(v) {
		return e.unknown()
	}
	text := ""
	switch v {
	case VarTokenGroups:
		return e.names(formGroups)
	case VarTokenRoles:
		return e.names(formRoles)
	case VarTokenClaims:
		return e.tokenClaims()
	case VarRequestHeaders:
		return value{kind: kindMap, form: formHeaders}
	case VarRequestQuery:
		if !e.query.read(e.req.Query) {
			return value{}
		}
		return value{kind: kindMap, form: formQuery}
	case VarRequestTime:
		return value{kind: kindTime, n: e.req.Time}
	case VarRequestMethod:
		text = e.req.Method
	case VarRequestPath:
		text = e.req.Path
	case VarRequestHost:
		text = e.req.Host
	case VarTokenIss:
		text = e.id.Iss
	case VarTokenSub:
		text = e.id.Subject
	case VarUserName:
		text = e.user
	case VarServiceName:
		text = e.service
	default:
		return value{}
	}
	return stringValue(text)
}

// logic is && and ||: an operand that decides alone does so even if the other
// is an error, on either side (CEL specification, "Logical Operators").
func (e *Evaluator) logic(root, x uint32, decides bool) value {
	left := e.eval(root, x)
	if left.kind == kindBool && (left.n != 0) == decides {
		return boolValue(decides)
	}
	right := e.eval(root, x+1)
	switch {
	case right.kind == kindBool && (right.n != 0) == decides:
		return boolValue(decides)
	case left.kind != kindBool || right.kind != kindBool:
		return value{}
	}
	return boolValue(!decides)
}

// choose is the conditional operator: the branch not taken is not evaluated.
func (e *Evaluator) choose(root, x uint32) value {
	c := e.eval(root, x)
	switch {
	case c.kind != kindBool:
		return value{}
	case c.n != 0:
		return e.eval(root, x+1)
	}
	return e.eval(root, x+2)
}

// list evaluates the elements of a list; one that errs makes all of it an error.
func (e *Evaluator) list(root, x, count uint32) value {
	first := len(e.cond.stack)
	for range count {
		e.cond.stack = append(e.cond.stack, value{})
	}
	for i := range count {
		v := e.eval(root, x+i)
		switch {
		case v.kind == kindError:
			return value{}
		case v.open():
			return e.unknown()
		}
		e.cond.stack[first+int(i)] = v
	}
	return value{kind: kindList, form: formStack, n: int64(first), count: count}
}

// quantify is exists(), which a true predicate decides, and all(), which a
// false one does: || and && over the elements of a list or the keys of a map.
func (e *Evaluator) quantify(root, x uint32, decides bool) value {
	over := e.eval(root, x)
	if over.kind != kindList && over.kind != kindMap || e.cond.depth >= MaxMacroDepth {
		return value{}
	}
	c := e.each(over)
	stack, text, slot := len(e.cond.stack), len(e.cond.text), e.cond.depth
	e.cond.depth++
	result := boolValue(!decides)
	for e.next(&c) {
		e.cond.locals[slot] = c.value
		v := e.eval(root, x+1)
		if v.kind == kindBool && (v.n != 0) == decides {
			result = boolValue(decides)
			break
		}
		if v.kind != kindBool {
			result = value{}
		}
		// Nothing of what the predicate made outlives it.
		e.cond.stack, e.cond.text = e.cond.stack[:stack], e.cond.text[:text]
	}
	e.cond.depth--
	if over.open() && (result.kind != kindBool || (result.n != 0) != decides) {
		return e.unknown()
	}
	return result
}

func (e *Evaluator) binary(op Op, x, y value) value {
	switch {
	case x.kind == kindError || y.kind == kindError:
		return value{}
	case x.open() || y.open() && op != OpIn:
		return e.unknown()
	}
	switch op {
	case OpEq:
		return boolValue(e.equal(x, y, 0))
	case OpNe:
		return boolValue(!e.equal(x, y, 0))
	case OpLt, OpLe, OpGt, OpGe:
		e.charge(min(len(x.s), len(y.s)) / scanBytes)
		return ordered(op, x, y)
	case OpIn:
		return e.in(x, y)
	case OpIndex:
		return e.index(x, y)
	}
	if x.kind != kindString || y.kind != kindString {
		return value{}
	}
	e.charge((len(x.s) + len(y.s)) / scanBytes)
	switch op {
	case OpStartsWith:
		return boolValue(strings.HasPrefix(x.s, y.s))
	case OpEndsWith:
		return boolValue(strings.HasSuffix(x.s, y.s))
	case OpContains:
		return boolValue(strings.Contains(x.s, y.s))
	case OpConcat:
		return e.concat(x, y)
	}
	return value{}
}

func ordered(op Op, x, y value) value {
	c, ok := compareValues(x, y)
	if !ok {
		return value{}
	}
	switch op {
	case OpLt:
		return boolValue(c < 0)
	case OpLe:
		return boolValue(c <= 0)
	case OpGt:
		return boolValue(c > 0)
	}
	return boolValue(c >= 0)
}

func (e *Evaluator) concat(x, y value) value {
	if e.cond.steps < 0 {
		return value{}
	}
	start := len(e.cond.text)
	e.cond.text = append(append(e.cond.text, x.s...), y.s...)
	return stringValue(textOf(e.cond.text[start:]))
}
