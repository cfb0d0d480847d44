package policydata

// validate checks every offset, index and kind once, so that no look-up and no
// decision can run out of bounds, recurse without end or meet what it does not
// know.
func (s *Snapshot) validate() error {
	if err := s.validateHeader(); err != nil {
		return err
	}
	if err := s.validateSections(); err != nil {
		return err
	}
	v := validator{s: s}
	v.texts()
	v.tables()
	v.policies()
	v.rules()
	v.trie()
	v.principals()
	v.services()
	if v.err != nil {
		return v.err
	}
	issuers, err := decodeIssuers(s.text[s.section[secIssuers].offset:][:s.section[secIssuers].count])
	if err != nil {
		return &FormatError{int(s.section[secIssuers].offset), err.Error()}
	}
	s.issuers = issuers
	return nil
}

func (s *Snapshot) validateHeader() error {
	switch {
	case s.u64(hdrFeatures)&^knownFeatures != 0:
		return &FormatError{hdrFeatures, "uses a feature that is not known; it needs a newer reader"}
	case s.u32(hdrSections) != numSections:
		return &FormatError{hdrSections, "wrong number of sections"}
	case s.u32(hdrReserved) != 0:
		return &FormatError{hdrReserved, "reserved bytes are not zero"}
	}
	return nil
}

// validateSections checks that the sections stand one behind the other with
// nothing between but zeroes up to the next multiple of 8, and fills s.section.
func (s *Snapshot) validateSections() error {
	offset := uint64(headerBytes + numSections*sectionEntryBytes)
	for id := range uint32(numSections) {
		entry := headerBytes + id*sectionEntryBytes
		length := s.u32(entry + 12)
		end := offset + (uint64(length)+7)&^7
		switch {
		case s.u32(entry) != id || s.u32(entry+4) != recordBytes[id] || uint64(s.u32(entry+8)) != offset:
			return &FormatError{int(entry), "section table is not as expected"}
		case length%recordBytes[id] != 0 || end > uint64(s.length):
			return &FormatError{int(entry), "section of a wrong length"}
		}
		for i := offset + uint64(length); i < end; i++ {
			if s.text[i] != 0 {
				return &FormatError{int(i), "padding is not zero"}
			}
		}
		s.section[id] = span{uint32(offset), length / recordBytes[id]}
		offset = end
	}
	if offset != uint64(s.length) {
		return &FormatError{hdrLength, "bytes behind the last section"}
	}
	return nil
}

// validator notes the first thing that is wrong; after that it checks nothing.
type validator struct {
	s   *Snapshot
	err error
}

func (v *validator) fail(sec int, record uint32, reason string) {
	if v.err == nil {
		v.err = &FormatError{int(v.s.at(sec, record)), reason}
	}
}

// each runs check over all records of a section, until one fails.
func (v *validator) each(sec int, check func(i, rec uint32)) {
	for i := uint32(0); i < v.s.section[sec].count && v.err == nil; i++ {
		check(i, v.s.at(sec, i))
	}
}

// below checks that a record's field is an index into a section, or none where
// that is allowed.
func (v *validator) below(sec int, i, field uint32, into int, orNone bool) {
	x := v.s.field(sec, i, field)
	if x >= v.s.section[into].count && (!orNone || x != none) {
		v.fail(sec, i, "index out of range")
	}
}

// within checks that the two fields at field are a range of another section.
func (v *validator) within(sec int, i, field uint32, into int) {
	first, count := v.s.field(sec, i, field), v.s.field(sec, i, field+4)
	if uint64(first)+uint64(count) > uint64(v.s.section[into].count) {
		v.fail(sec, i, "range out of bounds")
	}
}

// lists checks that the range at field lies in the pool of lists, and that each
// item there is an index into a section.
func (v *validator) lists(sec int, i, field uint32, into int) {
	v.within(sec, i, field, secLists)
	if v.err != nil {
		return
	}
	first, count := v.s.field(sec, i, field), v.s.field(sec, i, field+4)
	for j := first; j < first+count; j++ {
		if v.s.listItem(j) >= v.s.section[into].count {
			v.fail(secLists, j, "index out of range")
			return
		}
	}
}

// ascending checks that records are sorted by the text at a field, each once.
func (v *validator) ascending(sec int, i, field uint32) {
	v.below(sec, i, field, secStrings, false)
	if i == 0 || v.err != nil {
		return
	}
	if v.s.str(v.s.field(sec, i-1, field)) >= v.s.str(v.s.field(sec, i, field)) {
		v.fail(sec, i, "names are not in ascending order")
	}
}

func (v *validator) texts() {
	text := uint64(v.s.section[secText].count)
	v.each(secStrings, func(i, rec uint32) {
		if uint64(v.s.u32(rec))+uint64(v.s.u32(rec+4)) > text {
			v.fail(secStrings, i, "text out of bounds")
		}
	})
	if v.s.section[secSeeds].count != numSeeds {
		v.fail(secSeeds, 0, "wrong number of hash seeds")
	}
}

// tables checks the hash tables: a power of two of slots, each empty or an
// index.
func (v *validator) tables() {
	for _, t := range []struct{ sec, into int }{
		{secUserIndex, secUsers},
		{secGroupIndex, secGroups},
		{secClaimIndex, secRoleClaims},
	} {
		v.powerOfTwo(t.sec)
		v.each(t.sec, func(i, _ uint32) { v.below(t.sec, i, 0, t.into, true) })
	}
	v.powerOfTwo(secEdges)
}

func (v *validator) powerOfTwo(sec int) {
	if n := v.s.section[sec].count; n == 0 || n&(n-1) != 0 {
		v.fail(sec, 0, "a hash table's size is not a power of two")
	}
}

func (v *validator) policies() {
	rules := uint32(0)
	v.each(secPolicies, func(i, rec uint32) {
		v.ascending(secPolicies, i, polName)
		if v.s.u32(rec+polRuleFirst) != rules {
			v.fail(secPolicies, i, "its rules do not follow those of the policy before")
		}
		v.within(secPolicies, i, polRuleFirst, secRules)
		if v.err == nil {
			rules += v.s.u32(rec + polRuleCount)
		}
	})
	if v.err == nil && rules != v.s.section[secRules].count {
		v.fail(secRules, rules, "rules without a policy")
	}
}

func (v *validator) rules() {
	v.each(secRules, func(i, rec uint32) {
		v.below(secRules, i, ruleName, secStrings, false)
		v.below(secRules, i, ruleWhen, secStrings, true)
		v.below(secRules, i, rulePolicy, secPolicies, false)
		v.within(secRules, i, ruleMethodFirst, secMethods)
		v.within(secRules, i, ruleHostFirst, secHosts)
		v.within(secRules, i, ruleExprFirst, secExprs)
		if v.err != nil {
			return
		}
		flags, bits := v.s.u32(rec+ruleFlags), v.s.u32(rec+ruleMethodBits)
		anyHost := flags&rfAnyHost != 0
		if flags&^rfAll != 0 || bits&^mbAll != 0 || anyHost != (v.s.u32(rec+ruleHostCount) == 0) {
			v.fail(secRules, i, "unknown or contradictory flags")
		}
		if first := v.s.field(secPolicies, v.s.u32(rec+rulePolicy), polRuleFirst); i < first || i-first != v.s.u32(rec+ruleIndex) {
			v.fail(secRules, i, "its policy or index is wrong")
		}
		v.expr(i, v.s.u32(rec+ruleExprFirst), v.s.u32(rec+ruleExprCount))
	})
	v.each(secMethods, func(i, _ uint32) { v.below(secMethods, i, 0, secStrings, false) })
	v.each(secHosts, func(i, rec uint32) {
		v.within(secHosts, i, hostLabelFirst, secLabels)
		if v.s.u32(rec+hostFlags)&^hfAll != 0 {
			v.fail(secHosts, i, "unknown flags")
		}
	})
	v.each(secLabels, func(i, rec uint32) {
		v.below(secLabels, i, labelText, secStrings, false)
		if k := segmentKind(v.s.u32(rec + labelKind)); k != segLiteral && k != segCapture {
			v.fail(secLabels, i, "unknown kind of label")
		}
	})
}

// expr checks that a rule's condition is a tree laid out breadth first: each
// node's arguments stand where those of the node before ended, so a node has
// one parent, before it, and evaluation ends. Types are checked as Build does.
func (v *validator) expr(rule, first, count uint32) {
	if count == 0 || v.err != nil {
		return
	}
	if count > MaxExprNodes {
		v.fail(secRules, rule, "condition too large")
		return
	}
	next := uint32(1)
	for i := range count {
		rec := v.s.at(secExprs, first+i)
		op, args, x := v.s.exprNode(rec)
		switch op {
		case OpString, OpPathVar, OpHostVar:
			if x >= v.s.section[secStrings].count {
				v.fail(secExprs, first+i, "text out of range")
			}
		case OpVar, OpInt, OpBool:
		default:
			if x != next || args > count-next {
				v.fail(secExprs, first+i, "arguments out of place")
				return
			}
		}
		next += args
	}
	if next != count {
		v.fail(secExprs, first, "a condition is not one tree")
		return
	}
	v.exprTypes(first, count)
}

// exprTypes checks operators and operands from the leaves up.
func (v *validator) exprTypes(first, count uint32) {
	var types [MaxExprNodes]exprKind
	var depth [MaxExprNodes]uint8
	for i := count; i > 0; i-- {
		op, args, x := v.s.exprNode(v.s.at(secExprs, first+i-1))
		e := Expr{Op: op, Int: int64(x)}
		var operands []exprKind
		if args > 0 {
			operands = types[x : x+args]
			for _, d := range depth[x : x+args] {
				depth[i-1] = max(depth[i-1], d+1)
			}
		}
		t, ok := opType(&e, operands)
		if !ok || depth[i-1] >= MaxExprDepth {
			v.fail(secExprs, first+i-1, "operands do not fit, or too deep")
			return
		}
		types[i-1] = t
	}
	if types[0] != typeBool {
		v.fail(secExprs, first, "a condition is not a bool")
	}
}

// exprNode reads an expression node: operator, number of arguments, and the
// index of the first, string id or variable.
func (s *Snapshot) exprNode(rec uint32) (op Op, args, x uint32) {
	head := s.u32(rec)
	return Op(head & 0xFF), head >> 16, s.u32(rec + exprFirst)
}

func (v *validator) trie() {
	if v.s.section[secNodes].count == 0 {
		v.fail(secNodes, 0, "the trie has no root")
	}
	v.each(secNodes, func(i, rec uint32) {
		v.below(secNodes, i, nodeWild, secNodes, true)
		v.within(secNodes, i, nodeExactFirst, secTerminals)
		v.within(secNodes, i, nodeTailFirst, secTerminals)
		if wild := v.s.u32(rec + nodeWild); wild != none && wild <= i {
			v.fail(secNodes, i, "a node leads back")
		}
		v.sortedTerminals(rec + nodeExactFirst)
		v.sortedTerminals(rec + nodeTailFirst)
	})
	v.each(secEdges, func(i, rec uint32) {
		parent, child := v.s.u32(rec+edgeParent), v.s.u32(rec+edgeChild)
		if parent == none {
			return
		}
		v.below(secEdges, i, edgeParent, secNodes, false)
		v.below(secEdges, i, edgeChild, secNodes, false)
		v.below(secEdges, i, edgeText, secStrings, false)
		if child <= parent {
			v.fail(secEdges, i, "an edge leads back")
		}
	})
	v.each(secTerminals, func(i, rec uint32) {
		v.below(secTerminals, i, termRule, secRules, false)
		v.below(secTerminals, i, termPattern, secStrings, false)
		v.within(secTerminals, i, termCapFirst, secCaptures)
		if v.s.u32(rec+termReserved) != 0 {
			v.fail(secTerminals, i, "reserved bytes are not zero")
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

func (v *validator) principals() {
	v.each(secUsers, func(i, rec uint32) {
		v.ascending(secUsers, i, userName)
		v.lists(secUsers, i, userPolFirst, secPolicies)
		v.lists(secUsers, i, userGroupFirst, secGroups)
		v.lists(secUsers, i, userRoleFirst, secRoles)
		v.flags(secUsers, i, rec+userFlags, flagDisabled)
	})
	v.each(secGroups, func(i, _ uint32) {
		v.ascending(secGroups, i, groupName)
		v.lists(secGroups, i, groupPolFirst, secPolicies)
		v.lists(secGroups, i, groupRoleFirst, secRoles)
	})
	v.each(secRoles, func(i, rec uint32) {
		v.ascending(secRoles, i, roleName)
		v.lists(secRoles, i, rolePolFirst, secPolicies)
		v.flags(secRoles, i, rec+roleFlags, flagGoverning)
	})
	v.each(secRoleClaims, func(i, _ uint32) {
		v.ascending(secRoleClaims, i, claimValue)
		v.lists(secRoleClaims, i, claimRoleFirst, secRoles)
	})
}

func (v *validator) flags(sec int, i, offset, known uint32) {
	if v.err == nil && v.s.u32(offset)&^known != 0 {
		v.fail(sec, i, "unknown flags")
	}
}

func (v *validator) services() {
	v.each(secDelegations, func(i, rec uint32) {
		v.below(secDelegations, i, delRole, secRoles, false)
		v.lists(secDelegations, i, delUserFirst, secStrings)
		v.lists(secDelegations, i, delGroupFirst, secStrings)
		v.flags(secDelegations, i, rec+delFlags, flagAllUsers)
	})
	v.each(secServices, func(i, rec uint32) {
		v.ascending(secServices, i, svcName)
		v.below(secServices, i, svcRole, secRoles, false)
		v.within(secServices, i, svcDelFirst, secDelegations)
		v.flags(secServices, i, rec+svcFlags, flagDisabled)
	})
	v.each(secIdentities, func(i, _ uint32) {
		v.below(secIdentities, i, identIssuer, secStrings, false)
		v.below(secIdentities, i, identClient, secStrings, false)
		v.below(secIdentities, i, identSubject, secStrings, true)
		v.below(secIdentities, i, identSvc, secServices, false)
		if v.err == nil && i > 0 && compareIdentity(v.s.identity(i-1), v.s.identity(i)) > 0 {
			v.fail(secIdentities, i, "identities are not in ascending order")
		}
	})
}
