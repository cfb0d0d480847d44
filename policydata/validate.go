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
// another section own it alone, so nothing is looked at twice. What checks all
// records of a section is one loop without calls: a proxy runs this in
// WebAssembly, where calls are dear.
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

// below checks that a field of all records is an index into a section, or none
// where that is allowed.
func (v *validator) below(sec int, field uint32, into int, orNone bool) {
	if v.err != nil {
		return
	}
	records, size, limit := v.s.records(sec), stride(sec), v.s.section[into].count
	for at := int(field); at < len(records); at += size {
		if x := word(records, at); x >= limit && (!orNone || x != none) {
			v.fail(sec, uint32(at/size), "index out of range")
			return
		}
	}
}

// follow checks that the two words at each of fields, of one record after the
// other, are the range of another section that begins where the range before it
// ended: none overlaps another.
func (v *validator) follow(sec, into int, fields ...uint32) {
	if v.err != nil {
		return
	}
	records, size := v.s.records(sec), stride(sec)
	next, limit := v.next[into], v.s.section[into].count
	for rec := 0; rec < len(records); rec += size {
		for _, field := range fields {
			first, count := word(records, rec+int(field)), word(records, rec+int(field)+4)
			if uint64(first)+uint64(count) > uint64(limit) {
				v.fail(sec, uint32(rec/size), "range out of bounds")
				return
			}
			if first != next {
				v.fail(sec, uint32(rec/size), "range does not follow the one before")
				return
			}
			next += count
		}
	}
	v.next[into] = next
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
	v.below(secPolicyLists, 0, secPolicies, false)
	v.below(secGroupLists, 0, secGroups, false)
	v.below(secRoleLists, 0, secRoles, false)
	v.below(secNameLists, 0, secStrings, false)
}

// ascending checks that records, which begin with the text that they are found
// by, are sorted by that, each once.
func (v *validator) ascending(sec int) {
	v.below(sec, 0, secStrings, false)
	if v.err != nil {
		return
	}
	records, size := v.s.records(sec), stride(sec)
	before := ""
	for at := 0; at < len(records); at += size {
		name := v.s.str(word(records, at))
		if at > 0 && before >= name {
			v.fail(sec, uint32(at/size), "names are not in ascending order")
			return
		}
		before = name
	}
}

// flags checks that a field of all records has known bits only.
func (v *validator) flags(sec int, field, known uint32) {
	if v.err != nil {
		return
	}
	records, size := v.s.records(sec), stride(sec)
	for at := int(field); at < len(records); at += size {
		if word(records, at)&^known != 0 {
			v.fail(sec, uint32(at/size), "unknown flags")
			return
		}
	}
}

func (v *validator) texts() {
	v.follow(secStrings, secText, 0)
	records, size := v.s.records(secStrings), stride(secStrings)
	for at := 0; at < len(records); at += size {
		if word(records, at+4) > maxTextBytes {
			v.fail(secStrings, uint32(at/size), "text too long")
			return
		}
	}
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
		v.below(t.sec, 0, t.into, true)
	}
	v.powerOfTwo(secEdges)
}

func (v *validator) powerOfTwo(sec int) {
	if n := v.s.section[sec].count; n == 0 || n&(n-1) != 0 {
		v.fail(sec, 0, "a hash table's size is not a power of two")
	}
}

func (v *validator) policies() {
	v.ascending(secPolicies)
	v.follow(secPolicies, secRules, polRuleFirst)
}

// principals checks sections in the order in which Build filled the pools of
// lists, that of their numbers.
func (v *validator) principals() {
	v.ascending(secUsers)
	v.follow(secUsers, secPolicyLists, userPolFirst)
	v.follow(secUsers, secGroupLists, userGroupFirst)
	v.follow(secUsers, secRoleLists, userRoleFirst)
	v.flags(secUsers, userFlags, flagDisabled)

	v.ascending(secGroups)
	v.follow(secGroups, secPolicyLists, groupPolFirst)
	v.follow(secGroups, secRoleLists, groupRoleFirst)

	v.ascending(secRoles)
	v.follow(secRoles, secPolicyLists, rolePolFirst)
	v.flags(secRoles, roleFlags, flagGoverning)

	v.ascending(secRoleClaims)
	v.follow(secRoleClaims, secRoleLists, claimRoleFirst)
}

func (v *validator) services() {
	v.below(secDelegations, delRole, secRoles, false)
	v.follow(secDelegations, secNameLists, delUserFirst, delGroupFirst)
	v.flags(secDelegations, delFlags, flagAllUsers)

	v.ascending(secServices)
	v.below(secServices, svcRole, secRoles, false)
	v.follow(secServices, secDelegations, svcDelFirst)
	v.flags(secServices, svcFlags, flagDisabled)

	v.below(secIdentities, identIssuer, secStrings, false)
	v.below(secIdentities, identClient, secStrings, false)
	v.below(secIdentities, identSubject, secStrings, true)
	v.below(secIdentities, identSvc, secServices, false)
	var before ServiceIdentity
	v.each(secIdentities, func(i, _ uint32) {
		this := v.s.identity(i)
		if i > 0 && compareIdentity(before, this) >= 0 {
			v.fail(secIdentities, i, "identities are not in ascending order")
		}
		before = this
	})
}
