package policydata

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// eachRandom calls f with random policy sets and requests, as many as the
// decisions that are compared with the reference.
func eachRandom(t *testing.T, seed uint64, f func(r random, src *Source, s *Snapshot)) {
	t.Helper()
	const requestsPerSet = 20
	for set := range uint64(max(1, *decisions/requestsPerSet/4)) {
		r := random{rand.New(rand.NewPCG(seed, set))}
		src := r.source()
		body, err := Build(src)
		if err != nil {
			t.Fatalf("set %d: %v", set, err)
		}
		s := mustLoad(t, body)
		for range requestsPerSet {
			f(r, &src, s)
		}
	}
}

// Who watches a decision sees the decision that is made, and what is told of
// its gates is what it came to.
func TestTraceTellsTheDecision(t *testing.T) {
	plain, watched, trace := NewEvaluator(), NewEvaluator(), &Trace{}
	watched.Watch(trace)
	decided := 0
	eachRandom(t, 5, func(r random, _ *Source, s *Snapshot) {
		req, id := r.request(), r.identity()
		want, got := verdictOf(plain.Decide(s, req, id)), verdictOf(watched.Decide(s, req, id))
		if got.String() != want.String() {
			t.Fatalf("watched %v, unwatched %v", got, want)
		}
		if len(trace.Gates) == 0 {
			if want.policy != "" {
				t.Fatalf("%v without a gate", want)
			}
			return
		}
		last := trace.Gates[len(trace.Gates)-1]
		if (last.Decision == "allow") != (want.reason == ReasonAllowed) || last.Gate != want.gate.String() {
			t.Fatalf("%v, told %+v", want, last)
		}
		by := slices.IndexFunc(last.Rules, func(v RuleVerdict) bool { return v.Decides })
		switch {
		case want.policy == "" && want.reason != ReasonServiceGate && by >= 0:
			t.Fatalf("%v, told to be decided by %+v", want, last.Rules[by])
		case want.policy == "":
			return
		case by != 0 || last.Rules[by].Policy != want.policy || last.Rules[by].Rule != want.rule:
			t.Fatalf("%v, told %+v", want, last.Rules)
		case !maps.Equal(last.Rules[by].Captures, want.captures):
			t.Fatalf("captures %v, told %v", want.captures, last.Rules[by].Captures)
		}
		decided++
	})
	if decided == 0 {
		t.Error("no rule decided: the test shows nothing")
	}
}

// What is told of a rule is what the reference finds of its parts; and without
// the obstacles that are told the rule matches.
func TestTraceTellsTheTruthOfRules(t *testing.T) {
	e, trace := NewEvaluator(), &Trace{}
	e.Watch(trace)
	counts := map[Obstacle]int{}
	eachRandom(t, 6, func(r random, src *Source, s *Snapshot) {
		req, id := r.request(), r.identity()
		d := verdictOf(e.Decide(s, req, id))
		for _, g := range trace.Gates {
			who := &asker{user: trace.User, service: d.service}
			if id.Authenticated {
				who.iss, who.sub, who.claims = id.Iss, id.Subject, id.Claims
			}
			for _, group := range trace.Groups {
				who.groups = append(who.groups, group.Name)
			}
			who.roles = slices.Clone(e.roleNames)
			for _, v := range g.Rules {
				rule := ruleOf(src, v)
				checkVerdict(t, &rule, req, who, &v)
				for _, o := range v.Obstacles {
					counts[o]++
				}
			}
		}
	})
	for _, o := range []Obstacle{ObstacleMethod, ObstacleHost, ObstaclePath, ObstacleCondition} {
		if counts[o] == 0 {
			t.Errorf("no %s was an obstacle: the test shows too little", o)
		}
	}
}

func ruleOf(src *Source, v RuleVerdict) Rule {
	i := slices.IndexFunc(src.Policies, func(p Policy) bool { return p.Name == v.Policy })
	return src.Policies[i].Rules[v.Index]
}

// checkVerdict compares a verdict with the reference, then lifts the obstacles.
func checkVerdict(t *testing.T, rule *Rule, req *Request, who *asker, v *RuleVerdict) {
	t.Helper()
	has := func(o Obstacle) bool { return slices.Contains(v.Obstacles, o) }
	method := slices.ContainsFunc(rule.Methods, func(m string) bool { return refMethod(m, req) })
	path := slices.ContainsFunc(rule.Paths, func(p string) bool {
		return refPath(strings.Split(p, "/")[1:], strings.Split(req.Path, "/")[1:], map[string]string{})
	})
	host := len(rule.Hosts) == 0 && !req.API || slices.ContainsFunc(rule.Hosts, func(h string) bool {
		return (h == HostAPI) == req.API && (req.API || refHost(h, req.Host, map[string]string{}))
	})
	if has(ObstacleMethod) == method || has(ObstaclePath) == path || has(ObstacleHost) == host {
		t.Fatalf("method %t, path %t, host %t, told %+v", method, path, host, v)
	}
	if got := refHolds(rule, req, who); got != v.Matches() {
		t.Fatalf("rule %+v, request %+v: matches %t, told %+v", *rule, *req, got, v)
	}
	lifted := *rule
	for _, o := range v.Obstacles {
		switch o {
		case ObstacleMethod:
			lifted.Methods = []string{"*"}
		case ObstacleHost:
			lifted.Hosts = nil
			if req.API {
				lifted.Hosts = []string{HostAPI}
			}
		case ObstaclePath:
			lifted.Paths = []string{"/**"}
		case ObstacleCondition:
			lifted.When = nil
		}
	}
	if v.Condition != nil && v.Condition.Result == ResultNotEvaluated {
		lifted.When = nil // which it is not an obstacle of
	}
	if !refHolds(&lifted, req, who) {
		t.Fatalf("rule %+v, request %+v: does not match without %v", *rule, *req, v.Obstacles)
	}
}

// refHolds reports whether a rule matches, condition included.
func refHolds(rule *Rule, req *Request, who *asker) bool {
	matches := false
	refMatches(rule, req, func(captures map[string]string) {
		holds, ok := true, true
		if rule.When != nil {
			holds, ok = refCondition(rule.When, req, who, captures)
		}
		matches = matches || ok && holds
	})
	return matches
}

// The origins that are told of policies, roles and groups are those that the
// source has.
func TestTraceTellsOrigins(t *testing.T) {
	e, trace := NewEvaluator(), &Trace{}
	e.Watch(trace)
	told := map[OriginKind]int{}
	eachRandom(t, 7, func(r random, src *Source, s *Snapshot) {
		req, id := r.request(), r.identity()
		e.Decide(s, req, id)
		ref := &reference{src}
		for _, g := range trace.Groups {
			for _, o := range g.From {
				told[o.Kind]++
			}
			member := slices.ContainsFunc(src.Groups, func(x Group) bool {
				return x.Name == g.Name && slices.Contains(x.Members, trace.User)
			})
			if slices.Contains(g.From, Origin{Kind: OriginStore}) != member || slices.Contains(g.From, Origin{Kind: OriginToken}) != slices.Contains(id.Groups, g.Name) {
				t.Fatalf("group %+v", g)
			}
		}
		for _, role := range trace.Roles {
			if len(role.From) == 0 {
				t.Fatalf("role %+v comes from nowhere", role)
			}
			for _, o := range role.From {
				told[o.Kind]++
			}
		}
		for _, g := range trace.Gates {
			for _, p := range g.Policies {
				if len(p.From) == 0 {
					t.Fatalf("policy %+v comes from nowhere", p)
				}
				for _, o := range p.From {
					told[o.Kind]++
					if !slices.Contains(ref.carriedBy(o), p.Name) {
						t.Fatalf("%+v does not carry %s", o, p.Name)
					}
				}
			}
		}
	})
	for _, k := range []OriginKind{OriginToken, OriginStore, OriginClaim, OriginUser, OriginGroup, OriginRole, OriginDelegation} {
		if told[k] == 0 {
			t.Errorf("nothing came from a %s: the test shows too little", k)
		}
	}
}

func (ref *reference) carriedBy(o Origin) []string {
	switch o.Kind {
	case OriginUser:
		i := slices.IndexFunc(ref.src.Users, func(u User) bool { return u.Name == o.Name })
		return ref.src.Users[i].Policies
	case OriginGroup:
		return ref.groupPolicies(o.Name)
	case OriginRole, OriginDelegation:
		return ref.rolePolicies(o.Name)
	}
	return nil
}

// What a trace says would help does help.
func TestChangesAllow(t *testing.T) {
	e, trace := NewEvaluator(), &Trace{}
	e.Watch(trace)
	kinds := map[ChangeKind]int{}
	eachRandom(t, 8, func(r random, src *Source, s *Snapshot) {
		req, id := r.request(), r.identity()
		d := verdictOf(e.Decide(s, req, id))
		changes := trace.Changes(s, req, id)
		if d.reason == ReasonAllowed && len(changes) > 0 {
			t.Fatalf("allowed, and could be by %+v", changes)
		}
		for _, c := range changes {
			kinds[c.Kind]++
			changed, who := *req, *id
			if c.Token || c.Kind == ChangeToken {
				who = Identity{Authenticated: true}
			}
			switch c.Kind {
			case ChangeMethod:
				changed.Method, changed.Preflight = c.Value, false
				if c.Value == MethodsPreflight {
					changed.Method, changed.Preflight = "OPTIONS", true
				}
			case ChangeGroup:
				who.Groups = append(slices.Clone(who.Groups), c.Value)
			case ChangeClaim:
				who.Roles = append(slices.Clone(who.Roles), c.Value)
			}
			if got := (&reference{src}).decide(&changed, &who); got.reason != ReasonAllowed {
				t.Fatalf("%+v for %+v, %+v: %v", c, *req, *id, got)
			}
		}
	})
	for _, k := range []ChangeKind{ChangeMethod, ChangeToken, ChangeGroup, ChangeClaim} {
		if kinds[k] == 0 {
			t.Errorf("no %s helped: the test shows too little", k)
		}
	}
}

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
