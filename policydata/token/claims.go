package token

import (
	"strings"

	"github.com/tidwall/gjson"

	"sallyport/policydata"
)

// MaxMapped is how many groups, and how many roles, a token may have.
const MaxMapped = 1024

// maxDate is the end of the year 9999. A date beyond it is a mistake, such as
// milliseconds, not a token that is good for ever.
const maxDate = 253402300799

// registered are the registered claims (RFC 7519 section 4.1) that are checked.
// An absent one does not Exist.
type registered struct {
	iss, sub, aud, exp, nbf, iat, jti, act gjson.Result
}

func readClaims(payload gjson.Result) (c registered) {
	payload.ForEach(func(name, value gjson.Result) bool {
		switch name.Str {
		case "iss":
			c.iss = value
		case "sub":
			c.sub = value
		case "aud":
			c.aud = value
		case "exp":
			c.exp = value
		case "nbf":
			c.nbf = value
		case "iat":
			c.iat = value
		case "jti":
			c.jti = value
		case "act":
			c.act = value
		}
		return true
	})
	return c
}

// numericDate reads a NumericDate (RFC 7519 section 2). What overflows a
// float64 is infinite and so out of range.
func numericDate(value gjson.Result) (seconds float64, ok bool) {
	ok = value.Type == gjson.Number && value.Num >= 0 && value.Num <= maxDate
	if !ok {
		return 0, false
	}
	return value.Num, true
}

// Map maps the claims of a payload as Verify does, and checks nothing else: no
// signature, audience or time. It is for asking what a token with these claims
// would get. The reason is ReasonAllowed, or bad_token where Verify would say so
// for reasons of mapping:
//
//   - payload is no JSON object that ValidateJSON accepts;
//   - the user name is missing, no string, or no valid name
//     (policydata.CheckName), with the prefix or without: "system:" and "*"
//     mean something else here;
//   - "sub" or the client is there and no string: it decides whether a service
//     acts for itself, so it can't count as absent;
//   - "jti" is there and no string: by it the token could not be revoked;
//   - there are more than MaxMapped groups or roles.
//
// A claim that is null is absent, except "act". Groups and roles are strings in
// an array or separated by spaces; what is no string is ignored there, as are
// "", "*", and what begins with "system:" before or after trim and prefix.
func Map(issuer *policydata.Issuer, payload string) (policydata.Identity, policydata.Reason) {
	object, ok := parseObject(payload)
	if !ok {
		return policydata.Identity{}, policydata.ReasonBadToken
	}
	claims := readClaims(object)
	return mapClaims(issuer, object, &claims)
}

func mapClaims(issuer *policydata.Issuer, payload gjson.Result, c *registered) (policydata.Identity, policydata.Reason) {
	user, userOK := mapUser(issuer, payload)
	client, clientOK := stringOrAbsent(first(payload, issuer.ClientClaims))
	subject, subjectOK := stringOrAbsent(c.sub)
	id, idOK := stringOrAbsent(c.jti)
	groups, groupsOK := mapNames(payload, issuer.GroupsClaims, issuer.TrimGroup, issuer.GroupsPrefix)
	roles, rolesOK := mapNames(payload, issuer.RolesClaims, "", "")
	if !userOK || !clientOK || !subjectOK || !idOK || !groupsOK || !rolesOK {
		return policydata.Identity{}, policydata.ReasonBadToken
	}
	identity := policydata.Identity{
		Authenticated:    true,
		Issuer:           issuer.Name,
		Own:              issuer.Own,
		Iss:              issuer.Issuer,
		Subject:          subject,
		User:             user,
		Client:           client,
		TokenID:          id,
		HasActor:         c.act.Exists(),
		Groups:           groups,
		Roles:            roles,
		RequireKnownUser: issuer.RequireKnownUser,
	}
	if actor, ok := lookup(c.act, []string{"sub"}); ok && actor.Type == gjson.String {
		identity.Actor = actor.Str
	}
	if iat, ok := numericDate(c.iat); ok {
		identity.IssuedAt = int64(iat)
	}
	return identity, policydata.ReasonAllowed
}

func mapUser(issuer *policydata.Issuer, payload gjson.Result) (string, bool) {
	value := first(payload, issuer.UsernameClaims)
	name := value.Str
	if value.Type != gjson.String || name == "" || policydata.IsSystemName(name) {
		return "", false
	}
	name = issuer.UsernamePrefix + name
	return name, policydata.CheckName(name) == nil
}

// stringOrAbsent returns a string claim, and "" for one that is absent.
func stringOrAbsent(value gjson.Result) (string, bool) {
	return value.Str, value.Type == gjson.String || value.Type == gjson.Null
}

// first returns the value of the first path that is present.
func first(payload gjson.Result, paths [][]string) gjson.Result {
	for _, path := range paths {
		if value, ok := lookup(payload, path); ok {
			return value
		}
	}
	return gjson.Result{}
}

// lookup follows a path of names. They are compared whole and unescaped, never
// read as gjson's path language, so that any name can stand in a path. What is
// null is absent.
func lookup(value gjson.Result, path []string) (gjson.Result, bool) {
	for _, name := range path {
		if !value.IsObject() {
			return gjson.Result{}, false
		}
		var member gjson.Result
		value.ForEach(func(key, value gjson.Result) bool {
			if key.Str != name {
				return true
			}
			member = value
			return false
		})
		value = member
	}
	return value, value.Type != gjson.Null
}

// mapNames returns the union of the names at the paths, without repetitions.
// It fails where there are too many.
func mapNames(payload gjson.Result, paths [][]string, trim, prefix string) ([]string, bool) {
	set := nameSet{trim: trim, prefix: prefix}
	for _, path := range paths {
		value, ok := lookup(payload, path)
		switch {
		case !ok:
		case value.Type == gjson.String:
			for name := range strings.SplitSeq(value.Str, " ") {
				set.add(name)
			}
		case value.IsArray():
			value.ForEach(func(_, entry gjson.Result) bool {
				if entry.Type == gjson.String {
					set.add(entry.Str)
				}
				return len(set.names) <= MaxMapped
			})
		}
	}
	return set.names, len(set.names) <= MaxMapped
}

// nameSet collects mapped names in the order in which they come.
type nameSet struct {
	trim, prefix string

	names []string
	seen  map[string]struct{} // of names; nil while there are few
}

func (s *nameSet) add(raw string) {
	trimmed := strings.TrimPrefix(raw, s.trim)
	if ignored(raw) || ignored(trimmed) {
		return
	}
	name := s.prefix + trimmed
	if ignored(name) || s.has(name) {
		return
	}
	s.names = append(s.names, name)
	if s.seen != nil {
		s.seen[name] = struct{}{}
	}
}

// has compares with few names one by one; above, a set keeps the work linear.
func (s *nameSet) has(name string) bool {
	if s.seen == nil && len(s.names) < pairwiseNames {
		for _, other := range s.names {
			if other == name {
				return true
			}
		}
		return false
	}
	if s.seen == nil {
		s.seen = make(map[string]struct{}, 4*pairwiseNames)
		for _, other := range s.names {
			s.seen[other] = struct{}{}
		}
	}
	_, found := s.seen[name]
	return found
}

// ignored reports whether a value can't be what it says: nothing, all, or one
// of the names that only this project gives out.
func ignored(name string) bool {
	return name == "" || name == "*" || policydata.IsSystemName(name)
}
