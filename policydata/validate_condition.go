package policydata

// condition checks that a rule's condition is a tree laid out breadth first:
// each node's arguments stand where those of the node before ended, so a node
// has one parent, before it, and evaluation ends. Operands are checked as Build
// does; that their types fit is found out by evaluating. The rule is known to
// have one.
func (v *validator) condition(rule uint32) {
	first, count := v.s.u32(rule+ruleExprFirst), v.s.u32(rule+ruleExprCount)
	if count > MaxExprNodes {
		v.fail(secExprs, first, "condition too large")
		return
	}
	text := uint32(0)
	if when := v.s.u32(rule + ruleWhen); when != none {
		text = uint32(len(v.s.str(when)))
	}
	var depth, macros [MaxExprNodes]uint8 // of the nodes so far and their arguments
	next := uint32(1)
	for i := range count {
		rec := v.s.at(secExprs, first+i)
		op, args, x := v.s.exprNode(rec)
		if args > count-next || !v.exprFits(rec, next, int(macros[i])) || v.s.u32(rec)>>16 > text {
			v.fail(secExprs, first+i, "malformed operator or operand")
			return
		}
		for j := next; j < next+args; j++ {
			depth[j], macros[j] = depth[i]+1, macros[i]
			if op.isMacro() && j == x+1 {
				macros[j]++
			}
		}
		if depth[i] >= MaxExprDepth {
			v.fail(secExprs, first+i, "nested too deep")
			return
		}
		next += args
	}
	if next != count {
		v.fail(secExprs, first, "a condition is not one tree")
	}
}

// exprFits checks the fields of an expression node whose arguments must stand at
// next, counted from the root.
func (v *validator) exprFits(rec, next uint32, macros int) bool {
	op, args, x := v.s.exprNode(rec)
	n, ok := op.arity()
	if !ok || n != anyArgs && uint32(n) != args || n != 0 && x != next {
		return false
	}
	strings := v.s.section[secStrings].count
	value := v.s.u64(rec + exprInt)
	switch op {
	case OpString, OpPathVar, OpHostVar:
		return x < strings && value == 0
	case OpVar, OpLocal:
		return value == 0 && operandFits(op, int64(x), 0, macros)
	case OpField, OpHas:
		return value < uint64(strings)
	case OpTimePart:
		return operandFits(op, int64(value), 0, macros)
	case OpTime:
		return operandFits(op, 0, x, macros)
	case OpInt, OpUint, OpDouble:
		return x == 0
	case OpBool:
		return x == 0 && value <= 1
	case OpNull:
		return x == 0 && value == 0
	}
	return value == 0 && operandFits(op, 0, 0, macros)
}

// exprNode reads an expression node: operator, number of arguments, and the
// index of the first, or what else stands there.
func (s *Snapshot) exprNode(rec uint32) (op Op, args, x uint32) {
	head := s.u32(rec)
	return Op(head & 0xFF), head >> 8 & 0xFF, s.u32(rec + exprFirst)
}
