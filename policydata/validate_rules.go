package policydata

func (v *validator) rules() {
	v.each(secRules, func(i, rec uint32) {
		v.below(secRules, i, ruleName, secStrings, false)
		v.below(secRules, i, ruleWhen, secStrings, true)
		v.below(secRules, i, rulePolicy, secPolicies, false)
		v.follows(secRules, i, ruleMethodFirst, secMethods)
		v.follows(secRules, i, ruleHostFirst, secHosts)
		v.follows(secRules, i, ruleExprFirst, secExprs)
		if v.err != nil {
			return
		}
		flags, bits := v.s.u32(rec+ruleFlags), v.s.u32(rec+ruleMethodBits)
		anyHost := flags&rfAnyHost != 0
		if flags&^rfAll != 0 || bits&^mbAll != 0 || anyHost != (v.s.u32(rec+ruleHostCount) == 0) {
			v.fail(secRules, i, "unknown or contradictory flags")
		}
		policy := v.s.at(secPolicies, v.s.u32(rec+rulePolicy))
		index := i - v.s.u32(policy+polRuleFirst) // wraps where the policy begins later
		if index >= v.s.u32(policy+polRuleCount) || index != v.s.u32(rec+ruleIndex) {
			v.fail(secRules, i, "its policy or index is wrong")
		}
		v.condition(rec)
	})
	v.each(secMethods, func(i, _ uint32) { v.below(secMethods, i, 0, secStrings, false) })
	v.each(secHosts, func(i, rec uint32) {
		v.follows(secHosts, i, hostLabelFirst, secLabels)
		flags, api := v.s.u32(rec+hostFlags), v.s.u32(rec+hostLabelCount) == 0
		if flags&^hfWild != 0 && flags != hfAPI || api != (flags == hfAPI) {
			v.fail(secHosts, i, "unknown or contradictory flags")
		}
	})
	v.each(secLabels, func(i, rec uint32) {
		v.below(secLabels, i, labelText, secStrings, false)
		if k := segmentKind(v.s.u32(rec + labelKind)); k != segLiteral && k != segCapture {
			v.fail(secLabels, i, "unknown kind of label")
		}
	})
}

// trie checks that the nodes are one tree whose root is node 0: each other node
// has one parent, before it. So a walk ends, and meets no node twice.
func (v *validator) trie() {
	nodes := v.s.section[secNodes].count
	if nodes == 0 {
		v.fail(secNodes, 0, "the trie has no root")
		return
	}
	tree := parents{has: make([]bool, nodes), left: nodes - 1}
	v.each(secNodes, func(i, rec uint32) {
		v.follows(secNodes, i, nodeExactFirst, secTerminals)
		v.sortedTerminals(rec + nodeExactFirst)
		v.follows(secNodes, i, nodeTailFirst, secTerminals)
		v.sortedTerminals(rec + nodeTailFirst)
		if wild := v.s.u32(rec + nodeWild); wild != none && !tree.adopt(i, wild) {
			v.fail(secNodes, i, "the nodes are not a tree")
		}
	})
	v.each(secEdges, func(i, rec uint32) {
		parent := v.s.u32(rec + edgeParent)
		if parent == none {
			if v.s.u32(rec+edgeText) != none || v.s.u32(rec+edgeChild) != none {
				v.fail(secEdges, i, "a free slot that is not empty")
			}
			return
		}
		v.below(secEdges, i, edgeText, secStrings, false)
		if !tree.adopt(parent, v.s.u32(rec+edgeChild)) {
			v.fail(secEdges, i, "the nodes are not a tree")
		}
	})
	if tree.left != 0 {
		v.fail(secNodes, 0, "nodes that nothing leads to")
	}
	v.terminals()
}

// parents notes which nodes have a parent; left is how many still need one.
type parents struct {
	has  []bool
	left uint32
}

// adopt notes parent as the parent of child, where both can be that.
func (p *parents) adopt(parent, child uint32) bool {
	if child <= parent || uint64(child) >= uint64(len(p.has)) || p.has[child] {
		return false
	}
	p.has[child] = true
	p.left--
	return true
}

func (v *validator) terminals() {
	v.each(secTerminals, func(i, rec uint32) {
		v.below(secTerminals, i, termRule, secRules, false)
		v.below(secTerminals, i, termPattern, secStrings, false)
		v.follows(secTerminals, i, termCapFirst, secCaptures)
		if v.s.u32(rec+termCapCount) > MaxPatternSegments || v.s.u32(rec+termReserved) != 0 {
			v.fail(secTerminals, i, "too many captures, or reserved bytes that are not zero")
		}
	})
	v.each(secCaptures, func(i, rec uint32) {
		v.below(secCaptures, i, capName, secStrings, false)
		if v.s.u32(rec+capSegment) >= MaxPatternSegments {
			v.fail(secCaptures, i, "segment out of range")
		}
	})
}

// sortedTerminals checks that the range of terminals at offset is in the order
// of rules, by which they are searched.
func (v *validator) sortedTerminals(offset uint32) {
	if v.err != nil {
		return
	}
	first, count := v.s.u32(offset), v.s.u32(offset+4)
	for i := first + 1; i < first+count; i++ {
		if v.s.field(secTerminals, i-1, termRule) > v.s.field(secTerminals, i, termRule) {
			v.fail(secTerminals, i, "terminals are not in the order of rules")
			return
		}
	}
}
