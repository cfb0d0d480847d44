package condition_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"flag"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"testing"

	"sallyport/host/internal/condition"
	"sallyport/policydata"
)

// principal is in whose name a request is made.
type principal int

const (
	anonymous  principal = iota
	user                 // a user's own token
	service              // a service's own token
	delegation           // a service's token on behalf of a user
	numPrincipals
)

// input is a request and its token, as the condition sees them.
type input struct {
	method, team, item, env string
	deny                    bool // the path whose rule with the condition denies
	who                     principal
	sub, name               string
	groups, roles           []string
	claims                  string
	headers                 [][2]string
	query                   string
	now                     int64
}

const (
	issuer        = "https://idp.example.com"
	serviceClient = "svc-client"
	serviceSub    = "svc-sub"
	serviceName   = "svc"
)

func (in *input) path() string {
	if in.deny {
		return "/deny/" + in.team + "/" + in.item
	}
	return "/allow/" + in.team + "/" + in.item
}

func (in *input) host() string { return in.env + ".example.org" }

// identity is the input's token for the engine.
func (in *input) identity() *policydata.Identity {
	if in.who == anonymous {
		return &policydata.Identity{}
	}
	id := &policydata.Identity{
		Authenticated: true, Issuer: "idp", Iss: issuer, Subject: in.sub,
		User: in.name, Groups: in.groups, Roles: in.roles, Claims: in.claims,
	}
	switch in.who {
	case service:
		id.Client, id.Subject = serviceClient, serviceSub
	case delegation:
		id.Client = serviceClient
	}
	return id
}

// issuerKey is any valid public key: these tests verify no token.
var issuerKey = sync.OnceValues(func() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return x509.MarshalPKIXPublicKey(&key.PublicKey)
})

// snapshotOf returns a snapshot in which the condition decides: below /allow/ it
// allows, below /deny/ it denies what another rule allows.
func snapshotOf(t *testing.T, src string, when *policydata.Expr) *policydata.Snapshot {
	t.Helper()
	spki, err := issuerKey()
	if err != nil {
		t.Fatal(err)
	}
	hosts := []string{"{env}.example.org"}
	rule := func(effect policydata.Effect, path string, when *policydata.Expr) policydata.Rule {
		return policydata.Rule{Effect: effect, Methods: []string{"*"}, Hosts: hosts, Paths: []string{path}, When: when, Text: src}
	}
	body, err := policydata.Build(policydata.Source{
		Generation: 1,
		Policies: []policydata.Policy{
			{Name: "tested", Rules: []policydata.Rule{
				rule(policydata.EffectAllow, "/allow/{team}/{item}", when),
				rule(policydata.EffectAllow, "/deny/{team}/{item}", nil),
				rule(policydata.EffectDeny, "/deny/{team}/{item}", when),
			}},
			{Name: "any", Rules: []policydata.Rule{rule(policydata.EffectAllow, "/**", nil)}},
		},
		Groups: []policydata.Group{
			{Name: policydata.GroupAuthenticated, Policies: []string{"tested"}},
			{Name: policydata.GroupUnauthenticated, Policies: []string{"tested"}},
		},
		Roles: []policydata.Role{
			{Name: "runtime", Policies: []string{"tested"}},
			{Name: "gate", Governing: true, Policies: []string{"any"}},
		},
		Services: []policydata.Service{{
			Name: serviceName, Role: "runtime",
			Identities: []policydata.ServiceIdentity{{Issuer: "idp", Client: serviceClient, Subject: serviceSub}},
			Delegation: []policydata.Delegation{{Role: "gate", Users: []string{"*"}}},
		}},
		Issuers: []policydata.Issuer{{
			Name: "idp", Issuer: issuer, Audiences: []string{"api"}, Algorithms: []string{"ES256"},
			Keys:           []policydata.Key{{ID: "k", SPKI: spki}},
			UsernameClaims: [][]string{{"sub"}}, GroupsClaims: [][]string{{"groups"}},
			RolesClaims: [][]string{{"roles"}}, ClientClaims: [][]string{{"azp"}},
			ClockSkew: 30, MaxTokenLifetime: 3600,
		}},
	})
	if err != nil {
		t.Fatalf("Build refuses what Compile accepted: %v", err)
	}
	signed := policydata.AppendSignature(body, "test", []byte("signature"))
	snapshot, err := policydata.Load(signed, func(_, _ []byte) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return snapshot
}

// wantReason is what the engine must answer where cel-go says o.
func wantReason(in *input, o outcome) policydata.Reason {
	var reason policydata.Reason
	switch {
	case in.deny && o == isTrue:
		reason = policydata.ReasonDeniedByRule
	case in.deny && o == isError:
		reason = policydata.ReasonConditionError
	case in.deny || o == isTrue:
		return policydata.ReasonAllowed
	default:
		reason = policydata.ReasonNoMatchingRule
	}
	if in.who == anonymous {
		return policydata.ReasonNoToken
	}
	return reason
}

// request is the input's request for the engine.
func (in *input) request() *policydata.Request {
	return &policydata.Request{
		Method: in.method, Path: in.path(), Host: in.host(),
		Query: in.query, Headers: in.headers, TokenHeader: "authorization", Time: in.now,
	}
}

var sharedOracle = sync.OnceValues(newOracle)

// checkAgreement checks that the engine decides by expr as cel-go by src, and
// returns how often cel-go said what.
func checkAgreement(t *testing.T, src string, expr *policydata.Expr, inputs []input) (outcomes [3]int) {
	t.Helper()
	o, err := sharedOracle()
	if err != nil {
		t.Fatal(err)
	}
	programs, err := o.programs(src)
	if err != nil {
		t.Fatalf("cel-go refuses what Compile accepted: %q: %v", src, err)
	}
	snapshot := snapshotOf(t, src, expr)
	evaluator := policydata.NewEvaluator()
	for i := range inputs {
		in := &inputs[i]
		said, agreed := programs.evaluate(in)
		if !agreed {
			t.Errorf("%s\ncel-go differs with itself for %+v", src, *in)
		}
		outcomes[said]++
		got := evaluator.Decide(snapshot, in.request(), in.identity())
		if want := wantReason(in, said); got.Reason != want {
			t.Errorf("%s\ncel-go says %v, so want %v, got %v, for %+v", src, said, want, got.Reason, *in)
		}
	}
	return outcomes
}

// fixedInputs has every principal on both paths.
var fixedInputs = func() (inputs []input) {
	for who := range numPrincipals {
		for _, deny := range []bool{false, true} {
			inputs = append(inputs, input{
				method: "GET", team: "foo", item: "é", env: "prod", deny: deny, who: who,
				sub: "s-1", name: "eric", groups: []string{"foo", "a"}, roles: []string{"admin"},
				claims:  `{"a":{"foo":{"b":["x",1,null]}},"b":true,"c":[1.5,{"a":"\u00e9"}],"foo":"foo"}`,
				headers: [][2]string{{"a", "1"}, {"x-a", "2"}, {"a", "3"}}, query: "a=1&b&a=2", now: 1_800_000_000,
			})
		}
	}
	return inputs
}()

func randomInput(g *generator) input {
	rnd := g.rnd
	subset := func() []string {
		all := append([]string{}, texts...)
		rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		return all[:rnd.IntN(4)]
	}
	return input{
		method: pick(rnd, []string{"GET", "POST", "FOO"}),
		team:   pick(rnd, texts), item: pick(rnd, texts), env: pick(rnd, []string{"a", "b", "foo", "prod", "10"}),
		deny: rnd.IntN(4) > 0, // which tells errors from false
		who:  principal(rnd.IntN(int(numPrincipals))),
		sub:  pick(rnd, texts), name: pick(rnd, texts), groups: subset(), roles: subset(),
		claims: g.claims(), headers: g.headers(), query: g.query(), now: rnd.Int64N(1<<33) - 1<<31,
	}
}

func TestAgreesWithCEL(t *testing.T) {
	gen := &generator{rnd: mathrand.New(mathrand.NewPCG(1, 2))}
	for _, src := range seedConditions {
		t.Run(src, func(t *testing.T) {
			expr, err := condition.Compile(src, pathCaptures, hostCaptures)
			if err != nil {
				t.Fatal(err)
			}
			inputs := append([]input{}, fixedInputs...)
			for range 100 {
				inputs = append(inputs, randomInput(gen))
			}
			checkAgreement(t, src, expr, inputs)
		})
	}
}

var (
	pairs = flag.Int("pairs", 20_000, "how many random conditions with an input are compared with cel-go")
	seed  = flag.Uint64("seed", 3, "of the random conditions")
)

func TestAgreesWithCELOnRandomConditions(t *testing.T) {
	const inputsEach = 20
	gen := &generator{rnd: mathrand.New(mathrand.NewPCG(*seed, 4))}
	var outcomes [3]int
	refused := map[string]int{}
	programs := 0
	for programs < *pairs/inputsEach && !t.Failed() {
		src := gen.boolean(1 + gen.rnd.IntN(5))
		expr, err := condition.Compile(src, pathCaptures, hostCaptures)
		if err != nil {
			_, reason, _ := strings.Cut(err.Error(), ": ")
			refused[reason]++
			continue
		}
		programs++
		inputs := make([]input, inputsEach)
		for i := range inputs {
			inputs[i] = randomInput(gen)
		}
		for o, n := range checkAgreement(t, src, expr, inputs) {
			outcomes[o] += n
		}
	}
	t.Logf("%d programs: %d true, %d false, %d errors; refused: %v", programs, outcomes[isTrue], outcomes[isFalse], outcomes[isError], refused)
	// A generator that always comes to the same would test nothing.
	for o, n := range outcomes {
		if n < *pairs/10 {
			t.Errorf("only %d of %d outcomes are %v: the conditions are too alike", n, *pairs, outcome(o))
		}
	}
}

// seedConditions are conditions that Compile accepts; between them they use each
// operator, function and variable.
var seedConditions = []string{
	`true`,
	`path.team in token.groups`,
	`!(path.team in token.groups) || "admin" in token.roles`,
	`request.method == "GET" && request.path.startsWith("/allow/") && request.host.endsWith("example.org")`,
	`request.path.contains(path.item) && host.env != "prod"`,
	`token.iss == "https://idp.example.com" && token.sub != ""`,
	`user.name == path.team || service.name == path.team`,
	`user.name < "m" && user.name <= path.team || user.name > "a" && user.name >= host.env`,
	`size(token.groups) > 1 && token.roles.size() <= 2 && size(path.team) < 3 && path.item.size() >= 1`,
	`token.groups == ["a", "b"] || token.groups != token.roles || token.groups == []`,
	`1 in [1, 2] && true in [user.name == "eric"] && -1 < 0`,
	`[] == [] && size([]) == 0 && !("a" in [])`,
	`path.team == "é" || path.team == "\u00e9" || path.team == "\U0001F600" || user.name == "\x00"`,
	`path.team in [user.name, host.env, "foo"] == false`,
	`'' in token.groups || ''.startsWith('') && user.name.contains('')`,
	`"b" in token.claims.a[path.team].b`,
	`token.claims.a.foo.b[1] == 1 && token.claims.a.foo.b[2] == null`,
	`token.claims.c[0] >= 1 && token.claims.c[0] < 2u || token.claims.c[0] == 1.5`,
	`has(token.claims.a) && !has(token.claims.a.none) && has(token.claims.foo.x)`,
	`has(token.claims.none.a) || has(token.claims.c.a)`,
	`token.claims.b`,
	`token.claims.b ? token.claims.none : true`,
	`token.claims.c.exists(c, c.a == "é") && token.claims.all(k, k in ["a", "b", "c", "foo"])`,
	`token.groups.exists(g, token.claims.a.exists(k, k == g)) || token.groups.all(g, g != "z")`,
	`request.headers.a == "1,3" && request.headers["x-a"] == "2" && !("none" in request.headers)`,
	`request.headers.exists(h, h.startsWith("x-") && request.headers[h] == "2")`,
	`request.query.a == ["1", "2"] && "" in request.query.b && size(request.query) == 2 && has(request.query.a)`,
	`request.time > timestamp("2020-01-01T00:00:00Z") && request.time.getDayOfWeek() in [1, 2, 3, 4, 5]`,
	`"team-" + path.team + host.env in token.groups || ("" + token.claims.foo).size() == 3`,
	`token.claims == token.claims && token.claims.a != token.claims.c && [[1], [2]] != [[1]]`,
	`[token.claims.none, true].exists(x, x) || [1, 2, 3].exists(x, x == 2)`,
	`token.groups.exists(x, token.roles.exists(x, x == "admin") && x == "foo")`,
}
