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
	v.lists()
	v.revoked()
	v.allUsed()
	if v.err != nil {
		return v.err
	}
	issuers, err := decodeIssuers(s.text[s.section[secIssuers].offset:][:s.section[secIssuers].count])
	if err != nil {
		return &FormatError{int(s.section[secIssuers].offset), err.Error()}
	}
	s.issuers, s.claimHeaders = issuers, claimHeaderNames(issuers)
	s.indexTerminals()
	s.authenticated, s.unauthenticated = s.findGroup(GroupAuthenticated), s.findGroup(GroupUnauthenticated)
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
// Its work is linear in the snapshot's size: records that own a range of
// another section own it alone, so nothing is looked at twice.
type validator struct {
	s    *Snapshot
	err  error
	next [numSections]uint32 // where the next range of a section must begin
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

// follows checks that the two fields at field are the range of another section
// that begins where the range before it ended: none overlaps another.
func (v *validator) follows(sec int, i, field uint32, into int) {
	v.within(sec, i, field, into)
	if v.err != nil {
		return
	}
	if v.s.field(sec, i, field) != v.next[into] {
		v.fail(sec, i, "range does not follow the one before")
		return
	}
	v.next[into] += v.s.field(sec, i, field+4)
}

// allUsed checks that no record is left that no range holds.
func (v *validator) allUsed() {
	for _, sec := range []int{
		secRules, secMethods, secHosts, secLabels, secExprs, secTerminals, secCaptures, secDelegations,
		secPolicyLists, secGroupLists, secRoleLists, secNameLists,
	} {
		if v.err == nil && v.next[sec] != v.s.section[sec].count {
			v.fail(sec, v.next[sec], "records that nothing refers to")
		}
	}
}

// lists checks the pools of lists: each item is an index into a section.
func (v *validator) lists() {
	for _, t := range []struct{ sec, into int }{
		{secPolicyLists, secPolicies},
		{secGroupLists, secGroups},
		{secRoleLists, secRoles},
		{secNameLists, secStrings},
	} {
		v.each(t.sec, func(i, _ uint32) { v.below(t.sec, i, 0, t.into, false) })
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
	v.each(secStrings, func(i, rec uint32) {
		v.follows(secStrings, i, 0, secText)
		if v.s.u32(rec+4) > maxTextBytes {
			v.fail(secStrings, i, "text too long")
		}
	})
	if v.err == nil && v.next[secText] != v.s.section[secText].count {
		v.fail(secText, v.next[secText], "text that no string holds")
	}
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
	v.each(secPolicies, func(i, _ uint32) {
		v.ascending(secPolicies, i, polName)
		v.follows(secPolicies, i, polRuleFirst, secRules)
	})
}

// principals checks sections in the order in which Build filled the pools of
// lists, that of their numbers.
func (v *validator) principals() {
	v.each(secUsers, func(i, rec uint32) {
		v.ascending(secUsers, i, userName)
		v.follows(secUsers, i, userPolFirst, secPolicyLists)
		v.follows(secUsers, i, userGroupFirst, secGroupLists)
		v.follows(secUsers, i, userRoleFirst, secRoleLists)
		v.flags(secUsers, i, rec+userFlags, flagDisabled)
	})
	v.each(secGroups, func(i, _ uint32) {
		v.ascending(secGroups, i, groupName)
		v.follows(secGroups, i, groupPolFirst, secPolicyLists)
		v.follows(secGroups, i, groupRoleFirst, secRoleLists)
	})
	v.each(secRoles, func(i, rec uint32) {
		v.ascending(secRoles, i, roleName)
		v.follows(secRoles, i, rolePolFirst, secPolicyLists)
		v.flags(secRoles, i, rec+roleFlags, flagGoverning)
	})
	v.each(secRoleClaims, func(i, _ uint32) {
		v.ascending(secRoleClaims, i, claimValue)
		v.follows(secRoleClaims, i, claimRoleFirst, secRoleLists)
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
		v.follows(secDelegations, i, delUserFirst, secNameLists)
		v.follows(secDelegations, i, delGroupFirst, secNameLists)
		v.flags(secDelegations, i, rec+delFlags, flagAllUsers)
	})
	v.each(secServices, func(i, rec uint32) {
		v.ascending(secServices, i, svcName)
		v.below(secServices, i, svcRole, secRoles, false)
		v.follows(secServices, i, svcDelFirst, secDelegations)
		v.flags(secServices, i, rec+svcFlags, flagDisabled)
	})
	v.each(secIdentities, func(i, _ uint32) {
		v.below(secIdentities, i, identIssuer, secStrings, false)
		v.below(secIdentities, i, identClient, secStrings, false)
		v.below(secIdentities, i, identSubject, secStrings, true)
		v.below(secIdentities, i, identSvc, secServices, false)
		if v.err == nil && i > 0 && compareIdentity(v.s.identity(i-1), v.s.identity(i)) >= 0 {
			v.fail(secIdentities, i, "identities are not in ascending order")
		}
	})
}
