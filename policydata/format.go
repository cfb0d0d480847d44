package policydata

// The layout of format version 1; doc.go is its specification.
const (
	snapshotMagic   = "SALLYPRT"
	snapshotVersion = 1
	signatureMagic  = "SIGN"

	headerBytes       = 64
	sectionEntryBytes = 16

	// MaxSnapshotBytes bounds a snapshot with its signature.
	MaxSnapshotBytes = 64 << 20

	maxSignatureBytes = 1024
	maxKeyIDBytes     = 255
	maxTextBytes      = MaxConditionBytes // of a string; the longest are conditions
)

// Offsets of the header's fields.
const (
	hdrVersion    = 8
	hdrSections   = 12
	hdrFeatures   = 16
	hdrEpoch      = 24
	hdrGeneration = 32
	hdrCreated    = 40
	hdrExpires    = 48
	hdrLength     = 56 // of header, section table and sections
	hdrReserved   = 60 // zero
)

// knownFeatures are the feature bits that this version understands. A snapshot
// with any other bit needs a newer reader and is refused.
const knownFeatures = 0

// none stands for "no such index" in a u32 field.
const none = 0xFFFFFFFF

// The sections, in the order in which they stand.
const (
	secStrings     = iota // {offset, length} into secText
	secText               // bytes
	secSeeds              // u32 each: hash seeds, by the seed constants
	secPolicies           // sorted by name
	secRules              // by policy, then index
	secNodes              // path trie; node 0 is the root
	secEdges              // hash table of literal edges
	secTerminals          // path patterns by the node where they end
	secCaptures           // of terminals
	secHosts              // host patterns of rules
	secLabels             // of hosts, right to left
	secMethods            // string ids: methods without a bit of their own
	secExprs              // condition trees, breadth first
	secUsers              // sorted by name
	secUserIndex          // hash table over secUsers
	secGroups             // sorted by name
	secGroupIndex         // hash table over secGroups
	secRoles              // sorted by name
	secRoleClaims         // sorted by value
	secClaimIndex         // hash table over secRoleClaims
	secServices           // sorted by name
	secIdentities         // sorted by issuer, client, subject
	secDelegations        // of services
	secPolicyLists        // u32 each: the policies that ranges in other records point to
	secGroupLists         // the same for groups
	secRoleLists          // for roles
	secNameLists          // for strings
	secIssuers            // see issuers.go
	secRevoked            // sorted by issuer, id

	numSections
)

// recordBytes is the size of one record of each section.
var recordBytes = [numSections]uint32{
	secStrings: 8, secText: 1, secSeeds: 4,
	secPolicies: 12, secRules: 48, secNodes: 20, secEdges: 12,
	secTerminals: 24, secCaptures: 8, secHosts: 12, secLabels: 8,
	secMethods: 4, secExprs: 16,
	secUsers: 40, secUserIndex: 4, secGroups: 20, secGroupIndex: 4,
	secRoles: 16, secRoleClaims: 12, secClaimIndex: 4,
	secServices: 20, secIdentities: 16, secDelegations: 24,
	secPolicyLists: 4, secGroupLists: 4, secRoleLists: 4, secNameLists: 4,
	secIssuers: 1, secRevoked: 16,
}

// Field offsets within records.
const (
	polName, polRuleFirst, polRuleCount = 0, 4, 8

	ruleName        = 0 // as reported
	rulePolicy      = 4
	ruleIndex       = 8  // within its policy
	ruleFlags       = 12 // rf constants
	ruleMethodBits  = 16 // mb constants
	ruleMethodFirst = 20
	ruleMethodCount = 24
	ruleHostFirst   = 28
	ruleHostCount   = 32
	ruleExprFirst   = 36 // root of its tree
	ruleExprCount   = 40
	ruleWhen        = 44 // string id of the condition's source, or none

	nodeWild, nodeExactFirst, nodeExactCount, nodeTailFirst, nodeTailCount = 0, 4, 8, 12, 16

	edgeParent, edgeText, edgeChild = 0, 4, 8

	termRule     = 0
	termPath     = 4 // index of the pattern within its rule's paths
	termPattern  = 8 // string id of the pattern's text
	termCapFirst = 12
	termCapCount = 16
	termReserved = 20 // zero

	capName, capSegment = 0, 4

	hostFlags, hostLabelFirst, hostLabelCount = 0, 4, 8

	labelKind, labelText = 0, 4

	exprOp       = 0 // u8
	exprArgCount = 1 // u8
	exprPos      = 2 // u16, in the condition's text
	exprFirst    = 4 // first argument, relative to the root; else see doc.go
	exprInt      = 8 // i64

	userName, userFlags, userNotBefore               = 0, 4, 8 // not before: i64
	userPolFirst, userPolCount                       = 16, 20
	userGroupFirst, userGroupCount                   = 24, 28
	userRoleFirst, userRoleCount                     = 32, 36
	groupName, groupPolFirst, groupPolCount          = 0, 4, 8
	groupRoleFirst, groupRoleCount                   = 12, 16
	roleName, roleFlags, rolePolFirst, rolePolCount  = 0, 4, 8, 12
	claimValue, claimRoleFirst, claimRoleCount       = 0, 4, 8
	svcName, svcFlags, svcRole, svcDelFirst          = 0, 4, 8, 12
	svcDelCount                                      = 16
	identIssuer, identClient, identSubject, identSvc = 0, 4, 8, 12 // subject: string id or none
	delRole, delFlags, delUserFirst, delUserCount    = 0, 4, 8, 12
	delGroupFirst, delGroupCount                     = 16, 20
	revIssuer, revID, revExpires                     = 0, 4, 8 // expires: i64
)

// Flags of records.
const (
	rfAllow   = 1 << 0 // the rule allows; else it denies
	rfAnyHost = 1 << 1 // the rule names no hosts
	rfAll     = rfAllow | rfAnyHost

	hfWild = 1 << 0 // one or more labels stand before the first
	hfAPI  = 1 << 1 // HostAPI; without labels and other flags

	flagDisabled  = 1 << 0 // users, services
	flagGoverning = 1 << 0 // roles
	flagAllUsers  = 1 << 0 // delegations
)

// Bits of ruleMethodBits.
const (
	mbGet = 1 << iota
	mbHead
	mbOptions
	mbPost
	mbPut
	mbPatch
	mbDelete
	mbConnect
	mbTrace
	mbPreflight // a CORS preflight
	mbAny
	mbAll = 1<<iota - 1
)

// methodBit returns the bit of a method, 0 for one that has none.
func methodBit(m string) uint32 {
	switch m {
	case "GET":
		return mbGet
	case "HEAD":
		return mbHead
	case "OPTIONS":
		return mbOptions
	case "POST":
		return mbPost
	case "PUT":
		return mbPut
	case "PATCH":
		return mbPatch
	case "DELETE":
		return mbDelete
	case "CONNECT":
		return mbConnect
	case "TRACE":
		return mbTrace
	}
	return 0
}

// The hash tables have seeds of their own, chosen by Build so that no look-up
// needs more than maxProbes steps, whatever is looked up.
const (
	seedEdges = iota
	seedUsers
	seedGroups
	seedClaims
	numSeeds
)

const maxProbes = 128

// maxSeeds is how many seeds Build tries for a hash table.
const maxSeeds = 1 << 16

// hashText is FNV-1a, finished so that low bits are well mixed. Its prime becomes
// another odd number by the seed, so that texts which collide by one seed do not
// by the next. If it began with the seed instead, no more than its lowest byte
// would count: bytes are combined with the lowest byte of what was before.
func hashText(seed uint32, s string) uint32 {
	h, factor := uint32(2166136261), 16777619^mix(seed)<<1
	for i := 0; i < len(s); i++ {
		h = (h ^ uint32(s[i])) * factor
	}
	return mix(h)
}

// hashEdge is the hash of a path from the root: that of all but its last segment,
// which is a literal, combined with the hash of that segment's text. It does not
// depend on the numbers of nodes, so that an edge keeps its place when others come.
func hashEdge(path, textHash uint32) uint32 {
	return mix(textHash ^ path*hashFactor)
}

// hashWild is the hash of a path whose last segment is a wildcard.
func hashWild(path uint32) uint32 { return path*hashFactor + 1 }

// hashRoot is the hash of the empty path.
const hashRoot = 0

const hashFactor = 0x9E3779B1

func mix(h uint32) uint32 {
	h ^= h >> 16
	h *= 0x85EBCA6B
	h ^= h >> 13
	h *= 0xC2B2AE35
	return h ^ h>>16
}
