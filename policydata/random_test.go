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
		rule.When = (&conditionMaker{random: r, path: pathCapture, host: hostCapture}).boolean(3)
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

// conditionMaker writes random conditions.
type conditionMaker struct {
	random
	path, host string // captures, "" for none
	macros     int
}

// boolean returns a condition that is a bool, or errs.
func (r *conditionMaker) boolean(depth int) *Expr {
	if depth > 0 && r.IntN(2) == 0 {
		d := depth - 1
		switch op := pick(r.random, OpAnd, OpAnd, OpOr, OpOr, OpNot, OpIf, OpExists, OpAll); op {
		case OpNot:
			return &Expr{Op: op, Args: []*Expr{r.boolean(d)}}
		case OpIf:
			return &Expr{Op: op, Args: []*Expr{r.boolean(d), r.boolean(d), r.boolean(d)}}
		case OpExists, OpAll:
			over := pick(r.random, r.list, r.dynamic, r.mapping)()
			r.macros++
			predicate := r.boolean(d)
			r.macros--
			return &Expr{Op: op, Args: []*Expr{over, predicate}}
		default:
			return &Expr{Op: op, Args: []*Expr{r.boolean(d), r.boolean(d)}}
		}
	}
	compare := pick(r.random, OpEq, OpNe, OpLt, OpLe, OpGt, OpGe)
	switch r.IntN(9) {
	case 0:
		return &Expr{Op: OpBool, Int: r.Int64N(2)}
	case 1:
		return &Expr{Op: pick(r.random, OpEq, OpNe), Args: []*Expr{r.list(), pick(r.random, r.list, r.dynamic)()}}
	case 2:
		size := &Expr{Op: OpSize, Args: []*Expr{pick(r.random, r.text, r.list, r.dynamic, r.mapping)()}}
		return &Expr{Op: compare, Args: []*Expr{size, r.number()}}
	case 3:
		return &Expr{Op: pick(r.random, compare, OpStartsWith, OpEndsWith, OpContains), Args: []*Expr{r.text(), r.text()}}
	case 4:
		return &Expr{Op: compare, Args: []*Expr{r.dynamic(), pick(r.random, r.text, r.number, r.dynamic, null)()}}
	case 5:
		return &Expr{Op: OpHas, Str: pick(r.random, "a", "b", "none"), Args: []*Expr{pick(r.random, r.mapping, r.dynamic)()}}
	case 6:
		now := &Expr{Op: OpVar, Int: int64(VarRequestTime)}
		if r.IntN(2) == 0 {
			return op(compare, part(r.Int64N(numParts), now), r.number())
		}
		return op(compare, now, moment(pick[int64](r.random, 0, 1e9, 2e9), pick[uint32](r.random, 0, 1)))
	}
	return &Expr{Op: OpIn, Args: []*Expr{pick(r.random, r.text, r.dynamic)(), pick(r.random, r.list, r.list, r.mapping, r.dynamic)()}}
}

func (r *conditionMaker) list() *Expr {
	switch r.IntN(5) {
	case 0, 1:
		return &Expr{Op: OpVar, Int: int64(pick(r.random, VarTokenGroups, VarTokenRoles))}
	case 2:
		return field(variable(VarRequestQuery), pick(r.random, "a", "b"))
	}
	out := &Expr{Op: OpList}
	for range r.IntN(3) {
		out.Args = append(out.Args, pick(r.random, r.text, r.text, r.dynamic)())
	}
	return out
}

func (r *conditionMaker) mapping() *Expr {
	return variable(pick(r.random, VarTokenClaims, VarRequestHeaders, VarRequestQuery))
}

func (r *conditionMaker) dynamic() *Expr {
	if r.macros > 0 && r.IntN(2) == 0 {
		return &Expr{Op: OpLocal, Int: r.Int64N(int64(r.macros))}
	}
	e := variable(VarTokenClaims)
	for range 1 + r.IntN(3) {
		if r.IntN(4) == 0 {
			e = op(OpIndex, e, pick(r.random, r.text, r.number)())
		} else {
			e = field(e, pick(r.random, "a", "b", "g0"))
		}
	}
	return e
}

func (r *conditionMaker) number() *Expr {
	return pick(r.random, number(r.Int64N(4)), uints(r.Uint64N(4)), double(float64(r.IntN(8))/2))
}

func (r *conditionMaker) text() *Expr {
	switch {
	case r.path != "" && r.IntN(2) == 0:
		return &Expr{Op: OpPathVar, Str: r.path}
	case r.host != "" && r.IntN(2) == 0:
		return &Expr{Op: OpHostVar, Str: r.host}
	case r.IntN(6) == 0:
		return field(variable(VarRequestHeaders), pick(r.random, "a", "b"))
	case r.IntN(8) == 0:
		return op(OpConcat, r.text(), r.text())
	case r.IntN(2) == 0:
		return &Expr{Op: OpString, Str: pick(r.random, "", "a", "g0", "g1", "r0", "u0", "s0")}
	}
	return &Expr{Op: OpVar, Int: int64(pick(
		r.random, VarRequestMethod, VarRequestPath, VarRequestHost, VarTokenIss, VarTokenSub, VarUserName, VarServiceName,
	))}
}

// claims returns a random payload.
func (r random) claims() string {
	return pick(
		r, "", "{}", `{"a":"g0","b":["a","g0",1.5,{"a":2}]}`, `{"a":{"g0":{"a":["a"],"b":true}},"b":{"b":null}}`,
		` { "b" : "\u0061" , "\u0061" : [ [ ] , 0 ] , "g0" : true } `, `{"g0":[1,2,3],"a":2,"b":0.5}`,
	)
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
	for range r.IntN(4) {
		req.Headers = append(req.Headers, [2]string{pick(r, "a", "b", "cookie", "x-token", "authorization", ":path"), pick(r, "", "a", "g0")})
	}
	req.TokenHeader, req.Time = pick(r, "authorization", "x-token", "cookie"), r.Int64N(4e9)
	req.Query = pick(r, "", "a=g0&a=a", "b=a&a", "a=%67%30", "&a+=+", "%", "a=1;b", "b=%ff")
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
		RequireKnownUser: r.IntN(12) == 0, Claims: r.claims(),
	}
	return id
}
