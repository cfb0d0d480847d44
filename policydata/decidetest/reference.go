package decidetest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sallyport/policydata"
)

// reference decides by going through everything, in the words of the
// specification: rules as patterns and trees, principals as names.
type reference struct{ src *policydata.Source }

// Verdict is what is compared of a decision.
type Verdict struct {
	Reason                      policydata.Reason
	Gate                        policydata.Gate
	Policy, Rule, User, Service string
	Captures                    map[string]string // of the host as "host.<name>"
}

func (v Verdict) String() string {
	return fmt.Sprintf("%v gate=%q policy=%q rule=%q user=%q service=%q %v", v.Reason, v.Gate, v.Policy, v.Rule, v.User, v.Service, v.Captures)
}

// Asker is who asks, as far as policies and conditions want to know.
type Asker struct {
	Iss, Subject, User, Service string
	Groups, Roles               []string // token.groups and token.roles
	Claims                      string
}

// Decide decides a request as the specification says.
func Decide(src *policydata.Source, r *policydata.Request, id *policydata.Identity) Verdict {
	return (&reference{src}).decide(r, id)
}

func (ref *reference) decide(r *policydata.Request, id *policydata.Identity) Verdict {
	if !id.Authenticated {
		v := ref.gate(policydata.GateUser, r, &Asker{}, ref.groupPolicies(policydata.GroupUnauthenticated))
		if v.Reason != policydata.ReasonAllowed {
			v.Reason = policydata.ReasonNoToken
		}
		return v
	}
	who := &Asker{Iss: id.Iss, Subject: id.Subject, Claims: id.Claims}
	service, own, refused := ref.service(id)
	if refused {
		return Verdict{Reason: policydata.ReasonServiceGate, Gate: policydata.GateService}
	}
	if service != nil {
		who.Service = service.Name
		if service.Disabled {
			return Verdict{Reason: policydata.ReasonServiceDisabled, Service: who.Service}
		}
		if own {
			v := ref.gate(policydata.GateUser, r, who, ref.rolePolicies(service.Role))
			v.Service = who.Service
			return v
		}
	}
	v := ref.onBehalf(r, id, who, service)
	v.User, v.Service = who.User, who.Service
	return v
}

func (ref *reference) onBehalf(r *policydata.Request, id *policydata.Identity, who *Asker, service *policydata.Service) Verdict {
	who.User = id.User
	i := slices.IndexFunc(ref.src.Users, func(u policydata.User) bool { return u.Name == id.User })
	switch {
	case i >= 0 && ref.src.Users[i].Disabled:
		return Verdict{Reason: policydata.ReasonUserDisabled}
	case i < 0 && id.RequireKnownUser:
		return Verdict{Reason: policydata.ReasonUnknownUser}
	}
	roles := ref.resolve(id, who)
	if service != nil {
		var governing []string
		for _, d := range service.Delegation {
			given := slices.Contains(d.Users, "*") || slices.Contains(d.Users, who.User) ||
				slices.ContainsFunc(d.Groups, func(g string) bool { return slices.Contains(who.Groups, g) })
			if given {
				governing = append(governing, ref.rolePolicies(d.Role)...)
			}
		}
		if ref.gate(policydata.GateService, r, who, governing).Reason != policydata.ReasonAllowed {
			return Verdict{Reason: policydata.ReasonServiceGate, Gate: policydata.GateService}
		}
	}
	var policies []string
	if i >= 0 {
		policies = append(policies, ref.src.Users[i].Policies...)
	}
	for _, g := range who.Groups {
		policies = append(policies, ref.groupPolicies(g)...)
	}
	for _, name := range roles {
		policies = append(policies, ref.rolePolicies(name)...)
	}
	return ref.gate(policydata.GateUser, r, who, append(policies, ref.groupPolicies(policydata.GroupAuthenticated)...))
}

// service returns the service that a token names and whether the token is its
// own; refused if the token names an actor that is none.
func (ref *reference) service(id *policydata.Identity) (service *policydata.Service, own, refused bool) {
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
func (ref *reference) resolve(id *policydata.Identity, who *Asker) (roles []string) {
	for _, g := range id.Groups {
		if g != "" && g != "*" && !strings.HasPrefix(g, "system:") {
			who.Groups = append(who.Groups, g)
		}
	}
	for _, g := range ref.src.Groups {
		if slices.Contains(g.Members, who.User) && !slices.Contains(who.Groups, g.Name) {
			who.Groups = append(who.Groups, g.Name)
		}
	}
	for _, value := range id.Roles {
		if !strings.HasPrefix(value, "system:") {
			who.Roles = append(who.Roles, value)
		}
	}
	mapped := slices.Clone(who.Roles)
	for _, r := range ref.src.Roles {
		has := slices.Contains(r.Users, who.User)
		has = has || slices.ContainsFunc(r.Groups, func(g string) bool { return slices.Contains(who.Groups, g) })
		has = has || slices.ContainsFunc(r.Claims, func(c string) bool { return slices.Contains(mapped, c) })
		if !has {
			continue
		}
		roles = append(roles, r.Name)
		if !slices.Contains(who.Roles, r.Name) {
			who.Roles = append(who.Roles, r.Name)
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
func (ref *reference) gate(gate policydata.Gate, r *policydata.Request, who *Asker, names []string) Verdict {
	found := map[policydata.Reason]Verdict{}
	note := func(reason policydata.Reason, v Verdict) {
		if _, ok := found[reason]; !ok {
			v.Reason, v.Gate = reason, gate
			found[reason] = v
		}
	}
	policies := slices.SortedFunc(slices.Values(ref.src.Policies), func(x, y policydata.Policy) int { return cmp.Compare(x.Name, y.Name) })
	for _, p := range policies {
		if !slices.Contains(names, p.Name) {
			continue
		}
		for i, rule := range p.Rules {
			v := Verdict{Policy: p.Name, Rule: rule.Name}
			if rule.Name == "" {
				v.Rule = fmt.Sprintf("#%d", i)
			}
			refMatches(&rule, r, func(captures map[string]string) {
				v.Captures = captures
				holds, ok := true, true
				if rule.When != nil {
					holds, ok = refCondition(rule.When, r, who, captures)
				}
				switch {
				case ok && holds && rule.Effect == policydata.EffectAllow:
					note(policydata.ReasonAllowed, v)
				case ok && holds:
					note(policydata.ReasonDeniedByRule, v)
				case !ok && rule.Effect == policydata.EffectDeny:
					note(policydata.ReasonConditionError, v)
				}
			})
		}
	}
	for _, reason := range []policydata.Reason{policydata.ReasonDeniedByRule, policydata.ReasonConditionError, policydata.ReasonAllowed} {
		if v, ok := found[reason]; ok {
			return v
		}
	}
	return Verdict{Reason: policydata.ReasonNoMatchingRule, Gate: gate}
}

// refMatches calls f with the captures of each path and host pattern of a rule
// by which it matches a request, conditions aside.
func refMatches(rule *policydata.Rule, r *policydata.Request, f func(captures map[string]string)) {
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
			if (h == policydata.HostAPI) == r.API && (r.API || refHost(h, r.Host, both)) {
				f(both)
			}
		}
	}
}

// Matches reports whether a rule matches, condition included.
func Matches(rule *policydata.Rule, r *policydata.Request, who *Asker) bool {
	matches := false
	refMatches(rule, r, func(captures map[string]string) {
		holds, ok := true, true
		if rule.When != nil {
			holds, ok = refCondition(rule.When, r, who, captures)
		}
		matches = matches || ok && holds
	})
	return matches
}

// MatchesMethod reports whether an entry of a rule's methods matches.
func MatchesMethod(m string, r *policydata.Request) bool { return refMethod(m, r) }

// MatchesPath reports whether a path pattern matches a canonical path.
func MatchesPath(pattern, path string) bool {
	return refPath(strings.Split(pattern, "/")[1:], strings.Split(path, "/")[1:], map[string]string{})
}

// MatchesHost reports whether a host pattern matches a canonical host.
func MatchesHost(pattern, host string) bool { return refHost(pattern, host, map[string]string{}) }

func refMethod(m string, r *policydata.Request) bool {
	switch m {
	case "*":
		return true
	case policydata.MethodsRead:
		return slices.Contains([]string{"GET", "HEAD", "OPTIONS"}, r.Method)
	case policydata.MethodsWrite:
		return slices.Contains([]string{"POST", "PUT", "PATCH", "DELETE"}, r.Method)
	case policydata.MethodsPreflight:
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

// VerdictOf returns what a decision says.
func VerdictOf(d policydata.Decision) Verdict {
	v := Verdict{Reason: d.Reason, Gate: d.Gate, Policy: d.Policy, Rule: d.Rule, User: d.User, Service: d.Service}
	for _, c := range d.Captures {
		if v.Captures == nil {
			v.Captures = map[string]string{}
		}
		if c.Host {
			c.Name = "host." + c.Name
		}
		v.Captures[c.Name] = c.Value
	}
	return v
}
