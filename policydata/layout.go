package policydata

// Section says what package delta needs to know of a section's records: their
// size, where they refer to other sections, and by what a record is known again
// in another snapshot.
type Section struct {
	RecordBytes uint32
	Identity    Identification
	Fields      []Field
}

// Field is a field of a record that refers to records of a section.
type Field struct {
	Offset  uint32
	Section int
	// Range: the first record of a range; how many these are stands behind it. Else
	// the field is one record's number, or none. Ranges of one section follow each
	// other, by their owners' sections, records and fields.
	Range bool
	// Ops, of an expression, are the operators that have this field, as bits.
	Ops uint64
}

// Identification says by what a record is known again in another snapshot.
type Identification uint8

// The kinds of identification.
const (
	ByOwner   Identification = iota // its place in the range of its owner; without owners all are one range
	ByText                          // strings
	ByName                          // the string at the record's first field
	ByPath                          // nodes: the segments from the root
	ByContent                       // all that the record says
	ByPlace                         // its number: hash tables and seeds
)

// The sections of the trie and of strings, for package delta.
const (
	SectionStrings = secStrings
	SectionText    = secText
	SectionNodes   = secNodes
	SectionEdges   = secEdges
	NumSections    = numSections
)

// Fields of the trie, for package delta.
const (
	NodeWild   = nodeWild
	EdgeParent = edgeParent
	EdgeText   = edgeText
	EdgeChild  = edgeChild
)

// Layout returns what the sections of format version 1 hold, by their numbers.
func Layout() [NumSections]Section {
	str := func(offset uint32) Field { return Field{Offset: offset, Section: secStrings} }
	index := func(offset uint32, section int) Field { return Field{Offset: offset, Section: section} }
	first := func(offset uint32, section int) Field { return Field{Offset: offset, Section: section, Range: true} }
	operand := func(offset uint32, ops ...Op) Field {
		f := str(offset)
		for _, op := range ops {
			f.Ops |= 1 << op
		}
		return f
	}
	sections := [NumSections]Section{
		secStrings:  {Identity: ByText, Fields: []Field{first(0, secText)}},
		secSeeds:    {Identity: ByPlace},
		secPolicies: {Identity: ByName, Fields: []Field{str(polName), first(polRuleFirst, secRules)}},
		secRules: {Fields: []Field{
			str(ruleName), index(rulePolicy, secPolicies), first(ruleMethodFirst, secMethods),
			first(ruleHostFirst, secHosts), first(ruleExprFirst, secExprs), str(ruleWhen),
		}},
		secNodes: {Identity: ByPath, Fields: []Field{
			index(nodeWild, secNodes), first(nodeExactFirst, secTerminals), first(nodeTailFirst, secTerminals),
		}},
		secEdges: {Identity: ByPlace, Fields: []Field{
			index(edgeParent, secNodes), str(edgeText), index(edgeChild, secNodes),
		}},
		secTerminals: {Fields: []Field{index(termRule, secRules), str(termPattern), first(termCapFirst, secCaptures)}},
		secCaptures:  {Fields: []Field{str(capName)}},
		secHosts:     {Fields: []Field{first(hostLabelFirst, secLabels)}},
		secLabels:    {Fields: []Field{str(labelText)}},
		secMethods:   {Fields: []Field{str(0)}},
		secExprs: {Fields: []Field{
			operand(exprFirst, OpString, OpPathVar, OpHostVar), operand(exprInt, OpField, OpHas),
		}},
		secUsers: {Identity: ByName, Fields: []Field{
			str(userName), first(userPolFirst, secPolicyLists), first(userGroupFirst, secGroupLists),
			first(userRoleFirst, secRoleLists),
		}},
		secUserIndex: {Identity: ByPlace, Fields: []Field{index(0, secUsers)}},
		secGroups: {Identity: ByName, Fields: []Field{
			str(groupName), first(groupPolFirst, secPolicyLists), first(groupRoleFirst, secRoleLists),
		}},
		secGroupIndex: {Identity: ByPlace, Fields: []Field{index(0, secGroups)}},
		secRoles:      {Identity: ByName, Fields: []Field{str(roleName), first(rolePolFirst, secPolicyLists)}},
		secRoleClaims: {Identity: ByName, Fields: []Field{str(claimValue), first(claimRoleFirst, secRoleLists)}},
		secClaimIndex: {Identity: ByPlace, Fields: []Field{index(0, secRoleClaims)}},
		secServices: {Identity: ByName, Fields: []Field{
			str(svcName), index(svcRole, secRoles), first(svcDelFirst, secDelegations),
		}},
		secIdentities: {Identity: ByContent, Fields: []Field{
			str(identIssuer), str(identClient), str(identSubject), index(identSvc, secServices),
		}},
		secDelegations: {Fields: []Field{
			index(delRole, secRoles), first(delUserFirst, secNameLists), first(delGroupFirst, secNameLists),
		}},
		secPolicyLists: {Fields: []Field{index(0, secPolicies)}},
		secGroupLists:  {Fields: []Field{index(0, secGroups)}},
		secRoleLists:   {Fields: []Field{index(0, secRoles)}},
		secNameLists:   {Fields: []Field{str(0)}},
		secRevoked:     {Identity: ByContent, Fields: []Field{str(revIssuer), str(revID)}},
	}
	for id := range sections {
		sections[id].RecordBytes = recordBytes[id]
	}
	return sections
}
