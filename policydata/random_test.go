package policydata

import (
	"math/rand/v2"
	"slices"
	"strings"
)

// random makes policy sets and requests out of few words, so that much matches.
type random struct{ *rand.Rand }

func pick[T any](r random, from ...T) T { return from[r.IntN(len(from))] }

// some returns up to n distinct elements.
func some[T any](r random, n int, from ...T) []T {
	from = slices.Clone(from)
	r.Shuffle(len(from), func(i, j int) { from[i], from[j] = from[j], from[i] })
	return from[:r.IntN(min(n, len(from))+1)]
}

var (
	randomPolicies = []string{"p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7"}
	randomGroups   = []string{"g0", "g1", "g2", "g3"}
	randomUsers    = []string{"u0", "u1", "u2"}
)

func (r random) source() Source {
	src := Source{Generation: r.Uint64()}
	for _, name := range randomPolicies {
		p := Policy{Name: name}
		for range r.IntN(4) {
			p.Rules = append(p.Rules, r.rule())
		}
		src.Policies = append(src.Policies, p)
	}
	known := names(src.Policies, func(p Policy) string { return p.Name })
	users := some(r, 3, randomUsers...)
	for _, name := range users {
		src.Users = append(src.Users, User{Name: name, Disabled: r.IntN(9) == 0, Policies: some(r, 3, known...)})
	}
	for _, name := range some(r, 4, randomGroups...) {
		src.Groups = append(src.Groups, Group{Name: name, Members: some(r, 2, users...), Policies: some(r, 2, known...)})
	}
	groups := names(src.Groups, func(g Group) string { return g.Name })
	for _, name := range []string{GroupAuthenticated, GroupUnauthenticated} {
		src.Groups = append(src.Groups, Group{Name: name, Policies: some(r, 5, known...)})
	}
	for _, name := range []string{"r0", "r1", "g0"} {
		src.Roles = append(src.Roles, Role{
			Name: name, Policies: some(r, 2, known...), Users: some(r, 1, users...),
			Groups: some(r, 1, groups...), Claims: some(r, 2, "r0", "c0", "c1"),
		})
	}
	for _, name := range []string{"gov0", "gov1"} {
		src.Roles = append(src.Roles, Role{Name: name, Governing: true, Policies: some(r, 6, known...)})
	}
	src.Services = []Service{
		{Name: "s0", Role: "r0", Identities: []ServiceIdentity{{"kc", "c", "sub-c"}, {"kc", "c", "sub-2"}, {"other", "c", ""}}, Delegation: r.delegation()},
		{Name: "s1", Disabled: r.IntN(2) == 0, Role: "r1", Identities: []ServiceIdentity{{"kc", "d", ""}}, Delegation: r.delegation()},
	}
	src.Issuers = []Issuer{testIssuer("kc"), testIssuer("other")}
	for _, id := range some(r, 5, "t0", "t1", "t2", "t3", "t4") {
		src.Revoked = append(src.Revoked, RevokedToken{Issuer: pick(r, "kc", "other"), ID: id, Expires: 1 + r.Int64N(9)})
	}
	return src
}

func testIssuer(name string) Issuer {
	return Issuer{
		Name: name, Issuer: "https://" + name, Audiences: []string{"a"}, Algorithms: []string{"RS256"},
		UsernameClaims: [][]string{{"sub"}}, MaxTokenLifetime: 3600,
	}
}

func (r random) delegation() (out []Delegation) {
	for range r.IntN(3) {
		out = append(out, Delegation{
			Role:  pick(r, "gov0", "gov1"),
			Users: some(r, 2, "*", "u0", "u1", "ghost"), Groups: some(r, 2, randomGroups...),
		})
	}
	return out
}

func (r random) rule() Rule {
	rule := Rule{
		Name:    pick(r, "", "", "named"),
		Effect:  pick(r, EffectAllow, EffectAllow, EffectDeny),
		Methods: append(some(r, 2, "GET", "POST", "PURGE", "@read", "@write", "@preflight"), pick(r, "*", "*", "GET", "OPTIONS")),
	}
	pathCapture, hostCapture := pick(r, "", "x", "y"), pick(r, "", "", "h")
	for range 1 + r.IntN(3) {
		rule.Paths = append(rule.Paths, r.pathPattern(pathCapture))
	}
	for range pick(r, 0, 0, 1, 2, 3) {
		rule.Hosts = append(rule.Hosts, r.hostPattern(hostCapture))
	}
	if len(rule.Hosts) == 0 {
		hostCapture = ""
	}
	if r.IntN(2) == 0 {
		rule.When = r.boolean(3, pathCapture, hostCapture)
	}
	return rule
}

// pathPattern returns a pattern that captures under a name, if there is one.
func (r random) pathPattern(capture string) string {
	var parts []string
	for range pick(r, 0, 0, 1, 1, 2, 3) {
		parts = append(parts, pick(r, "a", "b", "a", "*", "g0"))
	}
	if capture != "" {
		parts = slices.Insert(parts, r.IntN(len(parts)+1), "{"+capture+"}")
	}
	if r.IntN(3) == 0 {
		parts = append(parts, "{z}")
	}
	return "/" + strings.Join(append(parts, pick(r, "", "**", "**", "**", "a", "*")), "/")
}

func (r random) hostPattern(capture string) string {
	if capture != "" {
		return pick(r, "{h}.a", "{h}", "b.{h}.a", "{h}.{i}")
	}
	return pick(r, "a", "b.a", "*.a", "*.b.a", "{i}.a", HostAPI)
}

// boolean returns a condition that is a bool.
func (r random) boolean(depth int, path, host string) *Expr {
	sub := func() *Expr { return r.boolean(depth-1, path, host) }
	text := func() *Expr { return r.text(path, host) }
	list := func() *Expr {
		if r.IntN(2) == 0 {
			return &Expr{Op: OpVar, Int: int64(pick(r, VarTokenGroups, VarTokenRoles))}
		}
		out := &Expr{Op: OpList}
		for range r.IntN(3) {
			out.Args = append(out.Args, text())
		}
		return out
	}
	if depth > 0 && r.IntN(2) == 0 {
		switch op := pick(r, OpAnd, OpOr, OpNot); op {
		case OpNot:
			return &Expr{Op: op, Args: []*Expr{sub()}}
		default:
			return &Expr{Op: op, Args: []*Expr{sub(), sub()}}
		}
	}
	switch r.IntN(6) {
	case 0:
		return &Expr{Op: OpBool, Int: r.Int64N(2)}
	case 1:
		return &Expr{Op: pick(r, OpEq, OpNe), Args: []*Expr{list(), list()}}
	case 2:
		size := &Expr{Op: OpSize, Args: []*Expr{pick(r, text(), list())}}
		return &Expr{Op: pick(r, OpEq, OpNe, OpLt, OpLe, OpGt, OpGe), Args: []*Expr{size, {Op: OpInt, Int: r.Int64N(4)}}}
	case 3:
		return &Expr{Op: pick(r, OpEq, OpNe, OpLt, OpLe, OpGt, OpGe, OpStartsWith, OpEndsWith, OpContains), Args: []*Expr{text(), text()}}
	}
	return &Expr{Op: OpIn, Args: []*Expr{text(), list()}}
}

func (r random) text(path, host string) *Expr {
	switch {
	case path != "" && r.IntN(2) == 0:
		return &Expr{Op: OpPathVar, Str: path}
	case host != "" && r.IntN(2) == 0:
		return &Expr{Op: OpHostVar, Str: host}
	case r.IntN(12) == 0:
		return &Expr{Op: OpString, Str: boom}
	case r.IntN(2) == 0:
		return &Expr{Op: OpString, Str: pick(r, "", "a", "g0", "g1", "r0", "u0", "s0")}
	}
	return &Expr{Op: OpVar, Int: int64(pick(
		r, VarRequestMethod, VarRequestPath, VarRequestHost, VarTokenIss, VarTokenSub, VarUserName, VarServiceName,
	))}
}

func (r random) request() *Request {
	req := &Request{
		Method: pick(r, "GET", "GET", "POST", "PURGE", "OPTIONS", "get", "TRACE"),
		Host:   pick(r, "", "a", "b.a", "c.b.a", "g0.a", "c", "[::1]"), API: r.IntN(8) == 0,
	}
	req.Preflight = req.Method == "OPTIONS" && r.IntN(2) == 0
	for range pick(r, 1, 1, 2, 2, 3, 4, 5) {
		req.Path += "/" + pick(r, "a", "b", "g0", "g1", "*", "ab")
	}
	if r.IntN(6) == 0 {
		req.Path += "/"
	}
	if r.IntN(40) == 0 {
		req.Path += strings.Repeat("/a", 70)
	}
	return req
}

func (r random) identity() *Identity {
	if r.IntN(6) == 0 {
		return &Identity{}
	}
	id := &Identity{
		Authenticated: true, Issuer: pick(r, "kc", "kc", "other"), Iss: "https://kc",
		Subject: pick(r, "", "sub-c", "sub-2", "s0", "u0"), User: pick(r, "u0", "u1", "u2", "ghost"),
		Client: pick(r, "", "", "", "", "c", "d", "s0", "s1", "who"), Own: r.IntN(4) == 0,
		HasActor: r.IntN(8) == 0, Actor: pick(r, "", "c", "d", "s0", "who"),
		Groups:           some(r, 3, "g0", "g1", "g2", "a", "*", "", GroupAuthenticated, GroupUnauthenticated, "p/q"),
		Roles:            some(r, 2, "r0", "c0", "c1", "system:x", "none"),
		RequireKnownUser: r.IntN(12) == 0,
	}
	return id
}
