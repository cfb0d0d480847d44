package policydata

import (
	"cmp"
	"slices"
	"strings"
)

// asked tells what a gate was asked, after it has spoken.
func (t *Trace) asked(e *Evaluator, d Decision) {
	g := GateTrace{
		Gate: d.Gate.String(), Decision: "deny", Reason: d.Reason.String(),
		Policies: e.tracePolicies(d.Gate), Rules: []RuleVerdict{},
	}
	if d.Allowed() {
		g.Decision = "allow"
	}
	paths := e.patternsOf(e.policies.ids)
	for _, p := range e.policies.ids {
		first := e.snap.field(secPolicies, p, polRuleFirst)
		for i := range e.snap.field(secPolicies, p, polRuleCount) {
			v := e.verdict(first+i, paths[first+i], t.reached)
			v.Decides = e.decides(d.Reason, first+i)
			g.Rules = append(g.Rules, v)
		}
	}
	slices.SortFunc(g.Rules, func(x, y RuleVerdict) int {
		return cmp.Or(
			cmp.Compare(e.distance(&x), e.distance(&y)),
			strings.Compare(x.Policy, y.Policy), cmp.Compare(x.Index, y.Index),
		)
	})
	t.Gates = append(t.Gates, g)
	t.reached = t.reached[:0]
}

// decides reports whether a rule is the one that the gate's decision reports.
func (e *Evaluator) decides(reason Reason, rule uint32) bool {
	switch reason {
	case ReasonAllowed:
		return e.found.allow.rule == rule
	case ReasonDeniedByRule:
		return e.found.deny.rule == rule
	case ReasonConditionError:
		return e.found.broken.rule == rule
	}
	return false
}

// patternsOf returns the terminals of the rules of policies, by rule, in the
// order in which the rule names its paths.
func (e *Evaluator) patternsOf(policies []uint32) map[uint32][]uint32 {
	s, out := e.snap, map[uint32][]uint32{}
	for _, p := range policies {
		first := s.field(secPolicies, p, polRuleFirst)
		for i := range s.field(secPolicies, p, polRuleCount) {
			out[first+i] = nil
		}
	}
	for t := range s.section[secTerminals].count {
		rule := s.field(secTerminals, t, termRule)
		if _, wanted := out[rule]; wanted {
			out[rule] = append(out[rule], t)
		}
	}
	for _, ts := range out {
		slices.SortFunc(ts, func(x, y uint32) int {
			return cmp.Compare(s.field(secTerminals, x, termPath), s.field(secTerminals, y, termPath))
		})
	}
	return out
}

// verdict asks each part of a rule by itself, where a decision ends at the first
// that does not match.
func (e *Evaluator) verdict(rule uint32, terminals, walked []uint32) RuleVerdict {
	s := e.snap
	rec := s.at(secRules, rule)
	v := RuleVerdict{
		Policy: s.str(s.field(secPolicies, s.u32(rec+rulePolicy), polName)), Rule: s.str(s.u32(rec + ruleName)),
		Index: int(s.u32(rec + ruleIndex)), Effect: "deny", Obstacles: []Obstacle{},
		Methods: s.ruleMethods(rec), Hosts: s.ruleHosts(rec), Paths: []string{},
	}
	if s.u32(rec+ruleFlags)&rfAllow != 0 {
		v.Effect = "allow"
	}
	for _, t := range terminals {
		v.Paths = append(v.Paths, s.str(s.field(secTerminals, t, termPattern)))
	}
	if !e.methodMatches(rec) {
		v.Obstacles = append(v.Obstacles, ObstacleMethod)
	}
	if i, _ := e.nextHost(rec, 0); i == none {
		v.Obstacles = append(v.Obstacles, ObstacleHost)
	}
	reached := slices.DeleteFunc(slices.Clone(terminals), func(t uint32) bool { return !slices.Contains(walked, t) })
	if len(reached) == 0 {
		v.Obstacles = append(v.Obstacles, ObstaclePath)
	}
	result := e.traceCondition(rec, &v, reached)
	if result != condTrue {
		v.Obstacles = append(v.Obstacles, ObstacleCondition)
	}
	switch {
	case len(v.Obstacles) == 0:
		v.Outcome = OutcomeMatch
	case len(v.Obstacles) == 1 && result == condError:
		v.Outcome = OutcomeError
	default:
		v.Outcome = OutcomeNoMatch
	}
	return v
}

// traceCondition evaluates the condition by each pattern that the request
// matches, as deciding does, and tells of the best. What it could not evaluate
// is no obstacle: another is.
func (e *Evaluator) traceCondition(rec uint32, v *RuleVerdict, reached []uint32) condResult {
	s := e.snap
	conditioned := s.u32(rec+ruleExprCount) > 0
	if conditioned {
		v.Condition = &ConditionTrace{Text: s.str(s.u32(rec + ruleWhen)), Result: ResultNotEvaluated}
	}
	best, told := condTrue, false
	tell := func(terminal, host uint32) condResult {
		result := e.holds(rec, terminal, host)
		if told && result != condTrue {
			return result
		}
		told, best = true, result
		e.tellPattern(v, terminal, host)
		if conditioned {
			e.tellCondition(rec, v.Condition, result)
		}
		return result
	}
	for _, t := range reached {
		i, spec := e.nextHost(rec, 0)
		if i == none && (!conditioned || !e.asksHost(rec)) {
			tell(t, none)
		}
		for ; i != none; i, spec = e.nextHost(rec, i+1) {
			if tell(t, spec) == condTrue {
				return condTrue
			}
		}
	}
	return best
}

// tellPattern tells by which pattern the rule matches.
func (e *Evaluator) tellPattern(v *RuleVerdict, terminal, host uint32) {
	kept := e.captures
	e.captures, e.terminal, e.host = nil, terminal, host
	e.collectCaptures()
	v.Path = e.snap.str(e.snap.field(secTerminals, terminal, termPattern))
	v.Captures = map[string]string{}
	for _, c := range e.captures {
		if c.Host {
			c.Name = "host." + c.Name
		}
		v.Captures[c.Name] = c.Value
	}
	e.captures = kept
}

// distance orders rules: those that matter first, then those that lack least.
// A path that is another is the farthest; of these, that comes first which
// begins like the request's for longer.
func (e *Evaluator) distance(v *RuleVerdict) int {
	d := 0
	for _, o := range v.Obstacles {
		d += o.weight()
	}
	if slices.Contains(v.Obstacles, ObstaclePath) {
		longest := 0
		for _, p := range v.Paths {
			longest = max(longest, commonPrefix(p, e.req.Path))
		}
		d -= longest
	}
	switch {
	case v.Decides:
		return -2
	case v.Outcome == OutcomeError && v.Effect == "deny":
		return -1 // a deny rule that errs denies
	}
	return d
}

func (o Obstacle) weight() int {
	switch o {
	case ObstacleCondition:
		return 1
	case ObstacleMethod:
		return 2
	case ObstacleHost:
		return 8
	}
	return 1 << 20
}

func commonPrefix(x, y string) int {
	n := 0
	for n < min(len(x), len(y)) && x[n] == y[n] {
		n++
	}
	return n
}

// methodNames are the methods that have a bit, in the order of the bits.
var methodNames = []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "TRACE", MethodsPreflight, "*"}

// ruleMethods returns the methods of a rule, groups as their members.
func (s *Snapshot) ruleMethods(rec uint32) []string {
	bits, out := s.u32(rec+ruleMethodBits), []string{}
	if bits&mbAny != 0 {
		return append(out, "*")
	}
	for i, name := range methodNames {
		if bits&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	first := s.u32(rec + ruleMethodFirst)
	for i := range s.u32(rec + ruleMethodCount) {
		out = append(out, s.str(s.field(secMethods, first+i, 0)))
	}
	return out
}

// ruleHosts returns the host patterns of a rule.
func (s *Snapshot) ruleHosts(rec uint32) []string {
	out := []string{}
	first := s.u32(rec + ruleHostFirst)
	for i := range s.u32(rec + ruleHostCount) {
		out = append(out, s.hostPattern(first+i))
	}
	return out
}

// hostPattern returns the text of a host pattern.
func (s *Snapshot) hostPattern(spec uint32) string {
	rec := s.at(secHosts, spec)
	flags := s.u32(rec + hostFlags)
	if flags&hfAPI != 0 {
		return HostAPI
	}
	var labels []string
	if flags&hfWild != 0 {
		labels = append(labels, "*")
	}
	first, count := s.u32(rec+hostLabelFirst), s.u32(rec+hostLabelCount)
	for i := range count {
		at := s.at(secLabels, first+count-1-i)
		label := s.str(s.u32(at + labelText))
		if segmentKind(s.u32(at+labelKind)) == segCapture {
			label = "{" + label + "}"
		}
		labels = append(labels, label)
	}
	return strings.Join(labels, ".")
}
