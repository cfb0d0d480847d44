package policydata

import (
	"strings"
	"unicode/utf8"
)

// condResult is what a condition comes to.
type condResult uint8

const (
	condError condResult = iota // the zero value: what is not known does not hold
	condFalse
	condTrue
)

// value is a value of the condition language. The zero value is an error,
// which spreads as CEL says: through every operator but && and ||, which an
// operand that decides alone saves from it.
type value struct {
	kind  exprKind // 0: error
	n     int64    // int, or bool as 0 and 1
	s     string
	texts []string // list that is a variable
	node  uint32   // list that is a constant: its node
	root  uint32
}

func boolValue(b bool) value {
	if b {
		return value{kind: typeBool, n: 1}
	}
	return value{kind: typeBool}
}

// condition evaluates the tree whose root is expression node root. Load saw to
// it that it is a tree of at most MaxExprNodes, each visited at most once.
func (e *Evaluator) condition(root uint32) condResult {
	v := e.eval(root, 0)
	switch {
	case v.kind != typeBool:
		return condError
	case v.n == 0:
		return condFalse
	}
	return condTrue
}

// eval evaluates node i of the tree at root.
func (e *Evaluator) eval(root, i uint32) value {
	rec := e.snap.at(secExprs, root+i)
	op, _, x := e.snap.exprNode(rec)
	switch op {
	case OpString:
		return value{kind: typeString, s: e.snap.str(x)}
	case OpInt:
		return value{kind: typeInt, n: int64(e.snap.u64(rec + exprInt))}
	case OpBool:
		return boolValue(e.snap.u64(rec+exprInt) != 0)
	case OpList:
		return value{kind: typeList, node: i, root: root}
	case OpVar:
		return e.variable(Var(x))
	case OpPathVar:
		return textValue(e.pathCapture(x))
	case OpHostVar:
		return textValue(e.hostCapture(x))
	case OpAnd, OpOr:
		return e.logic(root, x, op == OpOr)
	case OpNot:
		v := e.eval(root, x)
		if v.kind != typeBool {
			return value{}
		}
		return boolValue(v.n == 0)
	case OpSize:
		return e.size(e.eval(root, x))
	}
	return e.binary(op, e.eval(root, x), e.eval(root, x+1))
}

func textValue(s string, ok bool) value {
	if !ok {
		return value{}
	}
	return value{kind: typeString, s: s}
}

func (e *Evaluator) variable(v Var) value {
	if e.partial != nil && v.ofRequest() {
		return value{}
	}
	text := ""
	switch v {
	case VarTokenGroups:
		return value{kind: typeList, texts: e.groupNames, node: none}
	case VarTokenRoles:
		return value{kind: typeList, texts: e.roleNames, node: none}
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
	return value{kind: typeString, s: text}
}

// logic is && and ||: an operand that decides alone does so even if the other
// is an error, on either side (CEL specification, "Logical Operators").
func (e *Evaluator) logic(root, x uint32, decides bool) value {
	left := e.eval(root, x)
	if left.kind == typeBool && (left.n != 0) == decides {
		return boolValue(decides)
	}
	right := e.eval(root, x+1)
	switch {
	case right.kind == typeBool && (right.n != 0) == decides:
		return boolValue(decides)
	case left.kind != typeBool || right.kind != typeBool:
		return value{}
	}
	return boolValue(!decides)
}

func (e *Evaluator) size(v value) value {
	switch v.kind {
	case typeString:
		return value{kind: typeInt, n: int64(utf8.RuneCountInString(v.s))}
	case typeList:
		n := e.length(v)
		for i := range n {
			if e.element(v, i).kind == 0 {
				return value{}
			}
		}
		return value{kind: typeInt, n: int64(n)}
	}
	return value{}
}

func (e *Evaluator) binary(op Op, x, y value) value {
	if x.kind == 0 || y.kind == 0 {
		return value{}
	}
	switch op {
	case OpEq, OpNe:
		return e.equal(x, y, op == OpNe)
	case OpLt:
		return boolValue(compareValues(x, y) < 0)
	case OpLe:
		return boolValue(compareValues(x, y) <= 0)
	case OpGt:
		return boolValue(compareValues(x, y) > 0)
	case OpGe:
		return boolValue(compareValues(x, y) >= 0)
	case OpIn:
		return e.inList(x, y)
	case OpStartsWith:
		return boolValue(strings.HasPrefix(x.s, y.s))
	case OpEndsWith:
		return boolValue(strings.HasSuffix(x.s, y.s))
	case OpContains:
		return boolValue(strings.Contains(x.s, y.s))
	}
	return value{}
}

func compareValues(x, y value) int {
	if x.kind == typeString {
		return strings.Compare(x.s, y.s)
	}
	switch {
	case x.n < y.n:
		return -1
	case x.n > y.n:
		return 1
	}
	return 0
}

// equal is == and, negated, !=. Lists are equal element by element. Like every
// use of a list it evaluates each element once, so that nested lists do not
// multiply; an element that errs makes all of it an error.
func (e *Evaluator) equal(x, y value, negated bool) value {
	if x.kind != typeList {
		return boolValue((compareValues(x, y) == 0) != negated)
	}
	n, m := e.length(x), e.length(y)
	same := n == m
	for i := range max(n, m) {
		left, right := value{kind: typeInt}, value{kind: typeInt}
		if i < n {
			left = e.element(x, i)
		}
		if i < m {
			right = e.element(y, i)
		}
		if left.kind == 0 || right.kind == 0 {
			return value{}
		}
		same = same && compareValues(left, right) == 0
	}
	return boolValue(same != negated)
}

func (e *Evaluator) inList(x, list value) value {
	if list.node == none {
		return boolValue(contains(list.texts, x.s))
	}
	found := false
	for i := range e.length(list) {
		v := e.element(list, i)
		if v.kind == 0 {
			return value{}
		}
		found = found || compareValues(x, v) == 0
	}
	return boolValue(found)
}

func (e *Evaluator) length(list value) uint32 {
	if list.node == none {
		return uint32(len(list.texts))
	}
	_, args, _ := e.snap.exprNode(e.snap.at(secExprs, list.root+list.node))
	return args
}

func (e *Evaluator) element(list value, i uint32) value {
	if list.node == none {
		return value{kind: typeString, s: list.texts[i]}
	}
	_, _, x := e.snap.exprNode(e.snap.at(secExprs, list.root+list.node))
	return e.eval(list.root, x+i)
}
