package policydata

import (
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
// told once is not told again.
func (e *Evaluator) tellPart(root, i uint32, t *ConditionTrace, decides bool) {
	op, args, x := e.snap.exprNode(e.snap.at(secExprs, root+i))
	v := e.eval(root, i)
	for k := range args {
		e.tellPart(root, x+k, t, decides && e.decidesOperand(op, v, root, x+k))
	}
	if op == OpString || op == OpInt || op == OpBool || op == OpList {
		return
	}
	part := PartTrace{Expr: e.snap.exprText(root, i), Decides: decides && v.kind == typeBool && !connects(op)}
	if v.kind == 0 {
		part.Error, part.Decides = true, decides && !connects(op)
	} else {
		part.Value = e.plain(v)
	}
	for k := range t.Parts {
		if t.Parts[k].Expr == part.Expr {
			t.Parts[k].Decides = t.Parts[k].Decides || part.Decides
			return
		}
	}
	t.Parts = append(t.Parts, part)
}

// connects reports whether an operator only puts conditions together.
func connects(op Op) bool { return op == OpAnd || op == OpOr || op == OpNot }

// decidesOperand reports whether an operand is one of those that make what an
// operator came to: one alone can make && false and || true.
func (e *Evaluator) decidesOperand(op Op, v value, root, operand uint32) bool {
	if op != OpAnd && op != OpOr || v.kind != typeBool {
		return true
	}
	if alone := op == OpOr; (v.n != 0) != alone {
		return true // both were needed
	}
	w := e.eval(root, operand)
	return w.kind == typeBool && w.n == v.n
}

// plain returns a value as Go has it: string, int64, bool, or a list of these.
func (e *Evaluator) plain(v value) any {
	switch v.kind {
	case typeString:
		return v.s
	case typeInt:
		return v.n
	case typeBool:
		return v.n != 0
	}
	list := []any{}
	for i := range e.length(v) {
		list = append(list, e.plain(e.element(v, i)))
	}
	return list
}

// varTexts are the names of the variables in the source of conditions.
var varTexts = [numVars]string{
	VarRequestMethod: "request.method", VarRequestPath: "request.path", VarRequestHost: "request.host",
	VarTokenIss: "token.iss", VarTokenSub: "token.sub", VarTokenGroups: "token.groups", VarTokenRoles: "token.roles",
	VarUserName: "user.name", VarServiceName: "service.name",
}

var opTexts = [numOps]string{
	OpAnd: "&&", OpOr: "||", OpNot: "!", OpEq: "==", OpNe: "!=", OpLt: "<", OpLe: "<=", OpGt: ">", OpGe: ">=", OpIn: "in",
	OpStartsWith: "startsWith", OpEndsWith: "endsWith", OpContains: "contains", OpSize: "size",
}

// precedence of the operators that stand between operands (CEL specification,
// "Syntax"); 0 for all else.
func precedence(op Op) int {
	switch op {
	case OpOr:
		return 1
	case OpAnd:
		return 2
	case OpEq, OpNe, OpLt, OpLe, OpGt, OpGe, OpIn:
		return 3
	}
	return 0
}

// exprText writes node i of the tree at root as it may be written in a
// condition.
func (s *Snapshot) exprText(root, i uint32) string {
	rec := s.at(secExprs, root+i)
	op, args, x := s.exprNode(rec)
	operand := func(k uint32) string { return s.exprText(root, x+k) }
	switch op {
	case OpString:
		return strconv.Quote(s.str(x))
	case OpInt:
		return strconv.FormatInt(int64(s.u64(rec+exprInt)), 10)
	case OpBool:
		return strconv.FormatBool(s.u64(rec+exprInt) != 0)
	case OpVar:
		return varTexts[x]
	case OpPathVar:
		return "path." + s.str(x)
	case OpHostVar:
		return "host." + s.str(x)
	case OpList:
		var items []string
		for k := range args {
			items = append(items, operand(k))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case OpNot:
		return "!" + s.operandText(root, x, 4)
	case OpSize:
		return "size(" + operand(0) + ")"
	case OpStartsWith, OpEndsWith, OpContains:
		return s.operandText(root, x, 4) + "." + opTexts[op] + "(" + operand(1) + ")"
	}
	p := precedence(op)
	return s.operandText(root, x, p) + " " + opTexts[op] + " " + s.operandText(root, x+1, p+1)
}

// operandText writes an operand, in parentheses if it binds less than least.
func (s *Snapshot) operandText(root, i uint32, least int) string {
	text := s.exprText(root, i)
	op, _, _ := s.exprNode(s.at(secExprs, root+i))
	if p := precedence(op); p > 0 && p < least {
		return "(" + text + ")"
	}
	return text
}
