package policydata

import "strings"

// walkSteps is how many nodes of the trie a request may visit. At each level a
// walk visits at most twice as many as at the level before; real sets with their
// few wildcards stay far below.
const walkSteps = 1024

// stepsPerPattern is how many nodes more a walk may visit for each pattern of the
// principal: as long as that takes, comparing them would not be faster.
const stepsPerPattern = 4

// ownPatterns counts the path patterns of e.policies.
func (e *Evaluator) ownPatterns() int {
	s, n := e.snap, 0
	for _, p := range e.policies.ids {
		first := s.field(secPolicies, p, polRuleFirst)
		n += int(s.ruleTerminals[first+s.field(secPolicies, p, polRuleCount)] - s.ruleTerminals[first])
	}
	return n
}

// askOwn asks the rules of e.policies whose patterns match the path, by
// comparing it with each pattern. It is what a walk does, at a cost that
// patterns of strangers have no part in.
func (e *Evaluator) askOwn() {
	s := e.snap
	for _, p := range e.policies.ids {
		first := s.field(secPolicies, p, polRuleFirst)
		for rule := first; rule < first+s.field(secPolicies, p, polRuleCount); rule++ {
			for _, t := range s.terminals[s.ruleTerminals[rule]:s.ruleTerminals[rule+1]] {
				if e.path.matches(s.str(s.field(secTerminals, t, termPattern))) {
					e.ask(rule, t)
				}
			}
		}
	}
}

// matches compares the path with a pattern's text.
func (p *pathSegments) matches(pattern string) bool {
	rest, more := strings.TrimPrefix(pattern, "/"), true
	for i := 0; more; i++ {
		var want string
		want, rest, more = strings.Cut(rest, "/")
		if want == "**" {
			return true
		}
		if i >= p.count {
			return false
		}
		got := p.segment(i)
		switch wild := want == "*" || strings.HasPrefix(want, "{"); {
		case wild && got == "", !wild && got != want:
			return false
		case !more:
			return i+1 == p.count
		}
	}
	return false
}

// indexTerminals lists the terminals of each rule: those of rule i are
// terminals[ruleTerminals[i]:ruleTerminals[i+1]]. A policy's rules stand in a
// row, so a policy's terminals do, too.
func (s *Snapshot) indexTerminals() {
	rules, count := s.section[secRules].count, s.section[secTerminals].count
	records, size := s.records(secTerminals), stride(secTerminals)
	ends := make([]uint32, rules+2)
	for t := range count {
		ends[word(records, int(t)*size+termRule)+2]++
	}
	for i := uint32(1); i < uint32(len(ends)); i++ {
		ends[i] += ends[i-1]
	}
	s.terminals = make([]uint32, count)
	for t := range count {
		at := &ends[word(records, int(t)*size+termRule)+1]
		s.terminals[*at] = t
		*at++
	}
	s.ruleTerminals = ends[:rules+1]
}
