package policydata

// Source is all that a snapshot is compiled from: the committed state of the
// store, with conditions already parsed and type-checked. [Build] is a function
// of it alone, so two hosts on one store build the same bytes.
//
// Times are seconds since the Unix epoch; 0 means "not set".
type Source struct {
	Epoch      uint64 // raised when a backup is restored; ordered before Generation
	Generation uint64 // raised by every committed write
	Created    int64  // when the generation was committed
	Expires    int64  // after this the filter answers stale_snapshot; 0: never

	Policies []Policy
	Users    []User
	Groups   []Group
	Roles    []Role
	Services []Service
	Issuers  []Issuer
	Revoked  []RevokedToken
}

// Policy is a named, ordered list of rules.
type Policy struct {
	Name  string
	Rules []Rule
}

// Effect is what a matching rule does. The zero Effect is EffectDeny.
type Effect uint8

// The effects of a rule.
const (
	EffectDeny Effect = iota
	EffectAllow
)

// Rule allows or denies requests by method, host, path and condition. All of
// them must match; of Methods, Hosts and Paths any one entry suffices.
type Rule struct {
	Name    string   // "": reported as "#" and the rule's index
	Effect  Effect   //
	Methods []string // "*", a method, "@read", "@write" or "@preflight"; at least one
	Hosts   []string // host patterns, see ParseHostPattern; empty: any host
	Paths   []string // path patterns, see ParsePathPattern; at least one
	When    *Expr    // nil: no condition
	Text    string   // the condition as written, for explanations
}

// User is an entry of the store's user list.
type User struct {
	Name            string
	Disabled        bool
	TokensNotBefore int64 // tokens issued earlier than this are revoked
	Policies        []string
}

// Group is a set of users. The built-in groups GroupAuthenticated and
// GroupUnauthenticated carry policies and have no members.
type Group struct {
	Name     string
	Members  []string // names of Users
	Policies []string
}

// The built-in groups: exactly one of them applies to each request.
const (
	GroupAuthenticated   = "system:authenticated"
	GroupUnauthenticated = "system:unauthenticated"
)

// Role is a set of policies, given to users by name, by group or by a value of
// a token's role claim. A governing role is for the Service Gate only and has
// no Users, Groups or Claims.
type Role struct {
	Name      string
	Governing bool
	Policies  []string
	Users     []string
	Groups    []string
	Claims    []string
}

// Service is a service account: one role for what it does as itself, and
// governing roles for what it may do on behalf of users.
type Service struct {
	Name       string
	Disabled   bool
	Role       string // name of a Role that is not governing
	Identities []ServiceIdentity
	Delegation []Delegation
}

// ServiceIdentity is how an issuer's tokens name a service: by client claim,
// and, where the token is the service's own, by subject.
type ServiceIdentity struct {
	Issuer  string // name of an Issuer
	Client  string
	Subject string // "": this issuer's tokens are never the service's own
}

// Delegation gives a service a governing role for some users.
type Delegation struct {
	Role   string   // name of a governing Role
	Users  []string // names of users, or "*" for every user
	Groups []string // names of groups
}

// Issuer is a trusted issuer of tokens (RFC 7519 section 4.1.1) and how its
// claims are read.
type Issuer struct {
	Name       string // the name of the Issuer document
	Issuer     string // the exact value of the "iss" claim
	Own        bool   // the host's own issuer: its tokens name services by their names
	Audiences  []string
	Algorithms []string // "RS256", ... (RFC 7518 section 3.1, RFC 8037 section 3.1)
	Keys       []Key
	// FetchedKeys: the host fetches the keys, so a "kid" that is not among them
	// may be that of a key that it does not have yet.
	FetchedKeys bool

	UsernamePrefix string
	GroupsPrefix   string
	TrimGroup      string // prefix that is cut off a group value once, before GroupsPrefix is added

	// Claim paths: each is a list of object keys from the payload's root; of
	// several the first that is present decides for UsernameClaims and
	// ClientClaims; GroupsClaims and RolesClaims take the union of all.
	UsernameClaims [][]string
	GroupsClaims   [][]string
	RolesClaims    [][]string
	ClientClaims   [][]string

	ClaimHeaders []ClaimHeader

	ClockSkew        int64 // seconds
	MaxTokenLifetime int64 // seconds, exp minus iat; more is refused
	RequireKnownUser bool
}

// Key is a public key of an issuer.
type Key struct {
	ID        string // "kid" (RFC 7517 section 4.5); may be empty
	Algorithm string // "alg" (RFC 7517 section 4.4); "": any that fits the key's type
	SPKI      []byte // the key as a DER SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7)
}

// ClaimHeader hands a claim to the upstream, as the value of a header.
type ClaimHeader struct {
	Header string   // in lower case
	Claim  []string // claim path
}

// RevokedToken is a token that is refused until it would have expired anyway.
type RevokedToken struct {
	Issuer  string // name of an Issuer
	ID      string // "jti" (RFC 7519 section 4.1.7)
	Expires int64  // when the token expires by itself; required
}

// Limits of a Source, checked by Build. They bound what one snapshot can cost
// a proxy; each is far above what a real installation has.
const (
	MaxNameBytes       = 256
	MaxPatternSegments = 64
	MaxPatternBytes    = 2048
	MaxRulesPerPolicy  = 1 << 16
	MaxPathsPerRule    = 1 << 12
	MaxHostsPerRule    = 256
	MaxConditionBytes  = 4096
	MaxClockSkew       = 3600 // seconds; more would take the meaning from "exp"
	MaxExprNodes       = 256
	MaxExprDepth       = 32
	MaxClaimHeaders    = 32
	MaxRevokedTokens   = 100_000
	MaxTokenIDBytes    = 1024 // of a revoked token's "jti"
	MaxMacroDepth      = 4    // of exists() and all() within each other

	// MaxConditionSteps is what evaluating a condition may take: one step for
	// each operand and operator, element and key, and for each 32 bytes that are
	// looked through. A condition that takes more is an error.
	MaxConditionSteps = 1 << 16
)
