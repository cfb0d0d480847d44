// Package compile turns the state of the store into a snapshot.
package compile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"sallyport/host/internal/condition"
	"sallyport/host/internal/jwks"
	"sallyport/host/internal/model"
	"sallyport/policydata"
	"sallyport/policydata/token"
)

// Version says of which commit a snapshot is made.
type Version struct {
	Epoch      uint64
	Generation uint64
	Committed  time.Time
	Expires    time.Time // zero: never
}

// String returns "<epoch>.<generation>".
func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Epoch, v.Generation) }

// Compiler compiles states. It remembers the policies and keys of the last one,
// since most of them stay from one generation to the next, and keeps the
// memory that building took. It is safe for concurrent use.
type Compiler struct {
	mu      sync.Mutex
	last    memory             // guarded by mu
	builder policydata.Builder // guarded by mu
	source  policydata.Source  // guarded by mu; of the last body, for its memory
}

// memory is what a compilation can take over from the one before.
type memory struct {
	policies   map[*model.Policy]compiled // never modified, so the same is the same
	conditions map[conditionKey]*policydata.Expr
	keys       map[string][]policydata.Key // by JWK Set
	fetched    map[*model.IssuerKeys][]policydata.Key
}

// compiled is a policy with what its conditions are remembered by.
type compiled struct {
	policydata.Policy
	conditions []conditionKey
}

type conditionKey struct{ src, path, host string }

// New returns a Compiler.
func New() *Compiler { return &Compiler{} }

// Body compiles a state to the body of a snapshot, with issuers that are not in
// the store beside the store's own. An extra issuer gives way to one of the
// store with its name or its "iss": what an operator wrote is what counts, and
// two of them would be refused together with all that is right.
func (c *Compiler) Body(state *model.State, v Version, extra ...policydata.Issuer) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	source, err := c.sourceIn(c.source, state, v)
	if err != nil {
		return nil, err
	}
	source.Issuers = withExtra(source.Issuers, extra)
	c.source = source
	return c.builder.Build(source)
}

func withExtra(issuers, extra []policydata.Issuer) []policydata.Issuer {
	for _, x := range extra {
		taken := slices.ContainsFunc(issuers, func(i policydata.Issuer) bool {
			return i.Name == x.Name || i.Issuer == x.Issuer
		})
		if !taken {
			issuers = append(issuers, x)
		}
	}
	return issuers
}

// Source returns what a state's snapshot is built from.
func (c *Compiler) Source(state *model.State, v Version) (policydata.Source, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sourceIn(policydata.Source{}, state, v)
}

// sourceIn returns a state's source, with mu locked, in the memory of an older
// one.
func (c *Compiler) sourceIn(old policydata.Source, state *model.State, v Version) (policydata.Source, error) {
	next := memory{
		policies:   make(map[*model.Policy]compiled, len(state.Policies)),
		conditions: map[conditionKey]*policydata.Expr{},
		keys:       map[string][]policydata.Key{},
		fetched:    map[*model.IssuerKeys][]policydata.Key{},
	}
	source := policydata.Source{
		Epoch: v.Epoch, Generation: v.Generation, Created: v.Committed.Unix(),
		Policies: slices.Grow(old.Policies[:0], len(state.Policies)),
		Users:    slices.Grow(old.Users[:0], len(state.Users)),
		Groups:   slices.Grow(old.Groups[:0], len(state.Groups)),
		Roles:    old.Roles[:0], Services: old.Services[:0], Issuers: old.Issuers[:0],
	}
	if !v.Expires.IsZero() {
		source.Expires = v.Expires.Unix()
	}
	for _, p := range state.Policies {
		policy, err := c.policy(p, &next)
		if err != nil {
			return source, fmt.Errorf("policy %q: %w", p.Name, err)
		}
		source.Policies = append(source.Policies, policy)
	}
	for _, i := range state.Issuers {
		issuer, err := c.issuer(state, i, &next)
		if err != nil {
			return source, fmt.Errorf("issuer %q: %w", i.Name, err)
		}
		source.Issuers = append(source.Issuers, issuer)
	}
	addPrincipals(&source, state)
	source.Revoked = state.Revoked
	c.last = next
	return source, nil
}

func (c *Compiler) policy(p *model.Policy, next *memory) (policydata.Policy, error) {
	if known, ok := c.last.policies[p]; ok {
		next.policies[p] = known
		for _, key := range known.conditions {
			next.conditions[key] = c.last.conditions[key]
		}
		return known.Policy, nil
	}
	made := compiled{Policy: policydata.Policy{Name: p.Name, Rules: make([]policydata.Rule, len(p.Rules))}}
	for i, r := range p.Rules {
		effect := policydata.EffectDeny
		if r.Effect == model.Allow {
			effect = policydata.EffectAllow
		}
		made.Rules[i] = policydata.Rule{
			Name: r.Name, Effect: effect, Methods: r.Methods, Hosts: r.Hosts, Paths: r.Paths, Text: r.When,
		}
		if r.When == "" {
			continue
		}
		key, when, err := c.when(&r, next)
		if err != nil {
			return made.Policy, fmt.Errorf("rule %d: when: %w", i, err)
		}
		made.Rules[i].When = when
		made.conditions = append(made.conditions, key)
	}
	next.policies[p] = made
	return made.Policy, nil
}

func (c *Compiler) when(r *model.Rule, next *memory) (conditionKey, *policydata.Expr, error) {
	path, err := commonCaptures(r.Paths, policydata.CheckPathPattern)
	if err != nil {
		return conditionKey{}, nil, err
	}
	host, err := commonCaptures(r.Hosts, policydata.CheckHostPattern)
	if err != nil {
		return conditionKey{}, nil, err
	}
	key := conditionKey{r.When, strings.Join(path, ","), strings.Join(host, ",")}
	expr := cmp.Or(c.last.conditions[key], next.conditions[key])
	if expr == nil {
		if expr, err = condition.Compile(r.When, path, host); err != nil {
			return key, nil, err
		}
	}
	next.conditions[key] = expr
	return key, expr, nil
}

// commonCaptures returns the names that every one of patterns captures, in the
// order of the first.
func commonCaptures(patterns []string, check func(string) ([]string, error)) ([]string, error) {
	var common []string
	for i, p := range patterns {
		names, err := check(p)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", p, err)
		}
		if i == 0 {
			common = names
			continue
		}
		common = intersect(common, names)
	}
	return common, nil
}

func intersect(a, b []string) []string {
	var both []string
	for _, x := range a {
		if slices.Contains(b, x) {
			both = append(both, x)
		}
	}
	return both
}

func (c *Compiler) issuer(state *model.State, i *model.Issuer, next *memory) (policydata.Issuer, error) {
	var keys []policydata.Key
	var err error
	if i.KeySource() == "" {
		keys, err = c.inline(string(i.JWKS.Inline), next)
	} else {
		keys = c.fetched(state.ValidKeys(i), next)
	}
	if err != nil {
		return policydata.Issuer{}, fmt.Errorf("jwks: %w", err)
	}
	return policydata.Issuer{
		Name:             i.Name,
		Issuer:           i.Issuer,
		Audiences:        i.Audiences,
		Algorithms:       i.Algorithms,
		Keys:             keys,
		FetchedKeys:      i.KeySource() != "",
		UsernamePrefix:   i.UsernamePrefix,
		GroupsPrefix:     i.GroupsPrefix,
		TrimGroup:        i.Claims.TrimGroupPrefix,
		UsernameClaims:   i.Claims.Username,
		GroupsClaims:     i.Claims.Groups,
		RolesClaims:      i.Claims.Roles,
		ClientClaims:     i.Claims.Client,
		ClaimHeaders:     claimHeaders(i.Claims.Headers),
		ClockSkew:        int64(time.Duration(i.ClockSkew).Seconds()),
		MaxTokenLifetime: int64(time.Duration(i.MaxTokenLifetime).Seconds()),
		RequireKnownUser: i.RequireKnownUser,
	}, nil
}

func claimHeaders(list []model.ClaimHeader) []policydata.ClaimHeader {
	var out []policydata.ClaimHeader
	for _, h := range list {
		out = append(out, policydata.ClaimHeader(h))
	}
	return out
}

// inline returns the keys of a JWK Set.
func (c *Compiler) inline(set string, next *memory) ([]policydata.Key, error) {
	keys, known := c.last.keys[set]
	if !known {
		var err error
		if keys, err = jwks.Parse([]byte(set)); err != nil {
			return nil, err
		}
	}
	next.keys[set] = keys
	return keys, nil
}

// fetched returns the committed keys; there may be none yet. They passed the
// checks of the version that committed them: where this one knows better, a key
// is left out, since nobody could repair the set but its issuer.
func (c *Compiler) fetched(set *model.IssuerKeys, next *memory) []policydata.Key {
	if set == nil {
		return nil
	}
	keys, known := c.last.fetched[set]
	if known {
		next.fetched[set] = keys
		return keys
	}
	for _, k := range set.Keys {
		key := policydata.Key{ID: k.ID, Algorithm: k.Algorithm, SPKI: k.SPKI}
		if token.CheckKey(key) == nil {
			keys = append(keys, key)
		}
	}
	next.fetched[set] = keys
	return keys
}

func addPrincipals(source *policydata.Source, state *model.State) {
	for _, u := range state.Users {
		notBefore := int64(0)
		if !u.TokensNotBefore.IsZero() {
			notBefore = u.TokensNotBefore.Unix()
		}
		source.Users = append(source.Users, policydata.User{
			Name: u.Name, Disabled: u.Disabled, TokensNotBefore: notBefore, Policies: u.Policies,
		})
	}
	for _, g := range state.Groups {
		source.Groups = append(source.Groups, policydata.Group{Name: g.Name, Members: g.Members, Policies: g.Policies})
	}
	for _, r := range state.Roles {
		source.Roles = append(source.Roles, policydata.Role{
			Name: r.Name, Governing: r.Governing, Policies: r.Policies, Users: r.Users, Groups: r.Groups, Claims: r.Claims,
		})
	}
	for _, s := range state.Services {
		source.Services = append(source.Services, service(s))
	}
}

func service(s *model.ServiceAccount) policydata.Service {
	out := policydata.Service{Name: s.Name, Disabled: s.Disabled, Role: s.Role}
	for _, i := range s.Identities {
		out.Identities = append(out.Identities, policydata.ServiceIdentity(i))
	}
	for _, d := range s.Delegation {
		out.Delegation = append(out.Delegation, policydata.Delegation(d))
	}
	return out
}
