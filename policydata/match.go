package policydata

import "strings"

// pathSegments is a canonical path, split. More segments than a pattern can
// have need not be told apart: only "**" matches these.
type pathSegments struct {
	path  string
	count int
	ends  [MaxPatternSegments + 1]uint32 // segment i ends here; it begins behind the "/" before
}

func (p *pathSegments) split(path string) {
	p.path, p.count = path, 0
	if path == "" || path[0] != '/' {
		return // not from CanonicalPath: without segments nothing matches
	}
	for i := 1; i <= len(path) && p.count <= MaxPatternSegments; i++ {
		if i == len(path) || path[i] == '/' {
			p.ends[p.count] = uint32(i)
			p.count++
		}
	}
}

func (p *pathSegments) segment(i int) string {
	if i >= p.count {
		return ""
	}
	start := uint32(1)
	if i > 0 {
		start = p.ends[i-1] + 1
	}
	return p.path[start:p.ends[i]]
}

// step is a trie node that the path's first depth segments lead to, with the hash
// of the patterns' segments on the way.
type step struct {
	node, hash uint32
	depth      int
}

// candidate is a path and host pattern of a rule that matches the request.
type candidate struct {
	rule, path, host   uint32 // host: index within the rule's hosts
	terminal, hostSpec uint32
	found              bool
}

// before reports whether c comes before a pattern of a rule in the order by
// which decisions are reported.
func (c *candidate) before(rule, path uint32) bool {
	return c.found && (c.rule < rule || c.rule == rule && c.path <= path)
}

// candidates are, of each kind, the first in the order of policy and rule.
type candidates struct {
	deny, broken, allow candidate // broken: a deny rule whose condition errs
}

// askGate evaluates the rules of e.policies. Any matching deny wins.
func (e *Evaluator) askGate(gate Gate) Decision {
	if e.surveyor != nil {
		return e.surveyor.ask(e, gate)
	}
	e.found = candidates{}
	if len(e.policies.ids) > 0 && e.path.count > 0 {
		e.walk()
	}
	d := e.conclude(gate)
	if e.watcher != nil {
		e.watcher.asked(e, d)
	}
	return d
}

// conclude decides by what was found.
func (e *Evaluator) conclude(gate Gate) Decision {
	switch {
	case e.found.deny.found:
		return e.report(ReasonDeniedByRule, gate, &e.found.deny)
	case e.found.broken.found:
		return e.report(ReasonConditionError, gate, &e.found.broken)
	case e.found.allow.found:
		return e.report(ReasonAllowed, gate, &e.found.allow)
	}
	return Decision{Reason: ReasonNoMatchingRule, Gate: gate}
}

func (e *Evaluator) report(reason Reason, gate Gate, c *candidate) Decision {
	s := e.snap
	rec := s.at(secRules, c.rule)
	e.terminal, e.host = c.terminal, c.hostSpec
	e.collectCaptures()
	return Decision{
		Reason:   reason,
		Gate:     gate,
		Policy:   s.str(s.field(secPolicies, s.u32(rec+rulePolicy), polName)),
		Rule:     s.str(s.u32(rec + ruleName)),
		Captures: e.captures,
	}
}

// walk follows the path through the trie, by literal text and by wildcard, and
// considers the patterns at which it may end. Patterns of other principals with
// many wildcards could make that long: beyond walkSteps, and what the principal's
// own patterns may take, these are compared one by one instead.
func (e *Evaluator) walk() {
	s, steps, extended := e.snap, walkSteps, false
	seed := s.field(secSeeds, seedEdges, 0)
	e.stack = append(e.stack[:0], step{0, hashRoot, 0})
	for len(e.stack) > 0 {
		at := e.stack[len(e.stack)-1]
		e.stack = e.stack[:len(e.stack)-1]
		if steps--; steps < 0 {
			if extended {
				e.askOwn()
				return
			}
			steps, extended = stepsPerPattern*e.ownPatterns(), true
		}
		rec := s.at(secNodes, at.node)
		e.consider(s.u32(rec+nodeTailFirst), s.u32(rec+nodeTailCount))
		if at.depth == e.path.count {
			e.consider(s.u32(rec+nodeExactFirst), s.u32(rec+nodeExactCount))
			continue
		}
		if at.depth == MaxPatternSegments {
			continue
		}
		text := e.path.segment(at.depth)
		if wild := s.u32(rec + nodeWild); wild != none && text != "" {
			e.stack = append(e.stack, step{wild, hashWild(at.hash), at.depth + 1})
		}
		hash := hashEdge(at.hash, hashText(seed, text))
		if child := s.child(at.node, hash, text); child != none {
			e.stack = append(e.stack, step{child, hash, at.depth + 1})
		}
	}
}

// consider asks the rules behind a node's terminals, as far as they belong to
// e.policies. It goes through the shorter of the two: the terminals, or the
// principal's policies with a search for each, so that a path which thousands
// of other groups' policies share costs no more than one's own policies do.
func (e *Evaluator) consider(first, count uint32) {
	const searchSteps = 16
	if uint64(count) <= searchSteps*uint64(len(e.policies.ids)) {
		for t := first; t < first+count; t++ {
			rule := e.snap.field(secTerminals, t, termRule)
			if e.policies.has(e.snap.field(secRules, rule, rulePolicy)) {
				e.ask(rule, t)
			}
		}
		return
	}
	for _, p := range e.policies.ids {
		from := e.snap.field(secPolicies, p, polRuleFirst)
		to := from + e.snap.field(secPolicies, p, polRuleCount)
		for t := e.searchTerminal(first, count, from); t < first+count; t++ {
			rule := e.snap.field(secTerminals, t, termRule)
			if rule >= to {
				break
			}
			e.ask(rule, t)
		}
	}
}

// searchTerminal returns the first of count terminals whose rule is not before
// rule.
func (e *Evaluator) searchTerminal(first, count, rule uint32) uint32 {
	lo, hi := first, first+count
	for lo < hi {
		mid := lo + (hi-lo)/2
		if e.snap.field(secTerminals, mid, termRule) < rule {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// ask checks the rest of a rule whose path pattern matches: method, host,
// condition. It leaves out what can't change the decision or its report.
func (e *Evaluator) ask(rule, terminal uint32) {
	if e.watcher != nil {
		e.watcher.reach(terminal)
	}
	s := e.snap
	rec := s.at(secRules, rule)
	allow := s.u32(rec+ruleFlags)&rfAllow != 0
	path := s.field(secTerminals, terminal, termPath)
	switch {
	case e.found.deny.before(rule, path):
		return
	case allow && (e.found.deny.found || e.found.allow.before(rule, path)):
		return
	case !e.methodMatches(rec):
		return
	}
	c := candidate{rule: rule, path: path, terminal: terminal, found: true}
	for i, spec := e.nextHost(rec, 0); i != none; i, spec = e.nextHost(rec, i+1) {
		c.host, c.hostSpec = i, spec
		if e.note(rec, allow, c) {
			return
		}
	}
}

// nextHost returns the first host pattern of a rule, from index i on, that
// matches the request; its index is none if there is none. A rule without hosts
// has one, without a spec, that matches any host but the API.
func (e *Evaluator) nextHost(rec, i uint32) (index, spec uint32) {
	s := e.snap
	if s.u32(rec+ruleFlags)&rfAnyHost != 0 {
		if i == 0 && !e.req.API {
			return 0, none
		}
		return none, none
	}
	first, count := s.u32(rec+ruleHostFirst), s.u32(rec+ruleHostCount)
	for ; i < count; i++ {
		if e.hostMatches(first + i) {
			return i, first + i
		}
	}
	return none, none
}

// note evaluates the condition and keeps the candidate where it counts. It
// reports whether the condition held, so that the rule needs no other host.
func (e *Evaluator) note(rec uint32, allow bool, c candidate) bool {
	result := e.holds(rec, c.terminal, c.hostSpec)
	if e.partial != nil && result == condError {
		result = e.partial.settle(allow, e.cond.unknown)
	}
	switch {
	case result == condTrue && allow:
		e.found.allow = c
	case result == condTrue:
		e.found.deny = c
	case result == condError && !allow && !e.found.broken.before(c.rule, c.path):
		e.found.broken = c
	}
	return result == condTrue
}

// holds evaluates the condition of a rule for a path and a host pattern.
func (e *Evaluator) holds(rec, terminal, hostSpec uint32) condResult {
	if e.snap.u32(rec+ruleExprCount) == 0 {
		return condTrue
	}
	e.terminal, e.host = terminal, hostSpec
	return e.condition(e.snap.u32(rec + ruleExprFirst))
}

func (e *Evaluator) methodMatches(rec uint32) bool {
	s := e.snap
	bits := s.u32(rec + ruleMethodBits)
	if bits&mbAny != 0 {
		return true
	}
	if e.req.Preflight && bits&mbPreflight != 0 {
		return true
	}
	if bit := methodBit(e.req.Method); bit != 0 {
		return bits&bit != 0
	}
	first := s.u32(rec + ruleMethodFirst)
	for i := range s.u32(rec + ruleMethodCount) {
		if s.str(s.field(secMethods, first+i, 0)) == e.req.Method {
			return true
		}
	}
	return false
}

// hostMatches compares the request's host with a host pattern, label by label
// from the right.
func (e *Evaluator) hostMatches(spec uint32) bool {
	s := e.snap
	rec := s.at(secHosts, spec)
	flags := s.u32(rec + hostFlags)
	if api := flags&hfAPI != 0; api || e.req.API {
		return api && e.req.API
	}
	rest, more := e.req.Host, e.req.Host != ""
	first := s.u32(rec + hostLabelFirst)
	for i := range s.u32(rec + hostLabelCount) {
		if !more {
			return false
		}
		var label string
		label, rest, more = lastLabel(rest)
		at := s.at(secLabels, first+i)
		if segmentKind(s.u32(at+labelKind)) == segLiteral && s.str(s.u32(at+labelText)) != label {
			return false
		}
	}
	return more == (flags&hfWild != 0)
}

// lastLabel cuts the last label off a host; more says whether others are left.
// An address in brackets is one label.
func lastLabel(host string) (label, rest string, more bool) {
	if strings.HasPrefix(host, "[") {
		return host, "", false
	}
	for i := len(host) - 1; i >= 0; i-- {
		if host[i] == '.' {
			return host[i+1:], host[:i], true
		}
	}
	return host, "", false
}

// pathCapture returns what the pattern being evaluated captured from the path
// under the name with a string id.
func (e *Evaluator) pathCapture(name uint32) (string, bool) {
	if e.partial != nil {
		if value, ok, told := e.partial.capture(capturePath, e.snap.str(name)); told {
			return value, ok
		}
	}
	rec := e.snap.at(secTerminals, e.terminal)
	first := e.snap.u32(rec + termCapFirst)
	for i := range e.snap.u32(rec + termCapCount) {
		if e.snap.field(secCaptures, first+i, capName) == name {
			return e.path.segment(int(e.snap.field(secCaptures, first+i, capSegment))), true
		}
	}
	return "", false
}

// hostCapture returns the label that the host pattern being evaluated captured
// under the name with a string id.
func (e *Evaluator) hostCapture(name uint32) (string, bool) {
	if e.partial != nil {
		if value, ok, told := e.partial.capture(captureHost, e.snap.str(name)); told {
			return value, ok
		}
	}
	if e.host == none {
		return "", false
	}
	found, value := false, ""
	e.eachHostCapture(func(id uint32, label string) {
		if id == name {
			found, value = true, label
		}
	})
	return value, found
}

// eachHostCapture calls f for the captures of the host pattern e.host, which
// matches, from the right.
func (e *Evaluator) eachHostCapture(f func(name uint32, label string)) {
	rec := e.snap.at(secHosts, e.host)
	first := e.snap.u32(rec + hostLabelFirst)
	rest := e.req.Host
	for i := range e.snap.u32(rec + hostLabelCount) {
		if rest == "" {
			return
		}
		var label string
		label, rest, _ = lastLabel(rest)
		at := e.snap.at(secLabels, first+i)
		if segmentKind(e.snap.u32(at+labelKind)) == segCapture {
			f(e.snap.u32(at+labelText), label)
		}
	}
}

// collectCaptures fills e.captures with those of the deciding pattern.
func (e *Evaluator) collectCaptures() {
	s := e.snap
	e.captures = e.captures[:0]
	rec := s.at(secTerminals, e.terminal)
	first := s.u32(rec + termCapFirst)
	for i := range s.u32(rec + termCapCount) {
		at := s.at(secCaptures, first+i)
		e.captures = append(e.captures, Capture{
			Name:  s.str(s.u32(at + capName)),
			Value: e.path.segment(int(s.u32(at + capSegment))),
		})
	}
	if e.host == none {
		return
	}
	e.eachHostCapture(func(name uint32, label string) {
		e.captures = append(e.captures, Capture{Name: s.str(name), Value: label, Host: true})
	})
}
