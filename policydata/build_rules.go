package policydata

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"
)

func (b *builder) addPolicy(p *Policy) error {
	if err := CheckName(p.Name); err != nil {
		return err
	}
	if _, dup := b.policies[p.Name]; dup {
		return errors.New("stands twice")
	}
	if len(p.Rules) > MaxRulesPerPolicy {
		return fmt.Errorf("has more than %d rules", MaxRulesPerPolicy)
	}
	id := uint32(len(b.policies))
	b.policies[p.Name] = id
	b.put(secPolicies, b.str(p.Name), b.count(secRules), uint32(len(p.Rules)))
	for i := range p.Rules {
		if err := b.addRule(id, uint32(i), &p.Rules[i]); err != nil {
			return fmt.Errorf("rule %d: %w", i, err)
		}
	}
	return nil
}

func (b *builder) addRule(policy, index uint32, r *Rule) error {
	var flags uint32
	if r.Effect == EffectAllow {
		flags |= rfAllow
	}
	if len(r.Hosts) == 0 {
		flags |= rfAnyHost
	}
	name, err := ruleNameOf(index, r.Name)
	if err != nil {
		return err
	}
	bits, methodFirst, methodCount, err := b.addMethods(r.Methods)
	if err != nil {
		return err
	}
	hostFirst, hostCaptures, err := b.addHosts(r.Hosts)
	if err != nil {
		return err
	}
	pathCaptures, err := b.addPaths(b.count(secRules), r.Paths)
	if err != nil {
		return err
	}
	exprFirst := b.count(secExprs)
	when := uint32(none)
	if r.When != nil {
		if len(r.Text) > MaxConditionBytes {
			return fmt.Errorf("condition: has more than %d bytes", MaxConditionBytes)
		}
		if err := checkCondition(r.When, pathCaptures, hostCaptures); err != nil {
			return fmt.Errorf("condition: %w", err)
		}
		b.addExpr(r.When)
		when = b.str(r.Text)
	}
	b.put(
		secRules, b.str(name), policy, index, flags, bits, methodFirst, methodCount,
		hostFirst, uint32(len(r.Hosts)), exprFirst, b.count(secExprs)-exprFirst, when,
	)
	return nil
}

// ruleNameOf returns the name that decisions report: the rule's own, or "#" and
// its index.
func ruleNameOf(index uint32, name string) (string, error) {
	if name == "" {
		return "#" + strconv.FormatUint(uint64(index), 10), nil
	}
	if len(name) > MaxNameBytes || !utf8.ValidString(name) || name[0] == '#' {
		return "", fmt.Errorf("name %q: at most %d bytes of UTF-8, not beginning with #", name, MaxNameBytes)
	}
	return name, nil
}

func (b *builder) addMethods(methods []string) (bits, first, count uint32, err error) {
	if len(methods) == 0 {
		return 0, 0, 0, errors.New("has no methods")
	}
	first = b.count(secMethods)
	for _, m := range methods {
		if err := CheckMethod(m); err != nil {
			return 0, 0, 0, err
		}
		switch m {
		case "*":
			bits |= mbAny
		case MethodsRead:
			bits |= mbGet | mbHead | mbOptions
		case MethodsWrite:
			bits |= mbPost | mbPut | mbPatch | mbDelete
		case MethodsPreflight:
			bits |= mbPreflight
		default:
			if bit := methodBit(m); bit != 0 {
				bits |= bit
				continue
			}
			b.put(secMethods, b.str(m))
		}
	}
	return bits, first, b.count(secMethods) - first, nil
}

// addHosts appends the host patterns and returns, by pattern, what each
// captures.
func (b *builder) addHosts(patterns []string) (first uint32, captures [][]string, err error) {
	if len(patterns) > MaxHostsPerRule {
		return 0, nil, fmt.Errorf("has more than %d hosts", MaxHostsPerRule)
	}
	first = b.count(secHosts)
	for _, p := range patterns {
		labels, err := parseHostPattern(p)
		if err != nil {
			return 0, nil, fmt.Errorf("host %q: %w", p, err)
		}
		captures = append(captures, captureNames(labels))
		var flags uint32
		switch {
		case p == HostAPI:
			flags = hfAPI
		case labels[0].kind == segAny:
			flags, labels = hfWild, labels[1:]
		}
		b.put(secHosts, flags, b.count(secLabels), uint32(len(labels)))
		for _, l := range slices.Backward(labels) {
			b.put(secLabels, uint32(l.kind), b.str(l.text))
		}
	}
	return first, captures, nil
}

// addPaths puts the path patterns of a rule into the trie and returns, by
// pattern, what each captures.
func (b *builder) addPaths(rule uint32, patterns []string) (captures [][]string, err error) {
	if len(patterns) == 0 || len(patterns) > MaxPathsPerRule {
		return nil, fmt.Errorf("has %d paths; it needs 1 to %d", len(patterns), MaxPathsPerRule)
	}
	for i, p := range patterns {
		segs, err := parsePathPattern(p)
		if err != nil {
			return nil, fmt.Errorf("path %q: %w", p, err)
		}
		captures = append(captures, captureNames(segs))
		b.addPattern(segs, trieTerminal{rule: rule, path: uint32(i), pattern: b.str(p)})
	}
	return captures, nil
}

// addExpr appends the tree breadth first: the arguments of a node stand one
// after the other, behind all nodes that came before it.
func (b *builder) addExpr(root *Expr) {
	queue := []*Expr{root}
	for i := 0; i < len(queue); i++ {
		e := queue[i]
		first := uint32(0)
		switch e.Op {
		case OpString, OpPathVar, OpHostVar:
			first = b.str(e.Str)
		case OpVar:
			first = uint32(e.Int)
		default:
			first = uint32(len(queue))
		}
		var value int64
		if e.Op == OpInt || e.Op == OpBool {
			value, first = e.Int, 0
		}
		rec := []byte{byte(e.Op), 0}
		rec = binary.LittleEndian.AppendUint16(rec, uint16(len(e.Args)))
		rec = binary.LittleEndian.AppendUint32(rec, first)
		rec = binary.LittleEndian.AppendUint64(rec, uint64(value))
		b.sections[secExprs] = append(b.sections[secExprs], rec...)
		queue = append(queue, e.Args...)
	}
}

// checkCondition checks types and bounds of a tree, and that its captures are
// bound by every pattern of the rule.
func checkCondition(e *Expr, pathCaptures, hostCaptures [][]string) error {
	nodes := 0
	t, err := exprType(e, 1, &nodes)
	if err != nil {
		return err
	}
	if t != typeBool {
		return errors.New("its value is not a bool")
	}
	return checkCaptureUse(e, pathCaptures, hostCaptures)
}

func checkCaptureUse(e *Expr, pathCaptures, hostCaptures [][]string) error {
	switch e.Op {
	case OpPathVar:
		return boundByAll("path", e.Str, pathCaptures)
	case OpHostVar:
		return boundByAll("host", e.Str, hostCaptures)
	}
	for _, a := range e.Args {
		if err := checkCaptureUse(a, pathCaptures, hostCaptures); err != nil {
			return err
		}
	}
	return nil
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

// exprKind is a static type of the condition language.
type exprKind uint8

const (
	typeString exprKind = 1 + iota
	typeInt
	typeBool
	typeList // plus the element's type; of the empty list, none
)

// exprType returns the static type of e, or what is wrong in it.
func exprType(e *Expr, depth int, nodes *int) (exprKind, error) {
	*nodes++
	if e == nil || *nodes > MaxExprNodes || depth > MaxExprDepth {
		return 0, fmt.Errorf("is larger than %d nodes or deeper than %d", MaxExprNodes, MaxExprDepth)
	}
	args := make([]exprKind, len(e.Args))
	for i, a := range e.Args {
		t, err := exprType(a, depth+1, nodes)
		if err != nil {
			return 0, err
		}
		args[i] = t
	}
	if len(e.Str) > MaxConditionBytes {
		return 0, fmt.Errorf("has a text of more than %d bytes", MaxConditionBytes)
	}
	t, ok := opType(e, args)
	if !ok {
		return 0, fmt.Errorf("operator %d has operands that do not fit", e.Op)
	}
	return t, nil
}

// opType returns the type of e, given those of its arguments, and whether they
// fit its operator.
func opType(e *Expr, args []exprKind) (exprKind, bool) {
	switch e.Op {
	case OpString, OpPathVar, OpHostVar:
		return typeString, len(args) == 0
	case OpInt:
		return typeInt, len(args) == 0
	case OpBool:
		return typeBool, len(args) == 0
	case OpVar:
		return varType(Var(e.Int)), len(args) == 0 && e.Int > 0 && e.Int < int64(numVars)
	case OpList:
		return listType(args)
	case OpNot:
		return typeBool, len(args) == 1 && args[0] == typeBool
	case OpSize:
		return typeInt, len(args) == 1 && (args[0] == typeString || args[0] >= typeList)
	}
	if len(args) != 2 {
		return 0, false
	}
	x, y := args[0], args[1]
	switch e.Op {
	case OpAnd, OpOr:
		return typeBool, x == typeBool && y == typeBool
	case OpEq, OpNe:
		return typeBool, x == y || x >= typeList && y == typeList || x == typeList && y >= typeList
	case OpLt, OpLe, OpGt, OpGe:
		return typeBool, x == y && x < typeList
	case OpIn:
		return typeBool, x < typeList && (y == typeList || y == typeList+x)
	case OpStartsWith, OpEndsWith, OpContains:
		return typeBool, x == typeString && y == typeString
	}
	return 0, false
}

func varType(v Var) exprKind {
	if v == VarTokenGroups || v == VarTokenRoles {
		return typeList + typeString
	}
	return typeString
}

func listType(elems []exprKind) (exprKind, bool) {
	if len(elems) == 0 {
		return typeList, true
	}
	same := !slices.ContainsFunc(elems, func(t exprKind) bool { return t != elems[0] })
	return typeList + elems[0], same && elems[0] < typeList
}
