package policydata

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// addExpr appends the tree breadth first: the arguments of a node stand one
// after the other, behind all nodes that came before it.
func (b *Builder) addExpr(root *Expr) {
	queue := []*Expr{root}
	for i := 0; i < len(queue); i++ {
		e := queue[i]
		first, value := uint32(len(queue)), int64(0)
		switch e.Op {
		case OpString, OpPathVar, OpHostVar:
			first = b.str(e.Str)
		case OpField, OpHas:
			value = int64(b.str(e.Str))
		case OpVar, OpLocal:
			first = uint32(e.Int)
		case OpInt, OpUint, OpDouble, OpTime:
			first, value = e.Nanos, e.Int
		case OpTimePart:
			value = e.Int
		case OpBool:
			first = 0
			if e.Int != 0 {
				value = 1
			}
		case OpNull:
			first = 0
		}
		rec := []byte{byte(e.Op), byte(len(e.Args))}
		rec = binary.LittleEndian.AppendUint16(rec, uint16(e.Pos))
		rec = binary.LittleEndian.AppendUint32(rec, first)
		rec = binary.LittleEndian.AppendUint64(rec, uint64(value))
		b.sections[secExprs] = append(b.sections[secExprs], rec...)
		queue = append(queue, e.Args...)
	}
}

// conditionCheck checks the form and the bounds of a tree, and that its captures
// are bound by every pattern of the rule.
type conditionCheck struct {
	textBytes                  int // of the condition as written
	pathCaptures, hostCaptures [][]string

	nodes int
}

// expr checks e, which stands at a depth, the root's being 1, within a number of
// macros.
func (c *conditionCheck) expr(e *Expr, depth, macros int) error {
	c.nodes++
	if e == nil || c.nodes > MaxExprNodes || depth > MaxExprDepth {
		return fmt.Errorf("is larger than %d nodes or deeper than %d", MaxExprNodes, MaxExprDepth)
	}
	if n, ok := e.Op.arity(); !ok || n != anyArgs && n != len(e.Args) {
		return fmt.Errorf("operator %d has %d operands", e.Op, len(e.Args))
	}
	if err := c.operand(e, macros); err != nil {
		return err
	}
	for i, a := range e.Args {
		within := macros
		if e.Op.isMacro() && i == 1 {
			within++
		}
		if err := c.expr(a, depth+1, within); err != nil {
			return err
		}
	}
	return nil
}

func (c *conditionCheck) operand(e *Expr, macros int) error {
	switch {
	case len(e.Str) > MaxConditionBytes:
		return fmt.Errorf("has a text of more than %d bytes", MaxConditionBytes)
	case e.Pos < 0 || e.Pos > c.textBytes:
		return errors.New("a part stands outside of its text")
	case !operandFits(e.Op, e.Int, e.Nanos, macros):
		return fmt.Errorf("operator %d has an operand that does not fit", e.Op)
	case e.Op == OpPathVar:
		return boundByAll("path", e.Str, c.pathCaptures)
	case e.Op == OpHostVar:
		return boundByAll("host", e.Str, c.hostCaptures)
	}
	return nil
}

// operandFits checks what an operator has beside its operands: the number n of
// variable, local or part, and the nanoseconds of a timestamp.
func operandFits(op Op, n int64, nanos uint32, macros int) bool {
	switch op {
	case OpVar:
		return n > 0 && n < int64(numVars)
	case OpLocal:
		return n >= 0 && n < int64(macros)
	case OpTimePart:
		return n >= 0 && n < numParts
	case OpTime:
		return nanos < 1e9
	case OpInt, OpUint, OpDouble:
		return nanos == 0
	case OpExists, OpAll:
		return macros < MaxMacroDepth
	}
	return true
}

func boundByAll(what, name string, captures [][]string) error {
	if len(captures) == 0 {
		return fmt.Errorf("%s.%s is not captured: the rule has no %ss", what, name, what)
	}
	for _, names := range captures {
		if !slices.Contains(names, name) {
			return fmt.Errorf("%s.%s is not captured by every one of the rule's %ss", what, name, what)
		}
	}
	return nil
}
