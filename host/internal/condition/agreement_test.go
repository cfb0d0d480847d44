package condition_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	mathrand "math/rand/v2"
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
}

const (
	issuer        = "https://idp.example.com"
	serviceClient = "svc-client"
	serviceSub    = "svc-sub"
	serviceName   = "svc"
)

func (in input) path() string {
	if in.deny {
		return "/deny/" + in.team + "/" + in.item
	}
	return "/allow/" + in.team + "/" + in.item
}

func (in input) host() string { return in.env + ".example.org" }

// activation is the input for cel-go. What a token does not say is empty, see
// the language's documentation.
func (in input) activation() map[string]any {
	token := map[string]any{"iss": "", "sub": "", "groups": []string{}, "roles": []string{}}
	var userName, svcName string
	if in.who != anonymous {
		token["iss"], token["sub"] = issuer, in.identity().Subject
	}
	if in.who == user || in.who == delegation {
		token["groups"], token["roles"], userName = in.groups, in.roles, in.name
	}
	if in.who == service || in.who == delegation {
		svcName = serviceName
	}
	return map[string]any{
		"request": map[string]any{"method": in.method, "path": in.path(), "host": in.host()},
		"token":   token,
		"user":    map[string]any{"name": userName},
		"service": map[string]any{"name": svcName},
		"path":    map[string]any{"team": in.team, "item": in.item},
		"host":    map[string]any{"env": in.env},
	}
}

// identity is the input's token for the engine.
func (in input) identity() *policydata.Identity {
	if in.who == anonymous {
		return &policydata.Identity{}
	}
	id := &policydata.Identity{
		Authenticated: true, Issuer: "idp", Iss: issuer, Subject: in.sub,
		User: in.name, Groups: in.groups, Roles: in.roles,
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
func snapshotOf(t *testing.T, when *policydata.Expr) *policydata.Snapshot {
	t.Helper()
	spki, err := issuerKey()
	if err != nil {
		t.Fatal(err)
	}
	hosts := []string{"{env}.example.org"}
	rule := func(effect policydata.Effect, path string, when *policydata.Expr) policydata.Rule {
		return policydata.Rule{Effect: effect, Methods: []string{"*"}, Hosts: hosts, Paths: []string{path}, When: when}
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
func wantReason(in input, o outcome) policydata.Reason {
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

var sharedOracle = sync.OnceValues(newOracle)

// checkAgreement checks that the engine decides by expr as cel-go by src, and
// returns how often cel-go said what.
func checkAgreement(t *testing.T, src string, expr *policydata.Expr, inputs []input) (outcomes [3]int) {
	t.Helper()
	o, err := sharedOracle()
	if err != nil {
		t.Fatal(err)
	}
	program, err := o.program(src)
	if err != nil {
		t.Fatalf("cel-go refuses what Compile accepted: %q: %v", src, err)
	}
	snapshot := snapshotOf(t, expr)
	evaluator := policydata.NewEvaluator()
	for _, in := range inputs {
		said := evaluate(program, in)
		outcomes[said]++
		req := policydata.Request{Method: in.method, Path: in.path(), Host: in.host()}
		got := evaluator.Decide(snapshot, &req, in.identity())
		if want := wantReason(in, said); got.Reason != want {
			t.Errorf("%s\ncel-go says %v, so want %v, got %v, for %+v", src, said, want, got.Reason, in)
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
			})
		}
	}
	return inputs
}()

func randomInput(rnd *mathrand.Rand) input {
	subset := func() []string {
		all := append([]string{}, texts...)
		rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		return all[:rnd.IntN(4)]
	}
	return input{
		method: pick(rnd, []string{"GET", "POST", "FOO"}),
		team:   pick(rnd, texts), item: pick(rnd, texts), env: pick(rnd, []string{"a", "b", "foo", "prod", "10"}),
		deny: rnd.IntN(2) == 0, who: principal(rnd.IntN(int(numPrincipals))),
		sub: pick(rnd, texts), name: pick(rnd, texts), groups: subset(), roles: subset(),
	}
}

func TestAgreesWithCEL(t *testing.T) {
	rnd := mathrand.New(mathrand.NewPCG(1, 2))
	for _, src := range seedConditions {
		t.Run(src, func(t *testing.T) {
			expr, err := condition.Compile(src, pathCaptures, hostCaptures)
			if err != nil {
				t.Fatal(err)
			}
			inputs := append([]input{}, fixedInputs...)
			for range 100 {
				inputs = append(inputs, randomInput(rnd))
			}
			checkAgreement(t, src, expr, inputs)
		})
	}
}

func TestAgreesWithCELOnRandomConditions(t *testing.T) {
	rnd := mathrand.New(mathrand.NewPCG(3, 4))
	gen := generator{rnd}
	var outcomes [3]int
	for range 1000 {
		src := gen.boolean(1 + rnd.IntN(4))
		expr, err := condition.Compile(src, pathCaptures, hostCaptures)
		if err != nil {
			t.Fatalf("refused: %s: %v", src, err)
		}
		inputs := make([]input, 20)
		for i := range inputs {
			inputs[i] = randomInput(rnd)
		}
		for o, n := range checkAgreement(t, src, expr, inputs) {
			outcomes[o] += n
		}
	}
	// A generator that always comes to the same would test nothing.
	if outcomes[isTrue] < 1000 || outcomes[isFalse] < 1000 {
		t.Errorf("of the outcomes %d were true and %d false: the conditions are too alike", outcomes[isTrue], outcomes[isFalse])
	}
}
