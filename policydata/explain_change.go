package policydata

import "slices"

// Change is something by which a denied request would be allowed. Each was
// decided by the engine itself, not concluded.
type Change struct {
	Kind   ChangeKind `json:"kind"`
	Value  string     `json:"value,omitempty"` // the method, group or role claim
	Token  bool       `json:"token,omitempty"` // beside it the request needs a token
	Policy string     `json:"policy"`          // by which it would be allowed
	Rule   string     `json:"rule"`
}

// ChangeKind is a kind of change.
type ChangeKind string

// The kinds of changes. Their texts are part of the interface.
const (
	ChangeMethod ChangeKind = "method" // another method
	ChangeToken  ChangeKind = "token"  // any good token
	ChangeGroup  ChangeKind = "group"  // the user in a group
	ChangeClaim  ChangeKind = "claim"  // a value of the token's role claim
)

// Bounds of Changes.
const (
	maxChanges   = 8  // that are told
	maxAttempts  = 64 // decisions that are tried for them
	maxElsewhere = 16 // policies that match and do not count
)

// Changes returns single changes by which a request that t tells to have been
// denied would be allowed, the likeliest first; there may be others.
func (t *Trace) Changes(s *Snapshot, r *Request, id *Identity) []Change {
	c := &changer{s: s, e: NewEvaluator(), request: *r, identity: *id, out: []Change{}}
	if len(t.Gates) == 0 || t.Gates[len(t.Gates)-1].Decision == "allow" {
		return c.out
	}
	rules := t.Gates[len(t.Gates)-1].Rules
	for i := range rules {
		c.methodsOf(&rules[i])
	}
	if !id.Authenticated {
		c.identity = Identity{Authenticated: true}
		c.token = true
		c.try(ChangeToken, "", c.request, c.identity)
		rules = c.rulesWithToken()
	}
	if t.Service != nil && !t.Service.OnBehalf {
		return c.out // a service's own token has no groups and roles
	}
	for i := range rules {
		c.groupsOf(&rules[i])
	}
	c.elsewhere()
	return c.out
}

// changer tries changes.
type changer struct {
	s        *Snapshot
	e        *Evaluator
	request  Request
	identity Identity
	token    bool // the identity is one that the request did not come with
	attempts int
	out      []Change
}

// rulesWithToken returns the verdicts on the rules that count for the bearer of
// any good token.
func (c *changer) rulesWithToken() []RuleVerdict {
	t := &Trace{}
	c.e.Watch(t)
	defer c.e.Watch(nil)
	c.e.Decide(c.s, &c.request, &c.identity)
	return t.Gates[len(t.Gates)-1].Rules
}

func (c *changer) try(kind ChangeKind, value string, r Request, id Identity) {
	seen := slices.ContainsFunc(c.out, func(x Change) bool { return x.Kind == kind && x.Value == value })
	if seen || c.attempts == maxAttempts || len(c.out) == maxChanges {
		return
	}
	c.attempts++
	if d := c.e.Decide(c.s, &r, &id); d.Allowed() {
		c.out = append(c.out, Change{kind, value, c.token && kind != ChangeToken, d.Policy, d.Rule})
	}
}

// methodsOf tries the methods of an allow rule that lacks nothing else.
func (c *changer) methodsOf(v *RuleVerdict) {
	if v.Effect != "allow" || !slices.Equal(v.Obstacles, []Obstacle{ObstacleMethod}) {
		return
	}
	for _, m := range v.Methods {
		r := c.request
		r.Method, r.Preflight = m, false
		if m == MethodsPreflight {
			r.Method, r.Preflight = "OPTIONS", true
		}
		c.try(ChangeMethod, m, r, c.identity)
	}
}

// groupsOf tries, as groups, the texts in an allow rule's condition, such as
// path.team of "path.team in token.groups".
func (c *changer) groupsOf(v *RuleVerdict) {
	if v.Effect != "allow" || v.Condition == nil || !slices.Equal(v.Obstacles, []Obstacle{ObstacleCondition}) {
		return
	}
	for _, part := range v.Condition.Parts {
		if text, ok := part.Value.(string); ok {
			c.tryGroup(text)
		}
	}
}

func (c *changer) tryGroup(name string) {
	if name == "" || name == "*" || IsSystemName(name) || slices.Contains(c.identity.Groups, name) {
		return
	}
	id := c.identity
	id.Groups = append(slices.Clone(id.Groups), name)
	c.try(ChangeGroup, name, c.request, id)
}

// elsewhere tries the groups and role claims that carry a policy which would
// match if it counted.
func (c *changer) elsewhere() {
	s := c.s
	for _, p := range c.matching() {
		for g := range s.section[secGroups].count {
			rec := s.at(secGroups, g)
			if s.listHas(secPolicyLists, rec+groupPolFirst, p) {
				c.tryGroup(s.str(s.u32(rec + groupName)))
			}
		}
		for r := range s.section[secRoles].count {
			if !s.listHas(secPolicyLists, s.at(secRoles, r)+rolePolFirst, p) {
				continue
			}
			for i := range s.section[secRoleClaims].count {
				rec := s.at(secRoleClaims, i)
				if !s.listHas(secRoleLists, rec+claimRoleFirst, r) {
					continue
				}
				id, value := c.identity, s.str(s.u32(rec+claimValue))
				id.Roles = append(slices.Clone(id.Roles), value)
				c.try(ChangeClaim, value, c.request, id)
			}
		}
	}
}

// matching returns policies of which an allow rule reaches the request's path,
// whether they count or not.
func (c *changer) matching() []uint32 {
	e := c.e
	t := &Trace{}
	e.Watch(t)
	defer e.Watch(nil)
	e.begin(c.s, &c.request, &c.identity)
	for p := range c.s.section[secPolicies].count {
		e.policies.add(p)
	}
	e.found = candidates{}
	if e.path.count > 0 {
		e.walk()
	}
	var out []uint32
	for _, terminal := range t.reached {
		rec := c.s.at(secRules, c.s.field(secTerminals, terminal, termRule))
		p := c.s.u32(rec + rulePolicy)
		if c.s.u32(rec+ruleFlags)&rfAllow != 0 && e.methodMatches(rec) && !slices.Contains(out, p) && len(out) < maxElsewhere {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}
