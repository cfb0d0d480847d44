package policydata

import (
	"cmp"
	"slices"
)

// Access is what a principal may do: patterns of requests, not one request.
type Access struct {
	// Refused is the reason that every request of the principal is denied for;
	// "" if there is none.
	Refused string        `json:"refused,omitempty"`
	Entries []AccessEntry `json:"entries"`
	More    bool          `json:"more"`              // there are entries behind these
	Partial bool          `json:"partial,omitempty"` // there are so many that some were not looked at
}

// AccessEntry is a pattern of requests that a rule allows. Of the entries each
// stands alone: what any of them covers is allowed, unless its conditions do not
// hold or one of its denials does.
type AccessEntry struct {
	AccessPattern
	Policy   string            `json:"policy"`
	Rule     string            `json:"rule"`
	Captures map[string]string `json:"captures,omitempty"` // what was filled into the path
	When     string            `json:"when,omitempty"`     // condition that depends on the request
	Service  *AccessRule       `json:"service,omitempty"`  // by which the service may ask on behalf of the user
	Denials  []AccessDenial    `json:"denials,omitempty"`  // deny rules that cut in
}

// AccessPattern is a pattern of requests in the words of rules.
type AccessPattern struct {
	Methods []string `json:"methods"`
	Host    string   `json:"host,omitempty"` // "": any
	Path    string   `json:"path"`
}

// AccessRule is a rule and what is left of its condition.
type AccessRule struct {
	Policy string `json:"policy"`
	Rule   string `json:"rule"`
	When   string `json:"when,omitempty"`
}

// AccessDenial is a deny rule and the part of an entry that it denies.
type AccessDenial struct {
	AccessPattern
	AccessRule
	Gate string `json:"gate"`
}

// AccessPage says which entries are wanted.
type AccessPage struct {
	Offset int // entries before the first
	Amount int // at most so many
}

// Bounds of Access. Beyond them patterns that are allowed are left out; what is
// denied never is.
const (
	maxGrants = 100_000 // patterns that the allow rules of a gate make

	// maxAccessWork is in steps of conditions; one pattern compared with another
	// and one condition begun count for patternWork. In all, a few seconds.
	maxAccessWork = 100_000_000
	patternWork   = 10
)

// survey is a gate that is asked about all requests at once.
type survey struct {
	gate   Gate
	allows []grant
	denies []ruleAt
	full   bool
}

// ruleAt is a rule by one of its path and one of its host patterns.
type ruleAt struct {
	rec, terminal uint32
	pattern       pattern
}

// grant is a pattern that a rule allows, with what was filled in.
type grant struct {
	ruleAt
	filled map[string]string
	when   bool // the condition remains
}

// Access lists what id may do at a proxy, whatever the request. Principal and
// policies are found by the steps of a decision; conditions are evaluated by its
// evaluator, with what only a request can say unknown.
func (e *Evaluator) Access(s *Snapshot, id *Identity, page AccessPage) Access {
	if s == nil {
		return Access{Refused: ReasonNoSnapshot.String(), Entries: []AccessEntry{}}
	}
	var all surveys
	e.surveyor, e.work = &all, maxAccessWork
	d := e.Decide(s, &Request{}, id)
	e.surveyor = nil
	out := Access{Entries: []AccessEntry{}}
	if !d.Allowed() {
		out.Refused = d.Reason.String()
		return out
	}
	e.snap, e.req, e.id = s, &Request{}, id // what the decision found out of the principal is still there
	for _, g := range all {
		out.Partial = out.Partial || g.full
	}
	lister := accessLister{e: e, gates: all, page: page, out: &out}
	lister.list()
	out.Partial = out.Partial || e.work <= 0
	e.snap, e.req, e.id = nil, nil, nil
	return out
}

// surveys are of the gates that were asked, in order.
type surveys []*survey

// ask notes all that the policies of a gate say.
func (all *surveys) ask(e *Evaluator, gate Gate) Decision {
	g := &survey{gate: gate}
	*all = append(*all, g)
	paths := e.patternsOf(e.policies.ids)
	for _, p := range slices.Sorted(slices.Values(e.policies.ids)) {
		first := e.snap.field(secPolicies, p, polRuleFirst)
		for i := range e.snap.field(secPolicies, p, polRuleCount) {
			e.surveyRule(g, first+i, paths[first+i])
		}
	}
	return Decision{Reason: ReasonAllowed, Gate: gate}
}

func (e *Evaluator) surveyRule(g *survey, rule uint32, terminals []uint32) {
	s := e.snap
	rec := s.at(secRules, rule)
	allow := s.u32(rec+ruleFlags)&rfAllow != 0
	for _, t := range terminals {
		for _, h := range s.hostsOf(rec) {
			at := ruleAt{rec, t, pattern{s.methodsOf(rec), h, s.segmentsOf(t)}}
			switch {
			case !allow:
				g.denies = append(g.denies, at)
			case len(g.allows) >= maxGrants || e.work <= 0:
				g.full = true
				return
			default:
				g.allows = append(g.allows, e.grants(at)...)
			}
		}
	}
}

// accessLister writes a page of the entries that the gates have together.
type accessLister struct {
	e     *Evaluator
	gates []*survey
	page  AccessPage
	out   *Access
	seen  int
}

func (l *accessLister) list() {
	user := l.gates[len(l.gates)-1]
	for i := range user.allows {
		if len(l.gates) == 1 {
			l.entry(&user.allows[i], nil, user.allows[i].pattern)
		} else {
			for k := range l.gates[0].allows {
				if p, ok := l.meet(user.allows[i].pattern, l.gates[0].allows[k].pattern); ok {
					l.entry(&user.allows[i], &l.gates[0].allows[k], p)
				}
				if l.ended() {
					return
				}
			}
		}
		if l.ended() {
			return
		}
	}
}

func (l *accessLister) ended() bool { return l.out.More || l.e.work <= 0 }

func (l *accessLister) meet(x, y pattern) (pattern, bool) {
	l.e.work -= patternWork
	return meet(x, y)
}

// entry adds an entry, unless it is not on the page or a deny rule covers it.
func (l *accessLister) entry(user, service *grant, p pattern) {
	denials, covered := l.denials(p)
	if covered || l.e.work <= 0 { // then not all denials were looked at
		return
	}
	l.seen++
	switch {
	case l.seen <= l.page.Offset:
		return
	case len(l.out.Entries) == l.page.Amount:
		l.out.More = true
		return
	}
	by := l.e.snap.accessRule(user.rec, user.when)
	entry := AccessEntry{
		AccessPattern: p.text(), Policy: by.Policy, Rule: by.Rule, When: by.When,
		Captures: user.filled, Denials: denials,
	}
	if service != nil {
		by := l.e.snap.accessRule(service.rec, service.when)
		entry.Service = &by
	}
	l.out.Entries = append(l.out.Entries, entry)
}

// denials returns the deny rules that cut into a pattern, and whether one denies
// all of it.
func (l *accessLister) denials(p pattern) (out []AccessDenial, covered bool) {
	for _, g := range l.gates {
		for i := range g.denies {
			d := &g.denies[i]
			common, ok := l.meet(p, d.pattern)
			if !ok || l.e.work <= 0 {
				continue
			}
			result := l.e.partly(d, l.e.bindings(d, common))
			if result == condFalse {
				continue
			}
			if result == condTrue && common.equal(p) {
				return nil, true
			}
			out = append(out, AccessDenial{common.text(), l.e.snap.accessRule(d.rec, result != condTrue), g.gate.String()})
		}
	}
	return out, false
}

func (s *Snapshot) accessRule(rec uint32, when bool) AccessRule {
	r := AccessRule{
		Policy: s.str(s.field(secPolicies, s.u32(rec+rulePolicy), polName)),
		Rule:   s.str(s.u32(rec + ruleName)),
	}
	if when {
		r.When = cmp.Or(s.str(s.u32(rec+ruleWhen)), s.conditionText(rec))
	}
	return r
}

// conditionText writes a condition whose source the snapshot does not have.
func (s *Snapshot) conditionText(rec uint32) string { return s.exprText(s.u32(rec+ruleExprFirst), 0) }
