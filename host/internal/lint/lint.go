package lint

import (
	"fmt"
	"slices"
	"strings"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
	"sallyport/policydata"
)

// Check returns what it finds in documents that passed their checks.
func Check(docs []model.Entity) model.Problems {
	l := &linter{given: map[model.Key]bool{}}
	for _, e := range docs {
		l.uses(e)
	}
	for _, e := range docs {
		l.at = model.KeyOf(e)
		switch e := e.(type) {
		case *model.Policy:
			l.policy(e)
		case *model.Role:
			l.role(e)
		case *model.Group:
			l.builtIn(e)
		}
	}
	return l.problems
}

type linter struct {
	at       model.Key
	given    map[model.Key]bool // policies and roles that somebody has
	issuers  int
	problems model.Problems
}

func (l *linter) find(field, format string, args ...any) {
	l.problems = append(l.problems, model.Problem{Kind: l.at.Kind, Name: l.at.Name, Field: field, Text: fmt.Sprintf(format, args...)})
}

// uses notes what an entity gives somebody.
func (l *linter) uses(e model.Entity) {
	policies, _ := directory.Related(e, model.KindPolicy)
	for _, p := range policies {
		l.given[model.Key{Kind: model.KindPolicy, Name: p}] = true
	}
	role := func(name string) { l.given[model.Key{Kind: model.KindRole, Name: name}] = true }
	switch e := e.(type) {
	case *model.Role:
		if len(e.Users)+len(e.Groups)+len(e.Claims) > 0 {
			role(e.Name)
		}
	case *model.ServiceAccount:
		role(e.Role)
		for _, d := range e.Delegation {
			role(d.Role)
		}
	case *model.Issuer:
		l.issuers++
	}
}

func (l *linter) policy(p *model.Policy) {
	if !l.given[l.at] && !p.Reserved {
		l.find("metadata.name", "no User, Group or Role of these documents has this policy")
	}
	for i, r := range p.Rules {
		field := fmt.Sprintf("spec.rules[%d]", i)
		for _, m := range r.Methods {
			if upper := strings.ToUpper(m); m != upper && slices.Contains(knownMethods, upper) {
				l.find(field+".methods", "%q never matches %q: methods are case-sensitive", m, upper)
			}
		}
		if r.Effect != model.Allow {
			continue
		}
		for k, deny := range p.Rules {
			if deny.Effect == model.Deny && covers(deny, r) {
				l.find(field, "never allows anything: rules[%d] of the same policy denies all that it matches", k)
				break
			}
		}
	}
}

// knownMethods are those of RFC 9110 section 9.3 and RFC 5789.
var knownMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"}

// covers reports whether a deny rule surely matches whatever r matches; false is
// no proof that it does not.
func covers(deny, r model.Rule) bool {
	if deny.When != "" {
		return false
	}
	hosts := len(deny.Hosts) == 0 && !slices.Contains(r.Hosts, policydata.HostAPI) ||
		len(r.Hosts) > 0 && contains(deny.Hosts, r.Hosts)
	return hosts && (slices.Contains(deny.Methods, "*") || contains(deny.Methods, r.Methods)) &&
		(slices.Contains(deny.Paths, "/**") || contains(deny.Paths, r.Paths))
}

func contains(all, some []string) bool {
	return !slices.ContainsFunc(some, func(s string) bool { return !slices.Contains(all, s) })
}

func (l *linter) role(r *model.Role) {
	switch {
	case l.given[l.at] || r.Reserved:
	case r.Governing:
		l.find("metadata.name", "no delegation of these documents gives this governing role")
	default:
		l.find("metadata.name", "nobody has this role: it has no users, groups or claims, and is no service's")
	}
}

func (l *linter) builtIn(g *model.Group) {
	if g.Name == policydata.GroupAuthenticated && len(g.Policies) > 0 && l.issuers > 1 {
		l.find("spec.policies", "these are for whoever has a token of any of the %d issuers", l.issuers)
	}
}
