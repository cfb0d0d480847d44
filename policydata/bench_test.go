package policydata

import (
	"fmt"
	"testing"
)

// everyone is the source in which a policy counts for every user.
func everyone(policies []Policy, with ...string) Source {
	return Source{
		Generation: 1, Policies: policies,
		Groups:  []Group{{Name: GroupAuthenticated, Policies: with}},
		Issuers: []Issuer{testIssuer("kc")},
	}
}

func allowPaths(name string, when *Expr, paths ...string) Policy {
	return Policy{Name: name, Rules: []Rule{{Effect: EffectAllow, Methods: []string{"*"}, Paths: paths, When: when}}}
}

func teamName(i int) string { return fmt.Sprintf("team-%05d", i) }

// templateRule is the story: one rule for all teams, beside n policies of
// others.
func templateRule(n int) Source {
	policies := []Policy{allowPaths("own-workspace", inGroups(), "/workspaces/{team}/**")}
	for i := range n {
		policies = append(policies, allowPaths(fmt.Sprintf("other-%05d", i), nil, fmt.Sprintf("/services/s%d/**", i)))
	}
	return everyone(policies, "own-workspace")
}

// literalRules is one rule a team, each with its team's own path.
func literalRules(n int) Source {
	src := everyone(nil)
	for i := range n {
		src.Policies = append(src.Policies, allowPaths(teamName(i), nil, "/workspaces/"+teamName(i)+"/**"))
		src.Groups = append(src.Groups, Group{Name: teamName(i), Policies: []string{teamName(i)}})
	}
	return src
}

// sharedPath is one path that n groups have a policy for.
func sharedPath(n int) Source {
	src := everyone(nil)
	for i := range n {
		src.Policies = append(src.Policies, allowPaths(teamName(i), nil, "/workspaces/{w}/**"))
		src.Groups = append(src.Groups, Group{Name: teamName(i), Policies: []string{teamName(i)}})
	}
	return src
}

// conditionedRules is one policy for everyone with a rule a team.
func conditionedRules(n int) Source {
	p := Policy{Name: "teams"}
	for i := range n {
		p.Rules = append(p.Rules, Rule{
			Effect: EffectAllow, Methods: []string{"*"}, Paths: []string{"/workspaces/" + teamName(i) + "/**"},
			When: &Expr{Op: OpIn, Args: []*Expr{{Op: OpString, Str: teamName(i)}, {Op: OpVar, Int: int64(VarTokenGroups)}}},
		})
	}
	return everyone([]Policy{p}, "teams")
}

func manyGroups(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = teamName(i)
	}
	return out
}

var decideCases = []struct {
	name   string
	source func(n int) Source
	n      int
	groups int
}{
	{"template", templateRule, 10, 1},
	{"template", templateRule, 1_000, 1},
	{"template", templateRule, 10_000, 1},
	{"template", templateRule, 100_000, 1},
	{"literal", literalRules, 10, 1},
	{"literal", literalRules, 10_000, 1},
	{"literal", literalRules, 100_000, 1},
	{"rule_a_team", conditionedRules, 10_000, 1},
	{"shared_path", sharedPath, 10_000, 1},
	{"in_10_groups", literalRules, 10_000, 10},
	{"in_1000_groups", literalRules, 10_000, 1_000},
	{"shared_path_in_1000_groups", sharedPath, 10_000, 1_000},
}

// decideCase returns a request that the case's source allows.
func decideCase(groups int) (*Request, *Identity) {
	return &Request{Method: "GET", Path: "/workspaces/" + teamName(groups-1) + "/a/b", Host: "api.example.com"},
		&Identity{Authenticated: true, Issuer: "kc", User: "eric", Groups: manyGroups(groups)}
}

func BenchmarkDecide(b *testing.B) {
	for _, c := range decideCases {
		b.Run(fmt.Sprintf("%s/%d", c.name, c.n), func(b *testing.B) {
			s, e := load(b, c.source(c.n)), NewEvaluator()
			req, id := decideCase(c.groups)
			if d := e.Decide(s, req, id); !d.Allowed() {
				b.Fatal(d.Reason)
			}
			b.ReportAllocs()
			for b.Loop() {
				e.Decide(s, req, id)
			}
		})
	}
}

// A decision allocates nothing once the evaluator has seen the like, however
// many policies and groups there are.
func TestDecideNeverAllocates(t *testing.T) {
	for _, c := range decideCases {
		if c.n > 10_000 {
			continue
		}
		t.Run(fmt.Sprintf("%s/%d", c.name, c.n), func(t *testing.T) {
			s, e := load(t, c.source(c.n)), NewEvaluator()
			req, id := decideCase(c.groups)
			allocs := testing.AllocsPerRun(10, func() {
				if d := e.Decide(s, req, id); !d.Allowed() {
					t.Fatal(d.Reason)
				}
			})
			if allocs != 0 {
				t.Errorf("%v allocations", allocs)
			}
		})
	}
}

func BenchmarkCanonicalPath(b *testing.B) {
	for _, path := range []string{"/workspaces/team-00001/a/b?x=1", "/workspaces/te%20am/%C3%A9"} {
		b.Run(path, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := CanonicalPath(path); !ok {
					b.Fatal("refused")
				}
			}
		})
	}
}

// fleet is 10,000 policies and 10,000 users in 1,000 groups.
func fleet() Source {
	src := literalRules(10_000)
	for i := range 10_000 {
		src.Users = append(src.Users, User{Name: fmt.Sprintf("user-%05d", i), Policies: []string{teamName(i)}})
		g := &src.Groups[1+i%1_000]
		g.Members = append(g.Members, src.Users[i].Name)
	}
	return src
}

func BenchmarkBuild(b *testing.B) {
	src := fleet()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Build(src); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	body, err := Build(fleet())
	if err != nil {
		b.Fatal(err)
	}
	signed := AppendSignature(body, "k", []byte("sig"))
	b.ReportAllocs()
	b.ReportMetric(float64(len(signed)), "bytes")
	for b.Loop() {
		if _, err := Load(signed, func(_, _ []byte) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(signed)), "bytes")
}
