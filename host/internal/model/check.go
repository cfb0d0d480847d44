package model

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"sallyport/policydata"
)

// Bounds on free text and on lists that no proxy looks up.
const (
	maxDescriptionBytes = 4096
	maxTextBytes        = 1024
)

// Checks are the rules that live in other packages, and UsersLike. Without one
// of the rules, what it would check is refused.
type Checks struct {
	// Condition checks a rule's condition. The captures are those that every
	// one of the rule's path patterns, and every one of its host patterns, has.
	Condition func(src string, pathCaptures, hostCaptures []string) error
	// Keys checks a JWK Set (RFC 7517 section 5).
	Keys func(jwks []byte) error
	// KeyURL checks a URL that keys would be fetched from, by the policy of the
	// host that would.
	KeyURL func(url string) error
	// UsersLike returns the names of the users that have the email or the external
	// id of u, and perhaps of others; it need not know of what documents change.
	// Without it all users are looked through.
	UsersLike func(u *User) []string
	// WithoutKeys accepts issuers whose keys would have to be fetched: where
	// claims are given, no token is verified.
	WithoutKeys bool
}

// Check reports what is wrong with docs, of which the state s is made (see
// With), and what became wrong through them with the rest of s. The error is nil
// or of type Problems. The fields that it names are those of docs as given,
// where lists are not sorted yet.
func (s *State) Check(docs []Entity, checks Checks) error {
	c := &checker{state: s, checks: checks, docs: make(map[Key]Entity, len(docs))}
	for _, e := range docs {
		c.document(e)
	}
	c.services()
	c.issuers()
	c.users()
	if len(c.problems) == 0 {
		return nil
	}
	return c.problems
}

type checker struct {
	state    *State
	checks   Checks
	docs     map[Key]Entity
	at       Key // the document that problems belong to
	problems Problems
}

func (c *checker) addf(field, format string, args ...any) {
	c.problems = append(c.problems, Problem{c.at.Kind, c.at.Name, field, fmt.Sprintf(format, args...)})
}

// add adds a problem unless err is nil.
func (c *checker) add(field string, err error) {
	if err != nil {
		c.addf(field, "%s", err)
	}
}

// blame makes k the document that problems belong to.
func (c *checker) blame(k Key) { c.at = k }

func (c *checker) document(e Entity) {
	c.blame(KeyOf(e))
	if _, twice := c.docs[c.at]; twice {
		c.addf("metadata.name", "%s %q is there twice", c.at.Kind, c.at.Name)
	}
	c.docs[c.at] = e
	if builtInGroup(c.at) {
		c.builtInGroup(e.(*Group))
	} else {
		c.add("metadata.name", policydata.CheckName(c.at.Name))
	}
	c.description(e.Meta().Description)
	switch e := e.(type) {
	case *User:
		c.user(e)
	case *Group:
		c.refs("spec.members", KindUser, e.Members)
		c.refs("spec.policies", KindPolicy, e.Policies)
	case *Policy:
		c.policy(e)
	case *Role:
		c.role(e)
	case *ServiceAccount:
		c.service(e)
	case *Issuer:
		c.issuer(e)
	}
}

func builtInGroup(k Key) bool {
	return k.Kind == KindGroup &&
		(k.Name == policydata.GroupAuthenticated || k.Name == policydata.GroupUnauthenticated)
}

func (c *checker) builtInGroup(g *Group) {
	if len(g.Members) > 0 {
		c.addf("spec.members", "%s is built in and can't have members", g.Name)
	}
}

func (c *checker) description(s string) {
	if len(s) > maxDescriptionBytes {
		c.addf("metadata.description", "expected at most %d bytes, got %d", maxDescriptionBytes, len(s))
	}
	if !utf8.ValidString(s) {
		c.addf("metadata.description", "is not valid UTF-8")
	}
}

// text checks a text of a document that ends up in keys, headers or logs.
func (c *checker) text(field, s string) {
	switch {
	case len(s) > maxTextBytes:
		c.addf(field, "expected at most %d bytes, got %d", maxTextBytes, len(s))
	case !utf8.ValidString(s):
		c.addf(field, "is not valid UTF-8")
	case strings.ContainsFunc(s, unicode.IsControl):
		c.addf(field, "must not contain control characters")
	}
}

// required is text that must not be empty.
func (c *checker) required(field, s string) {
	if s == "" {
		c.addf(field, "must not be empty")
		return
	}
	c.text(field, s)
}

// distinct checks a list whose order means nothing.
func (c *checker) distinct(field string, list []string) {
	seen := make(map[string]bool, len(list))
	for i, v := range list {
		if seen[v] {
			c.addf(index(field, i), "%q is listed twice", v)
		}
		seen[v] = true
	}
}

// refs checks a list of names of entities.
func (c *checker) refs(field string, k Kind, names []string) {
	c.distinct(field, names)
	for i, n := range names {
		c.ref(index(field, i), k, n)
	}
}

func (c *checker) ref(field string, k Kind, name string) bool {
	switch {
	case name == "":
		c.addf(field, "must not be empty")
	case builtInGroup(Key{k, name}):
		c.addf(field, "the built-in group %s can't be used here", name)
	default:
		if _, ok := c.state.Get(Key{k, name}); ok {
			return true
		}
		c.addf(field, "unknown %s %q", k, name)
	}
	return false
}

func index(field string, i int) string { return fmt.Sprintf("%s[%d]", field, i) }

func (c *checker) user(u *User) {
	c.text("spec.email", u.Email)
	c.text("spec.externalId", u.ExternalID)
	if t := u.TokensNotBefore; t.Nanosecond() != 0 {
		c.addf("spec.tokensNotBefore", "expected a time in whole seconds, as token times are")
	} else if !t.IsZero() && t.Unix() <= 0 {
		c.addf("spec.tokensNotBefore", "expected a time after 1970")
	}
	c.refs("spec.policies", KindPolicy, u.Policies)
}

// users checks that a look-up by email or external id has one answer.
func (c *checker) users() {
	if !c.hasKind(KindUser) {
		return
	}
	// Only what the documents bring can be taken twice: the rest was checked.
	byEmail, byExternal := map[string]string{}, map[string]string{}
	for _, e := range c.docs {
		if u, ok := e.(*User); ok {
			byEmail[u.Email], byExternal[u.ExternalID] = "", ""
		}
	}
	for _, u := range c.suspects() {
		c.lookup(byEmail, "spec.email", u.Email, u.Name)
		c.lookup(byExternal, "spec.externalId", u.ExternalID, u.Name)
	}
}

// suspects returns the users that may have what is another's, sorted by name.
func (c *checker) suspects() []*User {
	if c.checks.UsersLike == nil {
		return c.state.Users
	}
	names := map[string]bool{}
	for _, e := range c.docs {
		if u, ok := e.(*User); ok {
			names[u.Name] = true
			for _, n := range c.checks.UsersLike(u) {
				names[n] = true
			}
		}
	}
	var users []*User
	for _, n := range slices.Sorted(maps.Keys(names)) {
		if i, ok := position(c.state.Users, n); ok {
			users = append(users, c.state.Users[i])
		}
	}
	return users
}

func (c *checker) lookup(seen map[string]string, field, value, user string) {
	if value == "" {
		return
	}
	first, asked := seen[value]
	if first == "" {
		if asked {
			seen[value] = user
		}
		return
	}
	c.blame(Key{KindUser, user})
	if _, ok := c.docs[c.at]; !ok { // the other one is what is new
		c.blame(Key{KindUser, first})
		first = user
	}
	c.addf(field, "%q is taken by User %q", value, first)
}

func (c *checker) hasKind(k Kind) bool {
	for key := range c.docs {
		if key.Kind == k {
			return true
		}
	}
	return false
}

func (c *checker) role(r *Role) {
	c.refs("spec.policies", KindPolicy, r.Policies)
	for _, list := range []struct {
		field string
		names []string
	}{{"spec.users", r.Users}, {"spec.groups", r.Groups}, {"spec.claims", r.Claims}} {
		if r.Governing && len(list.names) > 0 {
			c.addf(list.field, "a governing role is for the Service Gate only and can't be mapped to users, groups or claims")
			return
		}
	}
	c.refs("spec.users", KindUser, r.Users)
	c.refs("spec.groups", KindGroup, r.Groups)
	c.distinct("spec.claims", r.Claims)
	for i, v := range r.Claims {
		c.claimValue(index("spec.claims", i), v)
	}
}

func (c *checker) claimValue(field, v string) {
	switch {
	case policydata.IsSystemName(v):
		c.addf(field, `a token's names that begin with "system:" are ignored, so this would never match`)
	case len(v) > policydata.MaxNameBytes:
		c.addf(field, "expected at most %d bytes, got %d", policydata.MaxNameBytes, len(v))
	default:
		c.required(field, v)
	}
}

// intersection returns what is in all lists.
func intersection(lists [][]string) []string {
	if len(lists) == 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(lists[0]), func(s string) bool {
		return slices.ContainsFunc(lists[1:], func(l []string) bool { return !slices.Contains(l, s) })
	})
}
