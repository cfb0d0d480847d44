package model

import (
	"slices"
	"time"
)

// sorted returns a sorted copy without duplicates; nil for an empty list.
func sorted(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	return slices.Compact(slices.Sorted(slices.Values(list)))
}

// copied returns a copy of list; nil for an empty one.
func copied[T any](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	return slices.Clone(list)
}

func copiedPaths(paths [][]string) [][]string {
	paths = copied(paths)
	for i := range paths {
		paths[i] = copied(paths[i])
	}
	return paths
}

func (u *User) normalized() Entity {
	n := *u
	n.Policies = sorted(u.Policies)
	if !u.TokensNotBefore.IsZero() {
		n.TokensNotBefore = time.Unix(u.TokensNotBefore.Unix(), 0).UTC()
	}
	return &n
}

func (g *Group) normalized() Entity {
	n := *g
	n.Members, n.Policies = sorted(g.Members), sorted(g.Policies)
	return &n
}

func (p *Policy) normalized() Entity {
	n := *p
	n.Rules = copied(p.Rules)
	for i := range n.Rules {
		r := &n.Rules[i]
		r.Methods, r.Hosts, r.Paths = copied(r.Methods), copied(r.Hosts), copied(r.Paths)
	}
	return &n
}

func (r *Role) normalized() Entity {
	n := *r
	n.Policies, n.Users = sorted(r.Policies), sorted(r.Users)
	n.Groups, n.Claims = sorted(r.Groups), sorted(r.Claims)
	return &n
}

func (s *ServiceAccount) normalized() Entity {
	n := *s
	n.Identities, n.Delegation = copied(s.Identities), copied(s.Delegation)
	for i := range n.Delegation {
		d := &n.Delegation[i]
		d.Users, d.Groups = sorted(d.Users), sorted(d.Groups)
	}
	return &n
}

func (i *Issuer) normalized() Entity {
	n := *i
	n.Audiences, n.Algorithms = copied(i.Audiences), copied(i.Algorithms)
	n.JWKS.Inline = copied(i.JWKS.Inline)
	n.JWKS.KeepRemoved = nil
	if keep := i.JWKS.KeepRemoved; keep != nil && *keep != DefaultKeepRemoved {
		n.JWKS.KeepRemoved = new(*keep)
	}
	n.Claims.Username = copiedPaths(i.Claims.Username)
	n.Claims.Groups = copiedPaths(i.Claims.Groups)
	n.Claims.Roles = copiedPaths(i.Claims.Roles)
	n.Claims.Client = copiedPaths(i.Claims.Client)
	n.Claims.Headers = copied(i.Claims.Headers)
	for k := range n.Claims.Headers {
		h := &n.Claims.Headers[k]
		h.Claim = copied(h.Claim)
	}
	return &n
}

// pruner removes references and notes whether there were any.
type pruner struct {
	gone    func(Kind, string) bool
	changed bool
}

func (p *pruner) names(k Kind, names []string) []string {
	if !slices.ContainsFunc(names, func(n string) bool { return p.gone(k, n) }) {
		return names
	}
	p.changed = true
	var kept []string
	for _, n := range names {
		if !p.gone(k, n) {
			kept = append(kept, n)
		}
	}
	return kept
}

func (u *User) without(gone func(Kind, string) bool) Entity {
	p, n := pruner{gone: gone}, *u
	n.Policies = p.names(KindPolicy, u.Policies)
	if !p.changed {
		return u
	}
	return &n
}

func (g *Group) without(gone func(Kind, string) bool) Entity {
	p, n := pruner{gone: gone}, *g
	n.Members = p.names(KindUser, g.Members)
	n.Policies = p.names(KindPolicy, g.Policies)
	if !p.changed {
		return g
	}
	return &n
}

func (p *Policy) without(func(Kind, string) bool) Entity { return p }

func (r *Role) without(gone func(Kind, string) bool) Entity {
	p, n := pruner{gone: gone}, *r
	n.Policies = p.names(KindPolicy, r.Policies)
	n.Users = p.names(KindUser, r.Users)
	n.Groups = p.names(KindGroup, r.Groups)
	if !p.changed {
		return r
	}
	return &n
}

// without leaves the role and the identities: losing an identity would turn the
// service's tokens into ones that need no Service Gate. Check refuses a state in
// which these name nothing.
func (s *ServiceAccount) without(gone func(Kind, string) bool) Entity {
	p, n := pruner{gone: gone}, *s
	n.Delegation = nil
	for _, d := range s.Delegation {
		d.Users, d.Groups = p.names(KindUser, d.Users), p.names(KindGroup, d.Groups)
		if gone(KindRole, d.Role) || len(d.Users)+len(d.Groups) == 0 {
			p.changed = true
			continue
		}
		n.Delegation = append(n.Delegation, d)
	}
	if !p.changed {
		return s
	}
	return &n
}

func (i *Issuer) without(func(Kind, string) bool) Entity { return i }
