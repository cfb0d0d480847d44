package policydata

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// asksHost reports whether a condition asks for a capture of the host.
func (e *Evaluator) asksHost(rec uint32) bool {
	first := e.snap.u32(rec + ruleExprFirst)
	for i := range e.snap.u32(rec + ruleExprCount) {
		if op, _, _ := e.snap.exprNode(e.snap.at(secExprs, first+i)); op == OpHostVar {
			return true
		}
	}
	return false
}

// tellCondition tells what a condition and its parts came to, for the patterns
// that e.terminal and e.host are. Each part is evaluated as the whole was.
func (e *Evaluator) tellCondition(rec uint32, t *ConditionTrace, result condResult) {
	t.Result = [...]string{condError: ResultError, condFalse: ResultFalse, condTrue: ResultTrue}[result]
	t.Parts = nil
	e.tellPart(e.snap.u32(rec+ruleExprFirst), 0, t, true)
}

// tellPart tells of node i of the tree at root, its operands first. What was
// told once is not told again; what a macro asks of each element has no value of
// its own, and a map is told by what is taken out of it.
func (e *Evaluator) tellPart(root, i uint32, t *ConditionTrace, decides bool) {
	op, args, x := e.snap.exprNode(e.snap.at(secExprs, root+i))
	v := e.part(root, i)
	result := v.kind == kindBool && v.n != 0
	known := v.kind == kindBool
	plain, failed, isMap := e.plain(v), v.kind == kindError, v.kind == kindMap
	for k := range args {
		if !op.isMacro() || k == 0 {
			e.tellPart(root, x+k, t, decides && e.decidesOperand(op, known, result, root, x+k))
		}
	}
	if args == 0 && op != OpVar && op != OpPathVar && op != OpHostVar || op == OpList || isMap {
		return
	}
	part := PartTrace{Expr: e.snap.exprText(root, i), Value: plain, Error: failed}
	part.Decides = decides && (known || failed) && !connects(op)
	for k := range t.Parts {
		if t.Parts[k].Expr == part.Expr {
			t.Parts[k].Decides = t.Parts[k].Decides || part.Decides
			return
		}
	}
	t.Parts = append(t.Parts, part)
}

// part evaluates node i of the tree at root by itself, with steps of its own.
func (e *Evaluator) part(root, i uint32) value {
	e.cond.steps, e.cond.depth = MaxConditionSteps, 0
	e.cond.stack, e.cond.text = e.cond.stack[:0], e.cond.text[:0]
	v := e.eval(root, i)
	if e.cond.steps < 0 {
		return value{}
	}
	return v
}

// connects reports whether an operator only puts conditions together.
func connects(op Op) bool { return op == OpAnd || op == OpOr || op == OpNot }

// decidesOperand reports whether an operand is one of those that make what an
// operator came to: one alone can make && false and || true.
func (e *Evaluator) decidesOperand(op Op, known, result bool, root, operand uint32) bool {
	if op != OpAnd && op != OpOr || !known {
		return true
	}
	if alone := op == OpOr; result != alone {
		return true // both were needed
	}
	v := e.part(root, operand)
	return v.kind == kindBool && (v.n != 0) == result
}

// plain returns a copy of a value as Go has it: nil, bool, int64, uint64,
// float64, string, a time as in RFC 3339, or a list of these; of a map its keys.
func (e *Evaluator) plain(v value) any {
	switch v.kind {
	case kindString:
		return strings.Clone(v.s)
	case kindInt:
		return v.n
	case kindUint:
		return uint64(v.n)
	case kindDouble:
		if d := v.double(); d-d == 0 {
			return d
		}
		return strconv.FormatFloat(v.double(), 'g', -1, 64) // JSON has no infinity
	case kindBool:
		return v.n != 0
	case kindTime:
		return instantText(v)
	case kindList, kindMap:
		list := []any{}
		for c := e.each(v); e.next(&c); {
			list = append(list, e.plain(c.value))
		}
		return list
	}
	return nil
}

// instantText writes a timestamp as in RFC 3339.
func instantText(v value) string {
	part := func(p int) int64 { return timePart(v, p).n }
	text := fmt.Sprintf("%04d-%02d-%02dT%02d:%02d:%02d", part(PartFullYear), part(PartMonth)+1, part(PartDate),
		part(PartHours), part(PartMinutes), part(PartSeconds))
	if v.count != 0 {
		text += strings.TrimRight(fmt.Sprintf(".%09d", v.count), "0")
	}
	return text + "Z"
}

// varTexts are the names of the variables in the source of conditions.
var varTexts = [numVars]string{
	VarRequestMethod: "request.method", VarRequestPath: "request.path", VarRequestHost: "request.host",
	VarTokenIss: "token.iss", VarTokenSub: "token.sub", VarTokenGroups: "token.groups", VarTokenRoles: "token.roles",
	VarUserName: "user.name", VarServiceName: "service.name", VarRequestHeaders: "request.headers",
	VarRequestQuery: "request.query", VarRequestTime: "request.time", VarTokenClaims: "token.claims",
}

// partTexts are the functions that take a part of a timestamp.
var partTexts = [numParts]string{
	"getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear",
	"getHours", "getMinutes", "getSeconds", "getMilliseconds",
}

// localTexts stand for the variables of macros, whose names are not kept.
var localTexts = [MaxMacroDepth]string{"x", "y", "z", "w"}

// operators are those that stand between operands.
var operators = map[Op]string{
	OpOr: "||", OpAnd: "&&", OpEq: "==", OpNe: "!=", OpLt: "<", OpLe: "<=", OpGt: ">", OpGe: ">=", OpIn: "in", OpConcat: "+",
}

var methods = map[Op]string{OpStartsWith: "startsWith", OpEndsWith: "endsWith", OpContains: "contains", OpExists: "exists", OpAll: "all"}

// How strong operators bind (CEL specification, "Syntax").
const (
	bindsIf = 1 + iota
	bindsOr
	bindsAnd
	bindsCompare
	bindsAdd
	bindsNot
	bindsMember
)

func (op Op) binds() int {
	switch op {
	case OpIf:
		return bindsIf
	case OpOr:
		return bindsOr
	case OpAnd:
		return bindsAnd
	case OpEq, OpNe, OpLt, OpLe, OpGt, OpGe, OpIn:
		return bindsCompare
	case OpConcat:
		return bindsAdd
	case OpNot:
		return bindsNot
	}
	return bindsMember
}

// exprText writes node i of the tree at root as it may be written in a
// condition.
func (s *Snapshot) exprText(root, i uint32) string { return s.nodeText(root, i, 0) }

// nodeText is exprText within a number of macros.
func (s *Snapshot) nodeText(root, i uint32, macros int) string {
	rec := s.at(secExprs, root+i)
	op, args, x := s.exprNode(rec)
	n := s.u64(rec + exprInt)
	if args == 0 && op != OpList {
		return s.leafText(op, x, n)
	}
	operand := func(k uint32, least int) string { return s.operandText(root, x+k, macros, least) }
	switch op {
	case OpList:
		var items []string
		for k := range args {
			items = append(items, operand(k, 0))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case OpNot:
		return "!" + operand(0, bindsMember)
	case OpSize:
		return "size(" + operand(0, 0) + ")"
	case OpField:
		return operand(0, bindsMember) + memberText(s.str(uint32(n)))
	case OpHas:
		return "has(" + operand(0, bindsMember) + memberText(s.str(uint32(n))) + ")"
	case OpIndex:
		return operand(0, bindsMember) + "[" + operand(1, 0) + "]"
	case OpIf:
		return operand(0, bindsOr) + " ? " + operand(1, bindsOr) + " : " + operand(2, bindsIf)
	case OpTimePart:
		return operand(0, bindsMember) + "." + partTexts[min(n, numParts-1)] + "()"
	case OpExists, OpAll:
		name := localTexts[min(macros, MaxMacroDepth-1)]
		return operand(0, bindsMember) + "." + methods[op] + "(" + name + ", " + s.operandText(root, x+1, macros+1, 0) + ")"
	case OpStartsWith, OpEndsWith, OpContains:
		return operand(0, bindsMember) + "." + methods[op] + "(" + operand(1, 0) + ")"
	}
	return operand(0, op.binds()) + " " + operators[op] + " " + operand(1, op.binds()+1)
}

// operandText writes an operand, in parentheses if it binds less than least.
func (s *Snapshot) operandText(root, i uint32, macros, least int) string {
	text := s.nodeText(root, i, macros)
	if op, _, _ := s.exprNode(s.at(secExprs, root+i)); op.binds() < least {
		return "(" + text + ")"
	}
	return text
}

func memberText(name string) string {
	if checkCaptureName(name) == nil { // an identifier
		return "." + name
	}
	return "[" + strconv.Quote(name) + "]"
}

// leafText writes a constant, a variable or a capture.
func (s *Snapshot) leafText(op Op, x uint32, n uint64) string {
	switch op {
	case OpString:
		return strconv.Quote(s.str(x))
	case OpInt:
		return strconv.FormatInt(int64(n), 10)
	case OpUint:
		return strconv.FormatUint(n, 10) + "u"
	case OpDouble:
		return strconv.FormatFloat(math.Float64frombits(n), 'g', -1, 64)
	case OpBool:
		return strconv.FormatBool(n != 0)
	case OpTime:
		return "timestamp(" + strconv.Quote(instantText(value{kind: kindTime, n: int64(n), count: x})) + ")"
	case OpVar:
		return varTexts[x]
	case OpPathVar:
		return "path." + s.str(x)
	case OpHostVar:
		return "host." + s.str(x)
	case OpLocal:
		return localTexts[min(x, MaxMacroDepth-1)]
	}
	return "null"
}
