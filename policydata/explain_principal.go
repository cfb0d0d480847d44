package policydata

import "slices"

// decided tells who asked, as far as the decision found out.
func (t *Trace) decided(e *Evaluator) {
	s := e.snap
	t.User = e.user
	user := uint32(none)
	if e.user != "" {
		user = s.findUser(e.user)
	}
	t.KnownUser = user != none
	if !e.id.Authenticated {
		return
	}
	if service, onBehalf, ok := e.actingService(); ok && service != none {
		rec := s.at(secServices, service)
		t.Service = &ServiceTrace{
			Name: s.str(s.u32(rec + svcName)), OnBehalf: onBehalf,
			Role:     s.str(s.field(secRoles, s.u32(rec+svcRole), roleName)),
			Disabled: s.u32(rec+svcFlags)&flagDisabled != 0,
		}
	}
	for _, name := range e.groupNames {
		t.Groups = append(t.Groups, e.traceGroup(name, user))
	}
	for _, r := range e.roles.ids {
		t.Roles = append(t.Roles, RoleTrace{s.str(s.field(secRoles, r, roleName)), e.originsOfRole(r, user)})
	}
}

func (e *Evaluator) traceGroup(name string, user uint32) GroupTrace {
	g := e.snap.findGroup(name)
	out := GroupTrace{Name: name, Known: g != none, From: []Origin{}}
	if slices.Contains(e.id.Groups, name) {
		out.From = append(out.From, Origin{Kind: OriginToken})
	}
	if user != none && g != none && e.snap.listHas(secGroupLists, e.snap.at(secUsers, user)+userGroupFirst, g) {
		out.From = append(out.From, Origin{Kind: OriginStore})
	}
	return out
}

// listHas reports whether the list of a pool whose range stands at offset has an
// item.
func (s *Snapshot) listHas(pool int, offset, item uint32) bool {
	first := s.u32(offset)
	for i := range s.u32(offset + 4) {
		if s.listItem(pool, first+i) == item {
			return true
		}
	}
	return false
}

// originsOfRole says what gave the user an effective role.
func (e *Evaluator) originsOfRole(role, user uint32) []Origin {
	s, out := e.snap, []Origin{}
	if user != none && s.listHas(secRoleLists, s.at(secUsers, user)+userRoleFirst, role) {
		out = append(out, Origin{OriginUser, e.user})
	}
	for _, g := range e.groups.ids {
		if rec := s.at(secGroups, g); s.listHas(secRoleLists, rec+groupRoleFirst, role) {
			out = append(out, Origin{OriginGroup, s.str(s.u32(rec + groupName))})
		}
	}
	for _, value := range e.id.Roles {
		if c := s.findClaim(value); c != none && !IsSystemName(value) && s.listHas(secRoleLists, s.at(secRoleClaims, c)+claimRoleFirst, role) {
			out = append(out, Origin{OriginClaim, value})
		}
	}
	return out
}

// carrier is a list of policies that counts at a gate, and whose it is.
type carrier struct {
	origin Origin
	offset uint32 // of the list's range
}

// carriers returns the lists whose policies count at a gate.
func (e *Evaluator) carriers(gate Gate) []carrier {
	s := e.snap
	builtIn := func(group uint32, name string) []carrier {
		if group == none {
			return nil
		}
		return []carrier{{Origin{OriginGroup, name}, s.at(secGroups, group) + groupPolFirst}}
	}
	if !e.id.Authenticated {
		return builtIn(s.unauthenticated, GroupUnauthenticated)
	}
	service, onBehalf, _ := e.actingService()
	if service != none && !onBehalf {
		return []carrier{e.roleCarrier(OriginRole, s.field(secServices, service, svcRole))}
	}
	var out []carrier
	if gate == GateService {
		first := s.field(secServices, service, svcDelFirst)
		for i := range s.field(secServices, service, svcDelCount) {
			if rec := s.at(secDelegations, first+i); e.delegated(rec) {
				out = append(out, e.roleCarrier(OriginDelegation, s.u32(rec+delRole)))
			}
		}
		return out
	}
	if user := s.findUser(e.user); user != none {
		out = append(out, carrier{Origin{OriginUser, e.user}, s.at(secUsers, user) + userPolFirst})
	}
	for _, g := range e.groups.ids {
		rec := s.at(secGroups, g)
		out = append(out, carrier{Origin{OriginGroup, s.str(s.u32(rec + groupName))}, rec + groupPolFirst})
	}
	for _, r := range e.roles.ids {
		out = append(out, e.roleCarrier(OriginRole, r))
	}
	return append(out, builtIn(s.authenticated, GroupAuthenticated)...)
}

func (e *Evaluator) roleCarrier(kind OriginKind, role uint32) carrier {
	rec := e.snap.at(secRoles, role)
	return carrier{Origin{kind, e.snap.str(e.snap.u32(rec + roleName))}, rec + rolePolFirst}
}

// tracePolicies tells which policies count at a gate, by name, and through what.
func (e *Evaluator) tracePolicies(gate Gate) []PolicyTrace {
	from := map[uint32][]Origin{}
	for _, c := range e.carriers(gate) {
		first := e.snap.u32(c.offset)
		for i := range e.snap.u32(c.offset + 4) {
			p := e.snap.listItem(secPolicyLists, first+i)
			if !slices.Contains(from[p], c.origin) {
				from[p] = append(from[p], c.origin)
			}
		}
	}
	out := []PolicyTrace{}
	for _, p := range slices.Sorted(slices.Values(e.policies.ids)) { // sorted by name, as their section is
		out = append(out, PolicyTrace{e.snap.str(e.snap.field(secPolicies, p, polName)), from[p]})
	}
	return out
}
