package policydata

import (
	"cmp"
	"slices"
	"strings"
)

// whoGate is what a gate said, and which rules matched, or may.
type whoGate struct {
	allowed bool
	allows  []whoHit
	denies  []whoHit
	from    []PolicyTrace
}

type whoHit struct {
	rule uint32
	sure bool
}

func (w *whoLister) reset()                { w.gates = map[Gate]*whoGate{}; w.reached = w.reached[:0] }
func (w *whoLister) reach(terminal uint32) { w.reached = append(w.reached, terminal) }
func (w *whoLister) decided(*Evaluator)    {}

func (w *whoLister) asked(e *Evaluator, d Decision) {
	g := &whoGate{allowed: d.Allowed()}
	if g.allowed {
		w.hits(g)
		g.from = e.tracePolicies(d.Gate)
	}
	w.gates[d.Gate] = g
	w.reached = w.reached[:0]
}

// hits notes the rules that matched, or may.
func (w *whoLister) hits(g *whoGate) {
	e := w.e
	for _, t := range w.reached {
		rule := w.s.field(secTerminals, t, termRule)
		rec := w.s.at(secRules, rule)
		if !e.methodMatches(rec) {
			continue
		}
		list := &g.denies
		if w.s.u32(rec+ruleFlags)&rfAllow != 0 {
			list = &g.allows
		}
		for i, spec := e.nextHost(rec, 0); i != none; i, spec = e.nextHost(rec, i+1) {
			e.cond.steps, e.cond.unknown = MaxConditionSteps, false // where there is no condition
			result := e.holds(rec, t, spec)
			e.work -= patternWork + MaxConditionSteps - e.cond.steps
			deniesByError := list == &g.denies && result == condError && !e.cond.unknown
			switch {
			case result == condTrue || deniesByError:
				noteHit(list, rule, true)
			case result == condError && e.cond.unknown:
				noteHit(list, rule, false)
				w.noteTexts(rec, list == &g.allows)
			}
		}
	}
}

func noteHit(list *[]whoHit, rule uint32, sure bool) {
	i, found := slices.BinarySearchFunc(*list, rule, func(h whoHit, rule uint32) int { return cmp.Compare(h.rule, rule) })
	if !found {
		*list = slices.Insert(*list, i, whoHit{rule, sure})
		return
	}
	(*list)[i].sure = (*list)[i].sure || sure
}

// noteTexts notes the texts in a condition, such as path.team of "path.team in
// token.groups": what a token might have to say.
func (w *whoLister) noteTexts(rec uint32, allow bool) {
	if !w.newTexts || !allow {
		return
	}
	first := w.s.u32(rec + ruleExprFirst)
	for i := range w.s.u32(rec + ruleExprCount) {
		v := w.e.part(first, i)
		w.e.work -= patternWork + MaxConditionSteps - w.e.cond.steps
		if v.kind == kindString && CheckName(v.s) == nil && len(w.texts) < maxWhoNames && !contains(w.texts, v.s) {
			w.texts = append(w.texts, strings.Clone(v.s))
		}
	}
}
