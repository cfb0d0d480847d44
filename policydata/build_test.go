package policydata

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// macros is as many macros within each other.
func macros(n int) *Expr {
	e := truth(1)
	for range n {
		e = op(OpAll, list(), e)
	}
	return e
}

// Each case changes the story in one way that Build must refuse.
func TestBuildRefuses(t *testing.T) {
	rule := func(change func(*Rule)) func(*Source) {
		return func(s *Source) { change(&s.Policies[0].Rules[0]) }
	}
	when := func(e *Expr) func(*Source) { return rule(func(r *Rule) { r.When = e }) }
	service := func(change func(*Service)) func(*Source) { return func(s *Source) { change(&s.Services[0]) } }
	issuer := func(change func(*Issuer)) func(*Source) { return func(s *Source) { change(&s.Issuers[0]) } }
	claims := func(headers ...string) func(*Source) {
		return issuer(func(i *Issuer) {
			for _, h := range headers {
				i.ClaimHeaders = append(i.ClaimHeaders, ClaimHeader{Header: h, Claim: []string{"a"}})
			}
		})
	}
	revoked := func(r ...RevokedToken) func(*Source) { return func(s *Source) { s.Revoked = r } }
	str := func(s string) *Expr { return &Expr{Op: OpString, Str: s} }
	not := func(e *Expr) *Expr { return &Expr{Op: OpNot, Args: []*Expr{e}} }
	deep := &Expr{Op: OpBool}
	for range MaxExprDepth {
		deep = not(deep)
	}
	tests := []struct {
		name   string
		change func(*Source)
		want   string
	}{
		{"policy_name", func(s *Source) { s.Policies[0].Name = "a/b" }, `policy "a/b": a name must not contain`},
		{"policy_twice", func(s *Source) { s.Policies = append(s.Policies, Policy{Name: "stac"}) }, `policy "stac": stands twice`},
		{"too_many_rules", func(s *Source) { s.Policies[0].Rules = make([]Rule, MaxRulesPerPolicy+1) }, "more than 65536 rules"},
		{"rule_name_like_an_index", rule(func(r *Rule) { r.Name = "#1" }), `rule 0: name "#1"`},
		{"rule_name_too_long", rule(func(r *Rule) { r.Name = strings.Repeat("a", 257) }), "at most 256 bytes"},
		{"rule_name_invalid", rule(func(r *Rule) { r.Name = "\xff" }), "UTF-8"},
		{"no_methods", rule(func(r *Rule) { r.Methods = nil }), `policy "own-workspace": rule 0: has no methods`},
		{"bad_method", rule(func(r *Rule) { r.Methods = []string{"G T"} }), `"G T" is no method`},
		{"no_paths", rule(func(r *Rule) { r.Paths = nil }), "has 0 paths"},
		{"too_many_paths", rule(func(r *Rule) { r.Paths = make([]string, MaxPathsPerRule+1) }), "has 4097 paths"},
		{"bad_path", rule(func(r *Rule) { r.Paths = []string{"a"} }), `path "a": a path pattern begins with`},
		{"too_many_hosts", rule(func(r *Rule) { r.Hosts = make([]string, MaxHostsPerRule+1) }), "more than 256 hosts"},
		{"bad_host", rule(func(r *Rule) { r.Hosts = []string{"a:80"} }), `host "a:80": a host pattern has no port`},

		{"condition_arity", when(&Expr{Op: OpAnd, Args: []*Expr{{Op: OpBool}}}), "operator 8 has 1 operands"},
		{"condition_leaf_with_operands", when(&Expr{Op: OpBool, Args: []*Expr{{Op: OpBool}}}), "operator 3 has 1 operands"},
		{"condition_operator", when(&Expr{Op: numOps, Args: []*Expr{{Op: OpBool}, {Op: OpBool}}}), "operands"},
		{"condition_variable", when(&Expr{Op: OpEq, Args: []*Expr{{Op: OpVar, Int: int64(numVars)}, str("x")}}), "operand that does not fit"},
		{"condition_variable_of_no_macro", when(local(0)), "operand that does not fit"},
		{"condition_variable_of_the_macro_in_its_range", when(op(OpExists, local(0), truth(1))), "operand that does not fit"},
		{"condition_variable_of_an_inner_macro", when(op(OpExists, list(), local(1))), "operand that does not fit"},
		{"condition_macros_too_deep", when(macros(MaxMacroDepth + 1)), "operand that does not fit"},
		{"condition_part_of_time", when(part(numParts, moment(0, 0))), "operand that does not fit"},
		{"condition_nanoseconds", when(moment(0, 1e9)), "operand that does not fit"},
		{"condition_outside_of_its_text", when(&Expr{Op: OpBool, Pos: 2}), "outside of its text"},
		{"condition_nil_operand", when(not(nil)), "larger than"},
		{"condition_too_deep", when(deep), "deeper than 32"},
		{"condition_too_large", when(&Expr{Op: OpIn, Args: []*Expr{str("x"), {Op: OpList, Args: slices.Repeat([]*Expr{str("x")}, MaxExprNodes)}}}), "larger than 256 nodes"},
		{"condition_long_constant", when(&Expr{Op: OpEq, Args: []*Expr{str("x"), str(strings.Repeat("a", MaxConditionBytes+1))}}), "more than 4096 bytes"},
		{"condition_long_text", rule(func(r *Rule) { r.Text = strings.Repeat("a", MaxConditionBytes+1) }), "condition: has more than 4096 bytes"},
		{"capture_unbound", when(&Expr{Op: OpEq, Args: []*Expr{{Op: OpPathVar, Str: "other"}, str("x")}}), "path.other is not captured by every one"},
		{"capture_not_in_every_path", rule(func(r *Rule) { r.Paths = append(r.Paths, "/x/**") }), "path.team is not captured by every one"},
		{"capture_without_hosts", when(&Expr{Op: OpEq, Args: []*Expr{{Op: OpHostVar, Str: "h"}, str("x")}}), "host.h is not captured: the rule has no hosts"},
		{"capture_of_the_api_host", rule(func(r *Rule) {
			r.Hosts = []string{"{h}.a", HostAPI}
			r.When = &Expr{Op: OpEq, Args: []*Expr{{Op: OpHostVar, Str: "h"}, str("x")}}
		}), "host.h is not captured by every one"},

		{"user_name", func(s *Source) { s.Users[1].Name = "system:root" }, `begin with "system:"`},
		{"user_twice", func(s *Source) { s.Users = append(s.Users, User{Name: "gone"}) }, `user "gone" stands twice`},
		{"user_policy", func(s *Source) { s.Users[0].Policies = []string{"nope"} }, `user "root": unknown policy "nope"`},
		{"group_name", func(s *Source) { s.Groups = append(s.Groups, Group{Name: "system:other"}) }, `begin with "system:"`},
		{"group_twice", func(s *Source) { s.Groups = append(s.Groups, Group{Name: "foo"}) }, `group "foo" stands twice`},
		{"group_member", func(s *Source) { s.Groups[2].Members = []string{"nope"} }, `group "foo": unknown user "nope"`},
		{"group_policy", func(s *Source) { s.Groups[2].Policies = []string{"nope"} }, `group "foo": unknown policy "nope"`},
		{"built_in_members", func(s *Source) { s.Groups[0].Members = []string{"root"} }, "is built in: it has no members"},
		{"built_in_role", func(s *Source) { s.Roles[0].Groups = []string{GroupAuthenticated} }, "is built in: it has no members"},
		{"role_name", func(s *Source) { s.Roles[0].Name = "" }, "must not be empty"},
		{"role_twice", func(s *Source) { s.Roles = append(s.Roles, s.Roles[0]) }, `role "librarian" stands twice`},
		{"role_policy", func(s *Source) { s.Roles[0].Policies = []string{"nope"} }, `role "librarian": unknown policy "nope"`},
		{"role_user", func(s *Source) { s.Roles[0].Users = []string{"nope"} }, `role "librarian": unknown user "nope"`},
		{"role_group", func(s *Source) { s.Roles[0].Groups = []string{"nope"} }, `role "librarian": unknown group "nope"`},
		{"role_claim_empty", func(s *Source) { s.Roles[0].Claims = []string{""} }, `role claim value ""`},
		{"role_claim_system", func(s *Source) { s.Roles[0].Claims = []string{"system:x"} }, `role claim value "system:x"`},
		{"role_claim_too_long", func(s *Source) { s.Roles[0].Claims = []string{strings.Repeat("a", 257)} }, "1 to 256 bytes"},
		{"governing_with_users", func(s *Source) { s.Roles[1].Users = []string{"root"} }, `role "act-as-user": is governing`},
		{"governing_with_groups", func(s *Source) { s.Roles[1].Groups = []string{"foo"} }, `role "act-as-user": is governing`},
		{"governing_with_claims", func(s *Source) { s.Roles[1].Claims = []string{"c"} }, `role "act-as-user": is governing`},

		{"service_name", service(func(s *Service) { s.Name = "a*" }), "must not contain"},
		{"service_twice", func(s *Source) { s.Services = append(s.Services, s.Services[1]) }, `service "off" stands twice`},
		{"service_without_role", service(func(s *Service) { s.Role = "" }), `service "mlops": unknown role ""`},
		{"service_role_governing", service(func(s *Service) { s.Role = "act-as-user" }), `role "act-as-user": governing must be false here`},
		{"delegation_role", service(func(s *Service) { s.Delegation[0].Role = "nope" }), `delegation: unknown role "nope"`},
		{"delegation_role_not_governing", service(func(s *Service) { s.Delegation[0].Role = "librarian" }), `role "librarian": governing must be true here`},
		{"delegation_user", service(func(s *Service) { s.Delegation[0].Users = []string{"a/b"} }), `delegation: user "a/b"`},
		{"delegation_group", service(func(s *Service) { s.Delegation[0].Groups = []string{"*"} }), `delegation: group "*"`},
		{"delegation_to_a_built_in_group", service(func(s *Service) { s.Delegation[0].Groups = []string{GroupAuthenticated} }), `delegation: group "system:authenticated"`},
		{"identity_issuer", service(func(s *Service) { s.Identities[0].Issuer = "nope" }), `of issuer "nope": needs a client and a known issuer`},
		{"identity_client", service(func(s *Service) { s.Identities[0].Client = "" }), "needs a client"},
		{"identity_too_long", service(func(s *Service) { s.Identities[0].Subject = strings.Repeat("a", maxTextBytes+1) }), "at most 4096 bytes"},
		{"identity_of_two_services", func(s *Source) { s.Services[1].Identities = s.Services[0].Identities }, "is an identity of two services"},
		{"client_of_two_services", func(s *Source) { s.Services[1].Identities[0].Client = "mlops-client" }, "is an identity of two services"},

		{"issuer_name", issuer(func(i *Issuer) { i.Name = "a/b" }), "known issuer"},
		{"issuer_twice", func(s *Source) { s.Issuers = append(s.Issuers, s.Issuers[0]) }, `issuer "kc" stands twice`},
		{"iss_twice", func(s *Source) {
			s.Issuers = append(s.Issuers, s.Issuers[0])
			s.Issuers[1].Name = "kc2"
		}, `iss "https://kc" stands twice`},
		{"issuer_without_iss", issuer(func(i *Issuer) { i.Issuer = "" }), "exact value of the iss claim"},
		{"issuer_without_audience", issuer(func(i *Issuer) { i.Audiences = nil }), "at least one audience"},
		{"issuer_empty_audience", issuer(func(i *Issuer) { i.Audiences = []string{"a", ""} }), "none of them empty"},
		{"issuer_without_algorithms", issuer(func(i *Issuer) { i.Algorithms = nil }), "at least one algorithm"},
		{"issuer_hmac", issuer(func(i *Issuer) { i.Algorithms = []string{"HS256"} }), `algorithm "HS256" is not one of`},
		{"issuer_none", issuer(func(i *Issuer) { i.Algorithms = []string{"none"} }), `algorithm "none" is not one of`},
		{"issuer_algorithm_list_as_text", issuer(func(i *Issuer) { i.Algorithms = []string{"RS256 RS384"} }), "is not one of"},
		{"issuer_without_user_name", issuer(func(i *Issuer) { i.UsernameClaims = nil }), "claim path for the user name"},
		{"issuer_empty_claim_path", issuer(func(i *Issuer) { i.GroupsClaims = [][]string{{}} }), "at least one key"},
		{"issuer_empty_claim_key", issuer(func(i *Issuer) { i.RolesClaims = [][]string{{"a", ""}} }), "none of them empty"},
		{"issuer_system_prefix", issuer(func(i *Issuer) { i.GroupsPrefix = "system:" }), "prefix must not begin"},
		{"issuer_negative_skew", issuer(func(i *Issuer) { i.ClockSkew = -1 }), "clock skew is out of range"},
		{"issuer_skew_of_a_day", issuer(func(i *Issuer) { i.ClockSkew = 86400 }), "clock skew is out of range"},
		{"issuer_without_lifetime", issuer(func(i *Issuer) { i.MaxTokenLifetime = 0 }), "maximum token lifetime"},
		{"issuer_large_key", issuer(func(i *Issuer) { i.Keys = []Key{{SPKI: make([]byte, maxKeyInfoBytes+1)}} }), "malformed issuers"},
		{"claim_header_without_claim", issuer(func(i *Issuer) { i.ClaimHeaders = []ClaimHeader{{Header: "x-a"}} }), "at least one key"},
		{"claim_header_twice", claims("x-a", "x-a"), `claim header "x-a" stands twice`},
		{"too_many_claim_headers", issuer(func(i *Issuer) {
			i.ClaimHeaders = slices.Repeat([]ClaimHeader{{Header: "x-a", Claim: []string{"a"}}}, MaxClaimHeaders+1)
		}), "more than 32 claim headers"},

		{"revoked_of_unknown_issuer", revoked(RevokedToken{"nope", "a", 1}), `revoked token of unknown issuer "nope"`},
		{"revoked_without_id", revoked(RevokedToken{"kc", "", 1}), `issuer "kc": its id has 1 to 1024 bytes`},
		{"revoked_with_a_long_id", revoked(RevokedToken{"kc", strings.Repeat("a", MaxTokenIDBytes+1), 1}), "1 to 1024 bytes"},
		{"revoked_for_ever", revoked(RevokedToken{"kc", "a", 0}), "when it expires must be known"},
		{"revoked_twice", revoked(RevokedToken{"kc", "a", 1}, RevokedToken{"kc", "a", 2}), `revoked token "a" of issuer "kc" stands twice`},
		{"too_many_revoked", revoked(make([]RevokedToken, MaxRevokedTokens+1)...), "100001 revoked tokens, more than 100000"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src := story()
			tt.change(&src)
			body, err := Build(src)
			wantError(t, err, tt.want)
			if body != nil {
				t.Error("an error, and a body")
			}
			if err != nil && (!strings.HasPrefix(err.Error(), "policydata: ") || strings.Count(err.Error(), "policydata: ") != 1) {
				t.Errorf("%q names the package other than once", err)
			}
		})
	}
}

func TestBuildAcceptsLimits(t *testing.T) {
	src := story()
	r := &src.Policies[0].Rules[0]
	r.Paths = slices.Repeat([]string{"/{team}/**"}, MaxPathsPerRule)
	r.Hosts = slices.Repeat([]string{"a.b"}, MaxHostsPerRule)
	r.Name = strings.Repeat("n", MaxNameBytes)
	r.Text = strings.Repeat("x", MaxConditionBytes)
	list := &Expr{Op: OpList, Args: slices.Repeat([]*Expr{{Op: OpString, Str: strings.Repeat("s", MaxConditionBytes)}}, MaxExprNodes-3)}
	r.When = &Expr{Op: OpIn, Args: []*Expr{{Op: OpPathVar, Str: "team"}, list}}
	src.Policies[1].Rules = slices.Repeat(src.Policies[1].Rules, MaxRulesPerPolicy/2)
	src.Services[0].Identities[0].Subject = strings.Repeat("s", maxTextBytes)
	if c := load(t, src).Counts(); c.Rules < MaxRulesPerPolicy || c.Policies != len(src.Policies) {
		t.Errorf("%+v", c)
	}
}

func TestBuildMergesRepetitions(t *testing.T) {
	once, twice := story(), story()
	for i := range twice.Services {
		twice.Services[i].Identities = slices.Repeat(twice.Services[i].Identities, 2)
	}
	for i := range twice.Groups {
		twice.Groups[i].Policies = slices.Repeat(twice.Groups[i].Policies, 2)
		twice.Groups[i].Members = slices.Repeat(twice.Groups[i].Members, 2)
	}
	twice.Roles[0].Claims = slices.Repeat(twice.Roles[0].Claims, 2)
	want, err := Build(once)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Build(twice)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("what is listed twice changes the snapshot")
	}
}

// Whoever may choose names can choose them so that they collide with some seeds.
// That must not keep anybody's policy from being published.
func TestNamesThatCollide(t *testing.T) {
	const seeds, each, slots = 16, 135, 1 << 13
	var claims []string
	for seed := range uint32(seeds) {
		for i, n := 0, 0; n < each; i++ {
			if name := fmt.Sprintf("%d-%x", seed, i); hashText(seed, name)%slots < 6 {
				claims = append(claims, name)
				n++
			}
		}
	}
	src := everyone(nil)
	src.Roles = []Role{{Name: "r", Claims: claims}}
	s := load(t, src)
	if got := s.section[secClaimIndex].count; got != slots {
		t.Fatalf("%d slots: the names are made for %d", got, slots)
	}
	if seed := s.field(secSeeds, seedClaims, 0); seed < seeds {
		t.Errorf("seed %d finds all names: they don't collide", seed)
	}
	for _, c := range claims {
		if s.findClaim(c) == none {
			t.Fatalf("%q is not found", c)
		}
	}
}

// Texts with the same hash by one seed have it by no other (some are tried): who would block all
// seeds must find such texts for each.
func TestCollisionsAreOfOneSeed(t *testing.T) {
	names := sameHash(2 * maxProbes)
	if len(names) <= maxProbes {
		t.Fatalf("%d names: too few", len(names))
	}
	seen := map[uint32]bool{}
	for _, n := range names {
		seen[hashText(0, n)] = true
	}
	if len(seen) != 1 {
		t.Fatalf("%d hashes by the seed 0: they don't collide", len(seen))
	}
	for seed := uint32(17); seed < maxSeeds; seed += 17 {
		clear(seen)
		for _, n := range names {
			seen[hashText(seed, n)] = true
		}
		if len(seen) < maxProbes {
			t.Fatalf("seed %d: %d hashes of %d names", seed, len(seen), len(names))
		}
	}
}

// sameHash returns up to n names of one hash by the seed 0: halves that meet in
// the middle, from the beginning forward and from the end backward.
func sameHash(n int) (names []string) {
	const prime, inverse, end = 16777619, 899433627, 1
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEF"
	const halves = 1 << 20 // of 4 letters
	forward := make(map[uint32]uint32, halves)
	for i := range uint32(halves) {
		h := uint32(2166136261)
		for k := range 4 {
			h = (h ^ uint32(letters[i>>(5*k)&31])) * prime
		}
		forward[h] = i
	}
	for i := uint32(0); i < halves && len(names) < n; i++ {
		h := uint32(end)
		for k := 3; k >= 0; k-- {
			h = h*inverse ^ uint32(letters[i>>(5*k)&31])
		}
		if j, ok := forward[h]; ok {
			var name [8]byte
			for k := range 4 {
				name[k], name[4+k] = letters[j>>(5*k)&31], letters[i>>(5*k)&31]
			}
			names = append(names, string(name[:]))
		}
	}
	return names
}

// Whoever may choose paths can choose them so that their edges collide with some
// seeds, below a node whose hash depends on the seed, too.
func TestPathsThatCollide(t *testing.T) {
	const seeds, each, mask = 8, 140, 1<<12 - 1
	var paths []string
	for seed := range uint32(seeds) {
		parent := hashEdge(hashWild(hashRoot), hashText(seed, "x"))
		for i, n := 0, 0; n < each; i++ {
			text := fmt.Sprintf("%d-%x", seed, i)
			if hashEdge(parent, hashText(seed, text))&mask < 4 {
				paths = append(paths, "/*/x/"+text)
				n++
			}
		}
	}
	src := everyone([]Policy{allowPaths("p", nil, paths...)}, "p")
	s := load(t, src)
	if slots := s.section[secEdges].count; slots != mask+1 {
		t.Fatalf("%d slots: the paths are made for %d", slots, mask+1)
	}
	if seed := s.field(secSeeds, seedEdges, 0); seed < seeds {
		t.Errorf("seed %d finds all edges: they don't collide", seed)
	}
	e := NewEvaluator()
	for _, p := range paths {
		if d := e.Decide(s, &Request{Method: "GET", Path: "/any" + p[2:]}, &Identity{Authenticated: true}); !d.Allowed() {
			t.Fatalf("%s: %v", p, d.Reason)
		}
	}
}
