package policydata_test

import (
	"maps"
	"slices"
	"testing"

	"sallyport/policydata"
	"sallyport/policydata/decidetest"
)

// eachRandom calls f with random policy sets and requests, as many as the
// decisions that are compared with the reference.
func eachRandom(t *testing.T, seed uint64, f func(r decidetest.Random, src *policydata.Source, s *policydata.Snapshot)) {
	t.Helper()
	const requestsPerSet = 20
	for set := range uint64(max(1, *decisions/requestsPerSet/4)) {
		r := decidetest.NewRandom(seed, set)
		src := r.Source()
		s := load(t, src)
		for range requestsPerSet {
			f(r, &src, s)
		}
	}
}

// Who watches a decision sees the decision that is made, and what is told of
// its gates is what it came to.
func TestTraceTellsTheDecision(t *testing.T) {
	plain, watched, trace := policydata.NewEvaluator(), policydata.NewEvaluator(), &policydata.Trace{}
	watched.Watch(trace)
	decided := 0
	eachRandom(t, 5, func(r decidetest.Random, _ *policydata.Source, s *policydata.Snapshot) {
		req, id := r.Request(), r.Identity()
		want, got := decidetest.VerdictOf(plain.Decide(s, req, id)), decidetest.VerdictOf(watched.Decide(s, req, id))
		if got.String() != want.String() {
			t.Fatalf("watched %v, unwatched %v", got, want)
		}
		if len(trace.Gates) == 0 {
			if want.Policy != "" {
				t.Fatalf("%v without a gate", want)
			}
			return
		}
		last := trace.Gates[len(trace.Gates)-1]
		if (last.Decision == "allow") != (want.Reason == policydata.ReasonAllowed) || last.Gate != want.Gate.String() {
			t.Fatalf("%v, told %+v", want, last)
		}
		by := slices.IndexFunc(last.Rules, func(v policydata.RuleVerdict) bool { return v.Decides })
		switch {
		case want.Policy == "" && want.Reason != policydata.ReasonServiceGate && by >= 0:
			t.Fatalf("%v, told to be decided by %+v", want, last.Rules[by])
		case want.Policy == "":
			return
		case by != 0 || last.Rules[by].Policy != want.Policy || last.Rules[by].Rule != want.Rule:
			t.Fatalf("%v, told %+v", want, last.Rules)
		case !maps.Equal(last.Rules[by].Captures, want.Captures):
			t.Fatalf("captures %v, told %v", want.Captures, last.Rules[by].Captures)
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
	e, trace := policydata.NewEvaluator(), &policydata.Trace{}
	e.Watch(trace)
	counts := map[policydata.Obstacle]int{}
	eachRandom(t, 6, func(r decidetest.Random, src *policydata.Source, s *policydata.Snapshot) {
		req, id := r.Request(), r.Identity()
		d := decidetest.VerdictOf(e.Decide(s, req, id))
		for _, g := range trace.Gates {
			who := &decidetest.Asker{User: trace.User, Service: d.Service}
			if id.Authenticated {
				who.Iss, who.Subject, who.Claims = id.Iss, id.Subject, id.Claims
			}
			for _, group := range trace.Groups {
				who.Groups = append(who.Groups, group.Name)
			}
			who.Roles = slices.Clone(e.RoleNames())
			for _, v := range g.Rules {
				rule := ruleOf(src, v)
				checkVerdict(t, &rule, req, who, &v)
				for _, o := range v.Obstacles {
					counts[o]++
				}
			}
		}
	})
	for _, o := range []policydata.Obstacle{policydata.ObstacleMethod, policydata.ObstacleHost, policydata.ObstaclePath, policydata.ObstacleCondition} {
		if counts[o] == 0 {
			t.Errorf("no %s was an obstacle: the test shows too little", o)
		}
	}
}

func ruleOf(src *policydata.Source, v policydata.RuleVerdict) policydata.Rule {
	i := slices.IndexFunc(src.Policies, func(p policydata.Policy) bool { return p.Name == v.Policy })
	return src.Policies[i].Rules[v.Index]
}

// checkVerdict compares a verdict with the reference, then lifts the obstacles.
func checkVerdict(t *testing.T, rule *policydata.Rule, req *policydata.Request, who *decidetest.Asker, v *policydata.RuleVerdict) {
	t.Helper()
	has := func(o policydata.Obstacle) bool { return slices.Contains(v.Obstacles, o) }
	method := slices.ContainsFunc(rule.Methods, func(m string) bool { return decidetest.MatchesMethod(m, req) })
	path := slices.ContainsFunc(rule.Paths, func(p string) bool {
		return decidetest.MatchesPath(p, req.Path)
	})
	host := len(rule.Hosts) == 0 && !req.API || slices.ContainsFunc(rule.Hosts, func(h string) bool {
		return (h == policydata.HostAPI) == req.API && (req.API || decidetest.MatchesHost(h, req.Host))
	})
	if has(policydata.ObstacleMethod) == method || has(policydata.ObstaclePath) == path || has(policydata.ObstacleHost) == host {
		t.Fatalf("method %t, path %t, host %t, told %+v", method, path, host, v)
	}
	if got := decidetest.Matches(rule, req, who); got != v.Matches() {
		t.Fatalf("rule %+v, request %+v: matches %t, told %+v", *rule, *req, got, v)
	}
	lifted := *rule
	for _, o := range v.Obstacles {
		switch o {
		case policydata.ObstacleMethod:
			lifted.Methods = []string{"*"}
		case policydata.ObstacleHost:
			lifted.Hosts = nil
			if req.API {
				lifted.Hosts = []string{policydata.HostAPI}
			}
		case policydata.ObstaclePath:
			lifted.Paths = []string{"/**"}
		case policydata.ObstacleCondition:
			lifted.When = nil
		}
	}
	if v.Condition != nil && v.Condition.Result == policydata.ResultNotEvaluated {
		lifted.When = nil // which it is not an obstacle of
	}
	if !decidetest.Matches(&lifted, req, who) {
		t.Fatalf("rule %+v, request %+v: does not match without %v", *rule, *req, v.Obstacles)
	}
}

// The origins that are told of policies, roles and groups are those that the
// source has.
func TestTraceTellsOrigins(t *testing.T) {
	e, trace := policydata.NewEvaluator(), &policydata.Trace{}
	e.Watch(trace)
	told := map[policydata.OriginKind]int{}
	eachRandom(t, 7, func(r decidetest.Random, src *policydata.Source, s *policydata.Snapshot) {
		req, id := r.Request(), r.Identity()
		e.Decide(s, req, id)
		for _, g := range trace.Groups {
			for _, o := range g.From {
				told[o.Kind]++
			}
			member := slices.ContainsFunc(src.Groups, func(x policydata.Group) bool {
				return x.Name == g.Name && slices.Contains(x.Members, trace.User)
			})
			if slices.Contains(g.From, policydata.Origin{Kind: policydata.OriginStore}) != member || slices.Contains(g.From, policydata.Origin{Kind: policydata.OriginToken}) != slices.Contains(id.Groups, g.Name) {
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
					if !slices.Contains(carriedBy(src, o), p.Name) {
						t.Fatalf("%+v does not carry %s", o, p.Name)
					}
				}
			}
		}
	})
	for _, k := range []policydata.OriginKind{policydata.OriginToken, policydata.OriginStore, policydata.OriginClaim, policydata.OriginUser, policydata.OriginGroup, policydata.OriginRole, policydata.OriginDelegation} {
		if told[k] == 0 {
			t.Errorf("nothing came from a %s: the test shows too little", k)
		}
	}
}

// carriedBy returns the policies of an origin.
func carriedBy(src *policydata.Source, o policydata.Origin) []string {
	switch o.Kind {
	case policydata.OriginUser:
		i := slices.IndexFunc(src.Users, func(u policydata.User) bool { return u.Name == o.Name })
		return src.Users[i].Policies
	case policydata.OriginGroup:
		i := slices.IndexFunc(src.Groups, func(g policydata.Group) bool { return g.Name == o.Name })
		return src.Groups[i].Policies
	case policydata.OriginRole, policydata.OriginDelegation:
		i := slices.IndexFunc(src.Roles, func(r policydata.Role) bool { return r.Name == o.Name })
		return src.Roles[i].Policies
	}
	return nil
}

// What a trace says would help does help.
func TestChangesAllow(t *testing.T) {
	e, trace := policydata.NewEvaluator(), &policydata.Trace{}
	e.Watch(trace)
	kinds := map[policydata.ChangeKind]int{}
	eachRandom(t, 8, func(r decidetest.Random, src *policydata.Source, s *policydata.Snapshot) {
		req, id := r.Request(), r.Identity()
		d := decidetest.VerdictOf(e.Decide(s, req, id))
		changes := trace.Changes(s, req, id)
		if d.Reason == policydata.ReasonAllowed && len(changes) > 0 {
			t.Fatalf("allowed, and could be by %+v", changes)
		}
		for _, c := range changes {
			kinds[c.Kind]++
			changed, who := *req, *id
			if c.Token || c.Kind == policydata.ChangeToken {
				who = policydata.Identity{Authenticated: true}
			}
			switch c.Kind {
			case policydata.ChangeMethod:
				changed.Method, changed.Preflight = c.Value, false
				if c.Value == policydata.MethodsPreflight {
					changed.Method, changed.Preflight = "OPTIONS", true
				}
			case policydata.ChangeGroup:
				who.Groups = append(slices.Clone(who.Groups), c.Value)
			case policydata.ChangeClaim:
				who.Roles = append(slices.Clone(who.Roles), c.Value)
			}
			if got := decidetest.Decide(src, &changed, &who); got.Reason != policydata.ReasonAllowed {
				t.Fatalf("%+v for %+v, %+v: %v", c, *req, *id, got)
			}
		}
	})
	for _, k := range []policydata.ChangeKind{policydata.ChangeMethod, policydata.ChangeToken, policydata.ChangeGroup, policydata.ChangeClaim} {
		if kinds[k] == 0 {
			t.Errorf("no %s helped: the test shows too little", k)
		}
	}
}
