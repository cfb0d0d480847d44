package policydata

import (
	"fmt"
	"strings"
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

func testIssuer(name string) Issuer {
	return Issuer{
		Name: name, Issuer: "https://" + name, Audiences: []string{"a"}, Algorithms: []string{"RS256"},
		UsernameClaims: [][]string{{"sub"}}, MaxTokenLifetime: 3600,
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
	{"literal", literalRules, 1_000, 1},
	{"literal", literalRules, 10_000, 1},
	{"literal", literalRules, 100_000, 1},
	{"shared_path", sharedPath, 10, 1},
	{"shared_path", sharedPath, 1_000, 1},
	{"shared_path", sharedPath, 10_000, 1},
	{"shared_path", sharedPath, 100_000, 1},
	{"rule_a_team", conditionedRules, 10_000, 1},
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

// A typical payload: what a Keycloak realm with a few clients puts into one.
const benchClaims = `{"exp":1800000300,"iat":1800000000,"jti":"6f4e2c1a-58f2-4b0a-9d63-0f7a3f4f6f0e","iss":"https://idp.example.com/realms/eo","aud":["workspace-api","account"],` +
	`"sub":"9b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0","typ":"Bearer","azp":"portal","sid":"0d1e2f30-4152-6374-8596-a7b8c9daebfc","acr":"1","allowed-origins":["https://portal.example.com"],` +
	`"realm_access":{"roles":["default-roles-eo","offline_access","uma_authorization"]},"resource_access":{"account":{"roles":["manage-account","manage-account-links","view-profile"]},` +
	`"portal":{"roles":["user"]},"team-00000":{"roles":["ws_access","ws_admin"]}},"scope":"openid email profile","email_verified":true,"name":"Eric Example",` +
	`"groups":["/team-00000","/library"],"preferred_username":"eric","given_name":"Eric","family_name":"Example","email":"eric@example.org","auth_level":2}`

// conditionCases are conditions that hold for decideCase(1)'s request.
var conditionCases = []struct {
	name string
	when *Expr
}{
	{"none", nil},
	{"team_in_groups", op(OpIn, &Expr{Op: OpPathVar, Str: "team"}, variable(VarTokenGroups))},
	{"role_of_the_team_in_claims", op(OpIn, text("ws_access"), field(op(OpIndex, claim("resource_access"), &Expr{Op: OpPathVar, Str: "team"}), "roles"))},
	{"level_of_claims", op(OpAnd, op(OpGe, claim("auth_level"), number(2)), claim("email_verified"))},
	{"header", op(OpEq, field(variable(VarRequestHeaders), "x-three"), text("3"))},
	{"query", op(OpIn, text("b c"), field(variable(VarRequestQuery), "a"))},
	{"hour", op(OpLt, part(PartHours, variable(VarRequestTime)), number(18))},
	{"exists_joined", op(OpExists, claim("groups"), op(OpEq, local(0), op(OpConcat, text("/"), &Expr{Op: OpPathVar, Str: "team"})))},
}

func conditionCase(t testing.TB, when *Expr) (*Snapshot, *Request, *Identity) {
	req, id := decideCase(1)
	req.Headers = [][2]string{{":method", "GET"}, {"x-one", "1"}, {"x-two", "2"}, {"x-three", "3"}}
	req.Query, req.Time, id.Claims = "x=1&a=b+c", testTime, benchClaims
	return load(t, everyone([]Policy{allowPaths("p", when, "/workspaces/{team}/**")}, "p")), req, id
}

func BenchmarkCondition(b *testing.B) {
	for _, c := range conditionCases {
		b.Run(c.name, func(b *testing.B) {
			s, req, id := conditionCase(b, c.when)
			e := NewEvaluator()
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

// What a condition costs that is stopped after MaxConditionSteps.
func BenchmarkConditionStopped(b *testing.B) {
	groups, claims := variable(VarTokenGroups), variable(VarTokenClaims)
	for name, when := range map[string]*Expr{
		"groups_with_groups":    op(OpAll, groups, op(OpAll, groups, op(OpNe, local(0), op(OpConcat, local(1), text("x"))))),
		"claims_for_each_group": op(OpAll, groups, op(OpEq, claims, claims)),
		"long_texts":            op(OpAll, groups, op(OpNot, op(OpContains, claim("long"), text("xy")))),
	} {
		b.Run(name, func(b *testing.B) {
			s, req, id := conditionCase(b, op(OpOr, when, truth(1)))
			id.Groups = manyGroups(1_000)
			id.Claims = strings.TrimSuffix(benchClaims, "}") + `,"long":"` + strings.Repeat("x", 12<<10) + `"}`
			e := NewEvaluator()
			if d := e.Decide(s, req, id); d.Reason != ReasonNoMatchingRule {
				b.Fatal(d.Reason)
			}
			b.ReportAllocs()
			for b.Loop() {
				e.Decide(s, req, id)
			}
		})
	}
}

func TestConditionsNeverAllocate(t *testing.T) {
	for _, c := range conditionCases {
		t.Run(c.name, func(t *testing.T) {
			s, req, id := conditionCase(t, c.when)
			e := NewEvaluator()
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
