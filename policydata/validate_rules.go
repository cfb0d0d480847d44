package policydata

func (v *validator) rules() {
	v.below(secRules, ruleName, secStrings, false)
	v.below(secRules, ruleWhen, secStrings, true)
	v.below(secRules, rulePolicy, secPolicies, false)
	v.follow(secRules, secMethods, ruleMethodFirst)
	v.follow(secRules, secHosts, ruleHostFirst)
	v.follow(secRules, secExprs, ruleExprFirst)
	v.ruleFields()
	v.below(secMethods, 0, secStrings, false)
	v.hosts()
}

func (v *validator) ruleFields() {
	if v.err != nil {
		return
	}
	records, size := v.s.records(secRules), stride(secRules)
	policies := v.s.records(secPolicies)
	for i := range v.s.section[secRules].count {
		rec := records[int(i)*size:][:size]
		flags, bits := word(rec, ruleFlags), word(rec, ruleMethodBits)
		anyHost := flags&rfAnyHost != 0
		if flags&^rfAll != 0 || bits&^mbAll != 0 || anyHost != (word(rec, ruleHostCount) == 0) {
			v.fail(secRules, i, "unknown or contradictory flags")
		}
		policy := int(word(rec, rulePolicy)) * stride(secPolicies)
		index := i - word(policies, policy+polRuleFirst) // wraps where the policy begins later
		if index >= word(policies, policy+polRuleCount) || index != word(rec, ruleIndex) {
			v.fail(secRules, i, "its policy or index is wrong")
		}
		if word(rec, ruleExprCount) > 0 {
			v.condition(v.s.at(secRules, i))
		}
		if v.err != nil {
			return
		}
	}
}

func (v *validator) hosts() {
	v.follow(secHosts, secLabels, hostLabelFirst)
	v.each(secHosts, func(i, rec uint32) {
		flags, api := v.s.u32(rec+hostFlags), v.s.u32(rec+hostLabelCount) == 0
		if flags&^hfWild != 0 && flags != hfAPI || api != (flags == hfAPI) {
			v.fail(secHosts, i, "unknown or contradictory flags")
		}
	})
	v.below(secLabels, labelText, secStrings, false)
	v.each(secLabels, func(i, rec uint32) {
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
	v.follow(secNodes, secTerminals, nodeExactFirst, nodeTailFirst)
	v.sortedTerminals(nodeExactFirst)
	v.sortedTerminals(nodeTailFirst)
	tree := parents{has: make([]bool, nodes), left: nodes - 1}
	v.wildcards(&tree)
	v.edges(&tree)
	if tree.left != 0 {
		v.fail(secNodes, 0, "nodes that nothing leads to")
	}
	v.terminals()
}

func (v *validator) wildcards(tree *parents) {
	if v.err != nil {
		return
	}
	records, size := v.s.records(secNodes), stride(secNodes)
	for i := range v.s.section[secNodes].count {
		if wild := word(records, int(i)*size+nodeWild); wild != none && !tree.adopt(i, wild) {
			v.fail(secNodes, i, "the nodes are not a tree")
			return
		}
	}
}

func (v *validator) edges(tree *parents) {
	if v.err != nil {
		return
	}
	records, size, strings := v.s.records(secEdges), stride(secEdges), v.s.section[secStrings].count
	for at := 0; at < len(records); at += size {
		parent := word(records, at+edgeParent)
		if parent == none {
			if word(records, at+edgeText) != none || word(records, at+edgeChild) != none {
				v.fail(secEdges, uint32(at/size), "a free slot that is not empty")
				return
			}
			continue
		}
		if word(records, at+edgeText) >= strings {
			v.fail(secEdges, uint32(at/size), "index out of range")
			return
		}
		if !tree.adopt(parent, word(records, at+edgeChild)) {
			v.fail(secEdges, uint32(at/size), "the nodes are not a tree")
			return
		}
	}
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
	v.below(secTerminals, termRule, secRules, false)
	v.below(secTerminals, termPattern, secStrings, false)
	v.follow(secTerminals, secCaptures, termCapFirst)
	records, size := v.s.records(secTerminals), stride(secTerminals)
	for at := 0; at < len(records); at += size {
		if word(records, at+termCapCount) > MaxPatternSegments || word(records, at+termReserved) != 0 {
			v.fail(secTerminals, uint32(at/size), "too many captures, or reserved bytes that are not zero")
			return
		}
	}
	v.below(secCaptures, capName, secStrings, false)
	records, size = v.s.records(secCaptures), stride(secCaptures)
	for at := 0; at < len(records); at += size {
		if word(records, at+capSegment) >= MaxPatternSegments {
			v.fail(secCaptures, uint32(at/size), "segment out of range")
			return
		}
	}
}

// sortedTerminals checks that the terminals in the range at a field of each node
// are in the order of rules, by which they are searched.
func (v *validator) sortedTerminals(field uint32) {
	if v.err != nil {
		return
	}
	nodes, nodeSize := v.s.records(secNodes), stride(secNodes)
	terminals, size := v.s.records(secTerminals), stride(secTerminals)
	for at := int(field); at < len(nodes); at += nodeSize {
		first, count := word(nodes, at), word(nodes, at+4)
		for i := first + 1; i < first+count; i++ {
			if word(terminals, int(i-1)*size+termRule) > word(terminals, int(i)*size+termRule) {
				v.fail(secTerminals, i, "terminals are not in the order of rules")
				return
			}
		}
	}
}
