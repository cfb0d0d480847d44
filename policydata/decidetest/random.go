package decidetest

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"sallyport/policydata"
)

// Random makes policy sets and requests out of few words, so that much matches.
type Random struct{ *rand.Rand }

// NewRandom returns the Random of a seed and a stream: the same for the same.
func NewRandom(seed, stream uint64) Random { return Random{rand.New(rand.NewPCG(seed, stream))} }

// Pick returns one of from.
func Pick[T any](r Random, from ...T) T { return from[r.IntN(len(from))] }

// some returns up to n distinct elements.
func some[T any](r Random, n int, from ...T) []T {
	from = slices.Clone(from)
	r.Shuffle(len(from), func(i, j int) { from[i], from[j] = from[j], from[i] })
	return from[:r.IntN(min(n, len(from))+1)]
}

var (
	randomPolicies = []string{"p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7"}
	randomGroups   = []string{"g0", "g1", "g2", "g3"}
	randomUsers    = []string{"u0", "u1", "u2"}
)

// Source returns a policy set that Build takes.
func (r Random) Source() policydata.Source {
	src := policydata.Source{Generation: r.Uint64()}
	for _, name := range randomPolicies {
		p := policydata.Policy{Name: name}
		for range r.IntN(4) {
			p.Rules = append(p.Rules, r.rule())
		}
		src.Policies = append(src.Policies, p)
	}
	known := randomPolicies
	users := some(r, 3, randomUsers...)
	for _, name := range users {
		src.Users = append(src.Users, policydata.User{Name: name, Disabled: r.IntN(9) == 0, TokensNotBefore: Pick[int64](r, 0, 0, 0, 0, 0, 2e9), Policies: some(r, 3, known...)})
	}
	groups := some(r, 4, randomGroups...)
	for _, name := range groups {
		src.Groups = append(src.Groups, policydata.Group{Name: name, Members: some(r, 2, users...), Policies: some(r, 2, known...)})
	}
	for _, name := range []string{policydata.GroupAuthenticated, policydata.GroupUnauthenticated} {
		src.Groups = append(src.Groups, policydata.Group{Name: name, Policies: some(r, 5, known...)})
	}
	for _, name := range []string{"r0", "r1", "g0"} {
		src.Roles = append(src.Roles, policydata.Role{
			Name: name, Policies: some(r, 2, known...), Users: some(r, 1, users...),
			Groups: some(r, 1, groups...), Claims: some(r, 2, "r0", "c0", "c1"),
		})
	}
	for _, name := range []string{"gov0", "gov1"} {
		src.Roles = append(src.Roles, policydata.Role{Name: name, Governing: true, Policies: some(r, 6, known...)})
	}
	src.Services = []policydata.Service{
		{Name: "s0", Role: "r0", Identities: []policydata.ServiceIdentity{
			{Issuer: "kc", Client: "c", Subject: "sub-c"}, {Issuer: "kc", Client: "c", Subject: "sub-2"}, {Issuer: "other", Client: "e"},
		}, Delegation: r.delegation()},
		{Name: "s1", Disabled: r.IntN(2) == 0, Role: "r1", Identities: []policydata.ServiceIdentity{{Issuer: "kc", Client: "d"}}, Delegation: r.delegation()},
	}
	src.Issuers = r.issuers()
	for _, id := range some(r, 5, "t0", "t1", "t2", "t3", "t4") {
		src.Revoked = append(src.Revoked, policydata.RevokedToken{Issuer: Pick(r, "kc", "other"), ID: id, Expires: 1 + r.Int64N(9)})
	}
	return src
}

func (r Random) delegation() (out []policydata.Delegation) {
	for range r.IntN(3) {
		out = append(out, policydata.Delegation{
			Role:  Pick(r, "gov0", "gov1"),
			Users: some(r, 2, "*", "u0", "u1", "ghost"), Groups: some(r, 2, randomGroups...),
		})
	}
	return out
}

func (r Random) rule() policydata.Rule {
	rule := policydata.Rule{
		Name:    Pick(r, "", "", "named"),
		Effect:  Pick(r, policydata.EffectAllow, policydata.EffectAllow, policydata.EffectDeny),
		Methods: append(some(r, 2, "GET", "POST", "PURGE", "@read", "@write", "@preflight"), Pick(r, "*", "*", "GET", "OPTIONS")),
	}
	pathCapture, hostCapture := Pick(r, "", "x", "y"), Pick(r, "", "", "h")
	for range 1 + r.IntN(3) {
		rule.Paths = append(rule.Paths, r.pathPattern(pathCapture))
	}
	for range Pick(r, 0, 0, 1, 2, 3) {
		rule.Hosts = append(rule.Hosts, r.hostPattern(hostCapture))
	}
	if len(rule.Hosts) == 0 {
		hostCapture = ""
	}
	if r.IntN(2) == 0 {
		rule.When = (&conditionMaker{Random: r, path: pathCapture, host: hostCapture}).boolean(3)
	}
	return rule
}

// pathPattern returns a pattern that captures under a name, if there is one.
func (r Random) pathPattern(capture string) string {
	var parts []string
	for range Pick(r, 0, 0, 1, 1, 2, 3) {
		parts = append(parts, Pick(r, "a", "b", "a", "*", "g0"))
	}
	if capture != "" {
		parts = slices.Insert(parts, r.IntN(len(parts)+1), "{"+capture+"}")
	}
	if r.IntN(3) == 0 {
		parts = append(parts, "{z}")
	}
	return "/" + strings.Join(append(parts, Pick(r, "", "**", "**", "**", "a", "*")), "/")
}

func (r Random) hostPattern(capture string) string {
	if capture != "" {
		return Pick(r, "{h}.a", "{h}", "b.{h}.a", "{h}.{i}")
	}
	return Pick(r, "a", "b.a", "*.a", "*.b.a", "{i}.a", policydata.HostAPI)
}

// conditionMaker writes random conditions.
type conditionMaker struct {
	Random
	path, host string // captures, "" for none
	macros     int
}

// boolean returns a condition that is a bool, or errs.
func (r *conditionMaker) boolean(depth int) *policydata.Expr {
	if depth > 0 && r.IntN(2) == 0 {
		d := depth - 1
		switch op := Pick(r.Random, policydata.OpAnd, policydata.OpAnd, policydata.OpOr, policydata.OpOr, policydata.OpNot, policydata.OpIf, policydata.OpExists, policydata.OpAll); op {
		case policydata.OpNot:
			return &policydata.Expr{Op: op, Args: []*policydata.Expr{r.boolean(d)}}
		case policydata.OpIf:
			return &policydata.Expr{Op: op, Args: []*policydata.Expr{r.boolean(d), r.boolean(d), r.boolean(d)}}
		case policydata.OpExists, policydata.OpAll:
			over := Pick(r.Random, r.list, r.dynamic, r.mapping)()
			r.macros++
			predicate := r.boolean(d)
			r.macros--
			return &policydata.Expr{Op: op, Args: []*policydata.Expr{over, predicate}}
		default:
			return &policydata.Expr{Op: op, Args: []*policydata.Expr{r.boolean(d), r.boolean(d)}}
		}
	}
	compare := Pick(r.Random, policydata.OpEq, policydata.OpNe, policydata.OpLt, policydata.OpLe, policydata.OpGt, policydata.OpGe)
	switch r.IntN(9) {
	case 0:
		return &policydata.Expr{Op: policydata.OpBool, Int: r.Int64N(2)}
	case 1:
		return &policydata.Expr{Op: Pick(r.Random, policydata.OpEq, policydata.OpNe), Args: []*policydata.Expr{r.list(), Pick(r.Random, r.list, r.dynamic)()}}
	case 2:
		size := &policydata.Expr{Op: policydata.OpSize, Args: []*policydata.Expr{Pick(r.Random, r.text, r.list, r.dynamic, r.mapping)()}}
		return &policydata.Expr{Op: compare, Args: []*policydata.Expr{size, r.number()}}
	case 3:
		return &policydata.Expr{Op: Pick(r.Random, compare, policydata.OpStartsWith, policydata.OpEndsWith, policydata.OpContains), Args: []*policydata.Expr{r.text(), r.text()}}
	case 4:
		return &policydata.Expr{Op: compare, Args: []*policydata.Expr{r.dynamic(), Pick(r.Random, r.text, r.number, r.dynamic, null)()}}
	case 5:
		return &policydata.Expr{Op: policydata.OpHas, Str: Pick(r.Random, "a", "b", "none"), Args: []*policydata.Expr{Pick(r.Random, r.mapping, r.dynamic)()}}
	case 6:
		now := &policydata.Expr{Op: policydata.OpVar, Int: int64(policydata.VarRequestTime)}
		if r.IntN(2) == 0 {
			return op(compare, part(r.Int64N(int64(policydata.PartMillis)+1), now), r.number())
		}
		return op(compare, now, moment(Pick[int64](r.Random, 0, 1e9, 2e9), Pick[uint32](r.Random, 0, 1)))
	}
	return &policydata.Expr{Op: policydata.OpIn, Args: []*policydata.Expr{Pick(r.Random, r.text, r.dynamic)(), Pick(r.Random, r.list, r.list, r.mapping, r.dynamic)()}}
}

func (r *conditionMaker) list() *policydata.Expr {
	switch r.IntN(5) {
	case 0, 1:
		return &policydata.Expr{Op: policydata.OpVar, Int: int64(Pick(r.Random, policydata.VarTokenGroups, policydata.VarTokenRoles))}
	case 2:
		return field(variable(policydata.VarRequestQuery), Pick(r.Random, "a", "b"))
	}
	out := &policydata.Expr{Op: policydata.OpList}
	for range r.IntN(3) {
		out.Args = append(out.Args, Pick(r.Random, r.text, r.text, r.dynamic)())
	}
	return out
}

func (r *conditionMaker) mapping() *policydata.Expr {
	return variable(Pick(r.Random, policydata.VarTokenClaims, policydata.VarRequestHeaders, policydata.VarRequestQuery))
}

func (r *conditionMaker) dynamic() *policydata.Expr {
	if r.macros > 0 && r.IntN(2) == 0 {
		return &policydata.Expr{Op: policydata.OpLocal, Int: r.Int64N(int64(r.macros))}
	}
	e := variable(policydata.VarTokenClaims)
	for range 1 + r.IntN(3) {
		if r.IntN(4) == 0 {
			e = op(policydata.OpIndex, e, Pick(r.Random, r.text, r.number)())
		} else {
			e = field(e, Pick(r.Random, "a", "b", "g0"))
		}
	}
	return e
}

func (r *conditionMaker) number() *policydata.Expr {
	return Pick(r.Random, number(r.Int64N(4)), uints(r.Uint64N(4)), double(float64(r.IntN(8))/2))
}

func (r *conditionMaker) text() *policydata.Expr {
	switch {
	case r.path != "" && r.IntN(2) == 0:
		return &policydata.Expr{Op: policydata.OpPathVar, Str: r.path}
	case r.host != "" && r.IntN(2) == 0:
		return &policydata.Expr{Op: policydata.OpHostVar, Str: r.host}
	case r.IntN(6) == 0:
		return field(variable(policydata.VarRequestHeaders), Pick(r.Random, "a", "b"))
	case r.IntN(8) == 0:
		return op(policydata.OpConcat, r.text(), r.text())
	case r.IntN(2) == 0:
		return &policydata.Expr{Op: policydata.OpString, Str: Pick(r.Random, "", "a", "g0", "g1", "r0", "u0", "s0")}
	}
	return &policydata.Expr{Op: policydata.OpVar, Int: int64(Pick(
		r.Random, policydata.VarRequestMethod, policydata.VarRequestPath, policydata.VarRequestHost, policydata.VarTokenIss, policydata.VarTokenSub, policydata.VarUserName, policydata.VarServiceName,
	))}
}

// claims returns a random payload.
func (r Random) claims() string {
	return Pick(
		r, "", "{}", `{"a":"g0","b":["a","g0",1.5,{"a":2}]}`, `{"a":{"g0":{"a":["a"],"b":true}},"b":{"b":null}}`,
		` { "b" : "\u0061" , "\u0061" : [ [ ] , 0 ] , "g0" : true } `, `{"g0":[1,2,3],"a":2,"b":0.5}`,
	)
}

// Request returns a request for what policy sets are about.
func (r Random) Request() *policydata.Request {
	req := &policydata.Request{
		Method: Pick(r, "GET", "GET", "POST", "PURGE", "OPTIONS", "get", "TRACE"),
		Host:   Pick(r, "", "a", "b.a", "c.b.a", "g0.a", "c", "[::1]"), API: r.IntN(8) == 0,
	}
	req.Preflight = req.Method == "OPTIONS" && r.IntN(2) == 0
	for range Pick(r, 1, 1, 2, 2, 3, 4, 5) {
		req.Path += "/" + Pick(r, "a", "b", "g0", "g1", "*", "ab")
	}
	if r.IntN(6) == 0 {
		req.Path += "/"
	}
	for range r.IntN(4) {
		req.Headers = append(req.Headers, [2]string{Pick(r, "a", "b", "cookie", "x-token", "authorization", ":path"), Pick(r, "", "a", "g0")})
	}
	req.TokenHeader, req.Time = Pick(r, "authorization", "x-token", "cookie"), r.Int64N(4e9)
	req.Query = Pick(r, "", "a=g0&a=a", "b=a&a", "a=%67%30", "&a+=+", "%", "a=1;b", "b=%ff")
	if r.IntN(40) == 0 {
		req.Path += strings.Repeat("/a", 70)
	}
	return req
}

// Identity returns who asks: a user, a service, or nobody.
func (r Random) Identity() *policydata.Identity {
	if r.IntN(6) == 0 {
		return &policydata.Identity{}
	}
	id := &policydata.Identity{
		Authenticated: true, Issuer: Pick(r, "kc", "kc", "other"), Iss: "https://kc",
		Subject: Pick(r, "", "sub-c", "sub-2", "s0", "u0"), User: Pick(r, "u0", "u1", "u2", "ghost"),
		Client: Pick(r, "", "", "", "", "c", "d", "e", "s0", "s1", "who"), Own: r.IntN(4) == 0,
		HasActor: r.IntN(8) == 0, Actor: Pick(r, "", "c", "d", "e", "s0", "who"),
		Groups:           some(r, 3, "g0", "g1", "g2", "a", "*", "", policydata.GroupAuthenticated, policydata.GroupUnauthenticated, "p/q"),
		Roles:            some(r, 2, "r0", "c0", "c1", "system:x", "none"),
		RequireKnownUser: r.IntN(12) == 0, Claims: r.claims(),
	}
	return id
}

// Shorthands for trees.

func op(o policydata.Op, args ...*policydata.Expr) *policydata.Expr {
	return &policydata.Expr{Op: o, Args: args}
}

func variable(v policydata.Var) *policydata.Expr {
	return &policydata.Expr{Op: policydata.OpVar, Int: int64(v)}
}

func field(of *policydata.Expr, name string) *policydata.Expr {
	return &policydata.Expr{Op: policydata.OpField, Str: name, Args: []*policydata.Expr{of}}
}

func number(n int64) *policydata.Expr { return &policydata.Expr{Op: policydata.OpInt, Int: n} }

func uints(n uint64) *policydata.Expr { return &policydata.Expr{Op: policydata.OpUint, Int: int64(n)} }

func double(d float64) *policydata.Expr {
	return &policydata.Expr{Op: policydata.OpDouble, Int: int64(math.Float64bits(d))}
}

func null() *policydata.Expr { return &policydata.Expr{Op: policydata.OpNull} }

func part(n int64, of *policydata.Expr) *policydata.Expr {
	return &policydata.Expr{Op: policydata.OpTimePart, Int: n, Args: []*policydata.Expr{of}}
}

func moment(seconds int64, nanos uint32) *policydata.Expr {
	return &policydata.Expr{Op: policydata.OpTime, Int: seconds, Nanos: nanos}
}
