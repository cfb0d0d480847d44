package explain

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"sallyport/policydata"
)

// summary says in sentences what decided, and who can change it.
func summary(x *Explanation, d *policydata.Decision) []string {
	var out []string
	if by := decisive(x); by != nil {
		out = append(out, Sentence(by))
		if d.Reason == policydata.ReasonDeniedByRule || d.Reason == policydata.ReasonConditionError {
			out = append(out, withoutDenial(x))
		}
	}
	if text := meaning(x, d); text != "" {
		out = append(out, text)
	}
	if !d.Allowed() && len(x.Gates) > 0 {
		for _, v := range near(x, maxNear) {
			out = append(out, Sentence(v))
		}
	}
	return append(out, changeTexts(x.Changes)...)
}

// maxNear is how many rules that lack little are told of in sentences.
const maxNear = 3

// decisive returns the rule by which the last gate decided.
func decisive(x *Explanation) *policydata.RuleVerdict {
	if len(x.Gates) == 0 {
		return nil
	}
	rules := x.Gates[len(x.Gates)-1].Rules
	i := slices.IndexFunc(rules, func(v policydata.RuleVerdict) bool { return v.Decides })
	if i < 0 {
		return nil
	}
	return &rules[i]
}

// withoutDenial says whether the denial is all that stands in the way.
func withoutDenial(x *Explanation) string {
	denials, allow := 0, ""
	for _, v := range x.Gates[len(x.Gates)-1].Rules {
		switch {
		case v.Effect == "deny" && v.Outcome != policydata.OutcomeNoMatch:
			denials++
		case v.Effect == "allow" && v.Matches() && allow == "":
			allow = v.Policy + "/" + v.Rule
		}
	}
	switch {
	case allow == "":
		return "Even without it no rule would allow the request."
	case denials > 1:
		return fmt.Sprintf("Rule %s would allow the request, but %d deny rules match, and a deny wins over every allow.", allow, denials)
	}
	return "Without it rule " + allow + " would allow the request; a deny wins over every allow."
}

// near returns the allow rules of the last gate that lack least, without those
// of another path and those for the host's own API.
func near(x *Explanation, most int) []*policydata.RuleVerdict {
	var out []*policydata.RuleVerdict
	rules := x.Gates[len(x.Gates)-1].Rules
	for i := range rules {
		v := &rules[i]
		far := slices.Contains(v.Obstacles, policydata.ObstaclePath) || slices.Equal(v.Hosts, []string{policydata.HostAPI})
		if v.Effect == "allow" && !v.Matches() && !far && len(out) < most {
			out = append(out, v)
		}
	}
	return out
}

// Sentence says of a rule why it does or does not match.
func Sentence(v *policydata.RuleVerdict) string {
	name := fmt.Sprintf("Rule %s/%s (%s)", v.Policy, v.Rule, v.Effect)
	switch v.Outcome {
	case policydata.OutcomeMatch:
		if v.Condition != nil {
			return name + " matches: " + v.Condition.Text + partsText(v.Condition) + "."
		}
		return name + " matches."
	case policydata.OutcomeError:
		does := "so it does not match"
		if v.Effect == "deny" {
			does = "and a deny rule that can't be evaluated denies"
		}
		return name + " has a condition that can't be evaluated, " + does + ": " + v.Condition.Text + partsText(v.Condition) + "."
	}
	var wants []string
	for _, o := range v.Obstacles {
		wants = append(wants, want(v, o))
	}
	return name + " does not match: it wants " + strings.Join(wants, ", and ") + "."
}

// want says what a rule wants of a part that is an obstacle.
func want(v *policydata.RuleVerdict, o policydata.Obstacle) string {
	switch o {
	case policydata.ObstacleMethod:
		return "the method " + strings.Join(v.Methods, " or ")
	case policydata.ObstacleHost:
		if len(v.Hosts) == 0 {
			return "a host other than the API's own: only rules that name " + policydata.HostAPI + " count there"
		}
		return "the host " + some(v.Hosts)
	case policydata.ObstaclePath:
		return "the path " + some(v.Paths)
	}
	return v.Condition.Text + partsText(v.Condition)
}

// some lists the first of many patterns.
func some(patterns []string) string {
	const most = 5
	if more := len(patterns) - most; more > 0 {
		return strings.Join(patterns[:most], " or ") + fmt.Sprintf(" or one of %d more", more)
	}
	return strings.Join(patterns, " or ")
}

// partsText writes the values of a condition's variables, and what decides.
func partsText(c *policydata.ConditionTrace) string {
	var values []string
	for _, p := range c.Parts {
		if isName(p.Expr) {
			values = append(values, p.Expr+" is "+Value(p))
		}
	}
	if len(values) == 0 {
		return ""
	}
	return " (" + strings.Join(values, ", ") + ")"
}

// isName reports whether a part is a variable and not an operation.
func isName(expr string) bool { return !strings.ContainsAny(expr, " (!") }

// Value writes the value of a part.
func Value(p policydata.PartTrace) string {
	if p.Error {
		return "an error"
	}
	const most = 200
	b, err := json.Marshal(p.Value)
	if err != nil {
		return "?" // texts, numbers and lists can all be written
	}
	if len(b) > most {
		return strings.ToValidUTF8(string(b[:most]), "") + "..."
	}
	return string(b)
}

// changeTexts says what changes would do, those by one rule together.
func changeTexts(changes []policydata.Change) []string {
	var out []string
	for i := 0; i < len(changes); {
		c, values := changes[i], []string{}
		for ; i < len(changes) && sameButValue(changes[i], c); i++ {
			values = append(values, changes[i].Value)
		}
		out = append(out, fmt.Sprintf("With %s rule %s/%s would allow it.", changeText(c, values), c.Policy, c.Rule))
	}
	return out
}

func sameButValue(x, y policydata.Change) bool {
	x.Value = y.Value
	return x == y
}

func changeText(c policydata.Change, values []string) string {
	names, token := strings.Join(values, " or "), ""
	if c.Token {
		token = "a token and "
	}
	switch c.Kind {
	case policydata.ChangeMethod:
		return "method " + names
	case policydata.ChangeToken:
		return "any good token"
	case policydata.ChangeGroup:
		return token + "the group " + names
	}
	return token + "the role claim " + names
}
