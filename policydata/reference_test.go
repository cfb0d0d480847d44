package policydata

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

var decisions = flag.Int("decisions", 20_000, "how many random decisions are compared with the reference")

// reference decides by going through everything, in the words of the
// specification: rules as patterns and trees, principals as names.
type reference struct{ src *Source }

type verdict struct {
	reason                      Reason
	gate                        Gate
	policy, rule, user, service string
	captures                    map[string]string
}

func (v verdict) String() string {
	return fmt.Sprintf("%v gate=%q policy=%q rule=%q user=%q service=%q %v", v.reason, v.gate, v.policy, v.rule, v.user, v.service, v.captures)
}

// asker is who asks, as far as policies and conditions want to know.
type asker struct {
	iss, sub, user, service string
	groups, roles           []string
	claims                  string
}

func (ref *reference) decide(r *Request, id *Identity) verdict {
	if !id.Authenticated {
		v := ref.gate(GateUser, r, &asker{}, ref.groupPolicies(GroupUnauthenticated))
		if v.reason != ReasonAllowed {
			v.reason = ReasonNoToken
		}
		return v
	}
	who := &asker{iss: id.Iss, sub: id.Subject, claims: id.Claims}
	service, own, refused := ref.service(id)
	if refused {
		return verdict{reason: ReasonServiceGate, gate: GateService}
	}
	if service != nil {
		who.service = service.Name
		if service.Disabled {
			return verdict{reason: ReasonServiceDisabled, service: who.service}
		}
		if own {
			v := ref.gate(GateUser, r, who, ref.rolePolicies(service.Role))
			v.service = who.service
			return v
		}
	}
	v := ref.onBehalf(r, id, who, service)
	v.user, v.service = who.user, who.service
	return v
}

func (ref *reference) onBehalf(r *Request, id *Identity, who *asker, service *Service) verdict {
	who.user = id.User
	i := slices.IndexFunc(ref.src.Users, func(u User) bool { return u.Name == id.User })
	switch {
	case i >= 0 && ref.src.Users[i].Disabled:
		return verdict{reason: ReasonUserDisabled}
	case i < 0 && id.RequireKnownUser:
		return verdict{reason: ReasonUnknownUser}
	}
	roles := ref.resolve(id, who)
	if service != nil {
		var governing []string
		for _, d := range service.Delegation {
			given := slices.Contains(d.Users, "*") || slices.Contains(d.Users, who.user) ||
				slices.ContainsFunc(d.Groups, func(g string) bool { return slices.Contains(who.groups, g) })
			if given {
				governing = append(governing, ref.rolePolicies(d.Role)...)
			}
		}
		if ref.gate(GateService, r, who, governing).reason != ReasonAllowed {
			return verdict{reason: ReasonServiceGate, gate: GateService}
		}
	}
	var policies []string
	if i >= 0 {
		policies = append(policies, ref.src.Users[i].Policies...)
	}
	for _, g := range who.groups {
		policies = append(policies, ref.groupPolicies(g)...)
	}
	for _, name := range roles {
		policies = append(policies, ref.rolePolicies(name)...)
	}
	return ref.gate(GateUser, r, who, append(policies, ref.groupPolicies(GroupAuthenticated)...))
}

// service returns the service that a token names and whether the token is its
// own; refused if the token names an actor that is none.
func (ref *reference) service(id *Identity) (service *Service, own, refused bool) {
	client := id.Client
	if id.HasActor {
		client = id.Actor
	}
	for i := range ref.src.Services {
		s := &ref.src.Services[i]
		if client == "" {
			break
		}
		if id.Own && s.Name == client {
			return s, !id.HasActor && id.Subject == s.Name, false
		}
		for _, identity := range s.Identities {
			if !id.Own && identity.Issuer == id.Issuer && identity.Client == client {
				service = s
				own = own || !id.HasActor && identity.Subject != "" && identity.Subject == id.Subject
			}
		}
	}
	return service, own, service == nil && id.HasActor
}

// resolve fills the effective groups and token.roles of who and returns the
// names of the effective roles.
func (ref *reference) resolve(id *Identity, who *asker) (roles []string) {
	for _, g := range id.Groups {
		if g != "" && g != "*" && !strings.HasPrefix(g, "system:") {
			who.groups = append(who.groups, g)
		}
	}
	for _, g := range ref.src.Groups {
		if slices.Contains(g.Members, who.user) && !slices.Contains(who.groups, g.Name) {
			who.groups = append(who.groups, g.Name)
		}
	}
	for _, value := range id.Roles {
		if !strings.HasPrefix(value, "system:") {
			who.roles = append(who.roles, value)
		}
	}
	mapped := slices.Clone(who.roles)
	for _, r := range ref.src.Roles {
		has := slices.Contains(r.Users, who.user)
		has = has || slices.ContainsFunc(r.Groups, func(g string) bool { return slices.Contains(who.groups, g) })
		has = has || slices.ContainsFunc(r.Claims, func(c string) bool { return slices.Contains(mapped, c) })
		if !has {
			continue
		}
		roles = append(roles, r.Name)
		if !slices.Contains(who.roles, r.Name) {
			who.roles = append(who.roles, r.Name)
		}
	}
	return roles
}

func (ref *reference) groupPolicies(name string) []string {
	for _, g := range ref.src.Groups {
		if g.Name == name {
			return g.Policies
		}
	}
	return nil
}

func (ref *reference) rolePolicies(name string) []string {
	for _, r := range ref.src.Roles {
		if r.Name == name {
			return r.Policies
		}
	}
	return nil
}

// gate asks every rule of the named policies, by every path and host, in the
// order of reporting; the first of the strongest kind decides.
func (ref *reference) gate(gate Gate, r *Request, who *asker, names []string) verdict {
	found := map[Reason]verdict{}
	note := func(reason Reason, v verdict) {
		if _, ok := found[reason]; !ok {
			v.reason, v.gate = reason, gate
			found[reason] = v
		}
	}
	for _, p := range sortedBy(ref.src.Policies, func(p Policy) string { return p.Name }) {
		if !slices.Contains(names, p.Name) {
			continue
		}
		for i, rule := range p.Rules {
			v := verdict{policy: p.Name, rule: rule.Name}
			if rule.Name == "" {
				v.rule = fmt.Sprintf("#%d", i)
			}
			refMatches(&rule, r, func(captures map[string]string) {
				v.captures = captures
				holds, ok := true, true
				if rule.When != nil {
					holds, ok = refCondition(rule.When, r, who, captures)
				}
				switch {
				case ok && holds && rule.Effect == EffectAllow:
					note(ReasonAllowed, v)
				case ok && holds:
					note(ReasonDeniedByRule, v)
				case !ok && rule.Effect == EffectDeny:
					note(ReasonConditionError, v)
				}
			})
		}
	}
	for _, reason := range []Reason{ReasonDeniedByRule, ReasonConditionError, ReasonAllowed} {
		if v, ok := found[reason]; ok {
			return v
		}
	}
	return verdict{reason: ReasonNoMatchingRule, gate: gate}
}

// refMatches calls f with the captures of each path and host pattern of a rule
// by which it matches a request, conditions aside.
func refMatches(rule *Rule, r *Request, f func(captures map[string]string)) {
	if !slices.ContainsFunc(rule.Methods, func(m string) bool { return refMethod(m, r) }) {
		return
	}
	for _, p := range rule.Paths {
		captures := map[string]string{}
		if !refPath(strings.Split(p, "/")[1:], strings.Split(r.Path, "/")[1:], captures) {
			continue
		}
		if len(rule.Hosts) == 0 && !r.API {
			f(captures)
		}
		for _, h := range rule.Hosts {
			both := maps.Clone(captures)
			if (h == HostAPI) == r.API && (r.API || refHost(h, r.Host, both)) {
				f(both)
			}
		}
	}
}

func refMethod(m string, r *Request) bool {
	switch m {
	case "*":
		return true
	case MethodsRead:
		return slices.Contains([]string{"GET", "HEAD", "OPTIONS"}, r.Method)
	case MethodsWrite:
		return slices.Contains([]string{"POST", "PUT", "PATCH", "DELETE"}, r.Method)
	case MethodsPreflight:
		return r.Preflight
	}
	return m == r.Method
}

func refPath(pattern, path []string, captures map[string]string) bool {
	if len(pattern) == 1 && pattern[0] == "**" {
		return true
	}
	if len(pattern) == 0 || len(path) == 0 {
		return len(pattern) == len(path)
	}
	return refPart(pattern[0], path[0], "", captures) && refPath(pattern[1:], path[1:], captures)
}

// refPart compares a segment or label with a part of a pattern.
func refPart(pattern, part, prefix string, captures map[string]string) bool {
	if pattern == "*" {
		return part != ""
	}
	if strings.HasPrefix(pattern, "{") {
		captures[prefix+strings.Trim(pattern, "{}")] = part
		return part != ""
	}
	return pattern == part
}

func refHost(pattern, host string, captures map[string]string) bool {
	labels, parts := refLabels(pattern), refLabels(host)
	if labels[0] == "*" {
		if len(parts) < len(labels) {
			return false
		}
		labels, parts = labels[1:], parts[len(parts)-len(labels)+1:]
	}
	if len(labels) != len(parts) {
		return false
	}
	for i, l := range labels {
		if !strings.HasPrefix(l, "{") {
			l = strings.ToLower(l)
		}
		if !refPart(l, parts[i], "host.", captures) {
			return false
		}
	}
	return true
}

func refLabels(s string) []string {
	if strings.HasPrefix(s, "[") {
		return []string{s}
	}
	return strings.Split(strings.TrimSuffix(s, "."), ".")
}

// The engine decides as the reference does, in reason, gate, report and
// captures, on random policy sets and requests.
func TestDecideAsReference(t *testing.T) {
	const requestsPerSet = 50
	e, reasons := NewEvaluator(), map[Reason]int{}
	for set := range uint64(max(1, *decisions/requestsPerSet)) {
		r := random{rand.New(rand.NewPCG(1, set))}
		src := r.source()
		body, err := Build(src)
		if err != nil {
			t.Fatalf("set %d: %v", set, err)
		}
		s, ref := mustLoad(t, body), &reference{&src}
		for range requestsPerSet {
			req, id := r.request(), r.identity()
			want, got := ref.decide(req, id), verdictOf(e.Decide(s, req, id))
			reasons[got.reason]++
			if got.String() != want.String() {
				t.Fatalf("set %d, %+v, %+v:\ngot  %v\nwant %v\nsource %+v", set, *req, *id, got, want, src)
			}
		}
	}
	t.Log(reasons)
	for _, reason := range []Reason{
		ReasonAllowed, ReasonNoToken, ReasonUserDisabled, ReasonServiceDisabled, ReasonUnknownUser,
		ReasonDeniedByRule, ReasonConditionError, ReasonNoMatchingRule, ReasonServiceGate,
	} {
		if reasons[reason] == 0 && *decisions >= 20_000 {
			t.Errorf("no random decision was %v: the test shows too little", reason)
		}
	}
}

func verdictOf(d Decision) verdict {
	v := verdict{reason: d.Reason, gate: d.Gate, policy: d.Policy, rule: d.Rule, user: d.User, service: d.Service}
	for _, c := range d.Captures {
		if v.captures == nil {
			v.captures = map[string]string{}
		}
		if c.Host {
			c.Name = "host." + c.Name
		}
		v.captures[c.Name] = c.Value
	}
	return v
}

func mustLoad(t testing.TB, body []byte) *Snapshot {
	t.Helper()
	s, err := Load(AppendSignature(body, "k", []byte("sig")), func(_, _ []byte) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return s
}
