package model

import (
	"encoding/json"
	"time"
)

// Entity is one of User, Group, Policy, Role, ServiceAccount and Issuer, by
// pointer. As JSON, an entity is the "spec" of its document.
type Entity interface {
	Kind() Kind
	Meta() *Metadata

	// normalized returns a copy in the one form that equal documents share.
	normalized() Entity
	// without returns the entity without its references to what gone reports;
	// the entity itself if there are none.
	without(gone func(Kind, string) bool) Entity
}

// Metadata is what all kinds have.
type Metadata struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	// Reserved entities are changed and deleted only by force.
	Reserved bool `json:"reserved,omitempty"`
	// ID is unique among all entities that ever were, unlike the name. The
	// store gives it; documents have none.
	ID string `json:"-"`
	// Set is the set of documents that manages the entity, "" for none. The store
	// keeps it; documents have none.
	Set string `json:"-"`
}

// Meta returns the metadata of an entity, in place.
func (m *Metadata) Meta() *Metadata { return m }

// User is a person, or whatever else the tokens' user names stand for.
type User struct {
	Metadata        `json:"-"`
	Email           string    `json:"email,omitempty"`
	ExternalID      string    `json:"externalId,omitempty"`
	Disabled        bool      `json:"disabled,omitempty"`
	TokensNotBefore time.Time `json:"tokensNotBefore,omitzero"` // tokens issued earlier are revoked
	Policies        []string  `json:"policies,omitempty"`
}

// Group is a set of users. The built-in groups have no members.
type Group struct {
	Metadata `json:"-"`
	Members  []string `json:"members,omitempty"` // names of Users
	Policies []string `json:"policies,omitempty"`
}

// Policy is an ordered list of rules.
type Policy struct {
	Metadata `json:"-"`
	Rules    []Rule `json:"rules"`
}

// Effect is what a matching rule does.
type Effect string

// The effects.
const (
	Allow Effect = "allow"
	Deny  Effect = "deny"
)

// Rule is an entry of a Policy, see policydata.Rule.
type Rule struct {
	Name    string   `json:"name,omitempty"`
	Effect  Effect   `json:"effect"`
	Methods []string `json:"methods"`
	Hosts   []string `json:"hosts,omitempty"`
	Paths   []string `json:"paths"`
	When    string   `json:"when,omitempty"` // CEL; "": no condition
}

// Role is a set of policies, given to users, groups and values of role claims;
// a governing role is given by delegations only.
type Role struct {
	Metadata  `json:"-"`
	Governing bool     `json:"governing,omitempty"`
	Policies  []string `json:"policies,omitempty"`
	Users     []string `json:"users,omitempty"`
	Groups    []string `json:"groups,omitempty"`
	Claims    []string `json:"claims,omitempty"`
}

// ServiceAccount is a service, with exactly one Role for what it does as itself.
type ServiceAccount struct {
	Metadata   `json:"-"`
	Disabled   bool         `json:"disabled,omitempty"`
	Role       string       `json:"role"`
	Identities []Identity   `json:"identities,omitempty"`
	Delegation []Delegation `json:"delegation,omitempty"`
}

// Identity is how an issuer's tokens name a service.
type Identity struct {
	Issuer  string `json:"issuer"` // name of an Issuer
	Client  string `json:"client"`
	Subject string `json:"subject,omitempty"`
}

// Delegation gives a service a governing role on behalf of some users.
type Delegation struct {
	Role   string   `json:"role"`
	Users  []string `json:"users,omitempty"` // names, or AllUsers
	Groups []string `json:"groups,omitempty"`
}

// AllUsers as an entry of a Delegation's users stands for every user.
const AllUsers = "*"

// Issuer is a trusted issuer of tokens and how its claims are read.
type Issuer struct {
	Metadata         `json:"-"`
	Issuer           string   `json:"issuer"` // the exact "iss"
	Audiences        []string `json:"audiences"`
	Algorithms       []string `json:"algorithms"`
	JWKS             JWKS     `json:"jwks"`
	UsernamePrefix   string   `json:"usernamePrefix,omitempty"`
	GroupsPrefix     string   `json:"groupsPrefix,omitempty"`
	ShareNames       bool     `json:"shareNames,omitempty"`
	Claims           Claims   `json:"claims"`
	ClockSkew        Duration `json:"clockSkew"`
	MaxTokenLifetime Duration `json:"maxTokenLifetime"`
	RequireKnownUser bool     `json:"requireKnownUser,omitempty"`
}

// JWKS says where an issuer's keys come from. Exactly one is set.
type JWKS struct {
	Inline    json.RawMessage `json:"inline,omitempty"` // a JWK Set (RFC 7517 section 5), compact
	URI       string          `json:"uri,omitempty"`
	Discovery bool            `json:"discovery,omitempty"`
	// KeepRemoved is for how long a fetched key is accepted that the issuer no
	// longer lists; nil: DefaultKeepRemoved.
	KeepRemoved *Duration `json:"keepRemoved,omitempty"`
}

// Claims maps a token's claims. A claim path is a list of keys.
type Claims struct {
	Username        ClaimPaths `json:"username"`
	Groups          ClaimPaths `json:"groups"`
	Roles           ClaimPaths `json:"roles"`
	Client          ClaimPaths `json:"client"`
	TrimGroupPrefix string     `json:"trimGroupPrefix,omitempty"`
	// Headers are the claims that the upstream gets.
	Headers []ClaimHeader `json:"headers,omitempty"`
}

// ClaimPaths are claim paths. As JSON, none is an empty list: a document that
// leaves them out has the defaults.
type ClaimPaths [][]string

// MarshalJSON implements json.Marshaler.
func (p ClaimPaths) MarshalJSON() ([]byte, error) {
	if p == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([][]string(p))
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *ClaimPaths) UnmarshalJSON(data []byte) error {
	var list [][]string
	if err := json.Unmarshal(data, &list); err != nil {
		return err
	}
	if *p = list; len(list) == 0 {
		*p = nil
	}
	return nil
}

// ClaimHeader hands a claim to the upstream.
type ClaimHeader struct {
	Header string   `json:"header"` // in lower case
	Claim  []string `json:"claim"`  // claim path
}

// Defaults of an Issuer's times.
const (
	DefaultClockSkew        = Duration(30 * time.Second)
	DefaultMaxTokenLifetime = Duration(24 * time.Hour)
	DefaultKeepRemoved      = Duration(10 * time.Minute)
)

func newIssuer() *Issuer {
	return &Issuer{
		Claims: Claims{
			Username: [][]string{{"sub"}},
			Groups:   [][]string{{"groups"}},
			Client:   [][]string{{"azp"}, {"client_id"}},
		},
		ClockSkew:        DefaultClockSkew,
		MaxTokenLifetime: DefaultMaxTokenLifetime,
	}
}

// Kind implements Entity.
func (*User) Kind() Kind { return KindUser }

// Kind implements Entity.
func (*Group) Kind() Kind { return KindGroup }

// Kind implements Entity.
func (*Policy) Kind() Kind { return KindPolicy }

// Kind implements Entity.
func (*Role) Kind() Kind { return KindRole }

// Kind implements Entity.
func (*ServiceAccount) Kind() Kind { return KindServiceAccount }

// Kind implements Entity.
func (*Issuer) Kind() Kind { return KindIssuer }
