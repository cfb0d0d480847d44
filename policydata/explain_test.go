package policydata

import (
	"fmt"
	"strings"
	"testing"
)

func TestConditionParts(t *testing.T) {
	member := inGroups()
	tests := []struct {
		name string
		when *Expr
		want string
	}{
		{"false_comparison_with_its_operands", member, `false; path.team="foo" token.groups=[bar] (path.team in token.groups=false)`},
		{
			"of_a_false_and_the_false_side_decides",
			&Expr{Op: OpAnd, Args: []*Expr{member, {Op: OpEq, Args: []*Expr{{Op: OpVar, Int: int64(VarUserName)}, {Op: OpString, Str: "eric"}}}}},
			`false; path.team="foo" token.groups=[bar] (path.team in token.groups=false) user.name="eric" user.name == "eric"=true path.team in token.groups && user.name == "eric"=false`,
		},
		{
			"negation_is_written_in_parentheses",
			&Expr{Op: OpNot, Args: []*Expr{{Op: OpOr, Args: []*Expr{member, {Op: OpBool, Int: 1}}}}},
			`false; path.team="foo" token.groups=[bar] path.team in token.groups=false path.team in token.groups || true=true !(path.team in token.groups || true)=false`,
		},
		{
			"key_that_is_missing", atKey(),
			`error; path.team="foo" (token.claims.access[path.team]=<nil>) (token.claims.access[path.team].roles=<nil>) ("ws" in token.claims.access[path.team].roles=<nil>)`,
		},
		{
			"macro_and_time_are_written_as_in_a_condition",
			&Expr{Op: OpExists, Args: []*Expr{{Op: OpVar, Int: int64(VarTokenGroups)}, {Op: OpAnd, Args: []*Expr{
				{Op: OpStartsWith, Args: []*Expr{{Op: OpLocal}, {Op: OpString, Str: "b"}}},
				{Op: OpLt, Args: []*Expr{{Op: OpVar, Int: int64(VarRequestTime)}, {Op: OpTime, Int: 86400, Nanos: 500_000_000}}},
			}}}},
			`true; token.groups=[bar] (token.groups.exists(x, x.startsWith("b") && request.time < timestamp("1970-01-02T00:00:00.5Z"))=true)`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := load(t, everyone([]Policy{allowPaths("p", tt.when, "/workspaces/{team}/**")}, "p"))
			e, trace := NewEvaluator(), &Trace{}
			e.Watch(trace)
			e.Decide(s, &Request{Method: "GET", Path: "/workspaces/foo"}, &Identity{Authenticated: true, User: "eric", Groups: []string{"bar"}, Claims: `{"access":{}}`})
			if got := partsText(trace.Gates[0].Rules[0].Condition); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// partsText writes what a condition came to on a line; what decides stands in
// parentheses.
func partsText(c *ConditionTrace) string {
	out := []string{c.Result + ";"}
	for _, p := range c.Parts {
		format := "%s=%v"
		if _, text := p.Value.(string); text {
			format = "%s=%q"
		}
		if p.Decides {
			format = "(" + format + ")"
		}
		out = append(out, fmt.Sprintf(format, p.Expr, p.Value))
	}
	return strings.Join(out, " ")
}
