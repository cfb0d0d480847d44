package policydata

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// addPrincipals writes users, groups and roles with the relations that a
// decision follows: user to groups, user and group and claim to roles.
func (b *Builder) addPrincipals(src Source) error {
	users := sortedBy(src.Users, userNameOf)
	groups := sortedBy(src.Groups, groupNameOf)
	roles := sortedBy(src.Roles, roleNameOf)
	err := cmp.Or(
		addNames(b, "user", users, userNameOf, &b.users),
		addNames(b, "group", groups, groupNameOf, &b.groups),
		addNames(b, "role", roles, roleNameOf, &b.roles),
	)
	if err != nil {
		return err
	}
	rel, err := b.relate(users, groups, roles)
	if err != nil {
		return err
	}
	for i := range users { // in the order of sections, as the pools of lists are
		if err := b.addUser(&users[i], rel.userGroups.of(i), rel.userRoles.of(i)); err != nil {
			return fmt.Errorf("user %q: %w", users[i].Name, err)
		}
	}
	for i := range groups {
		if err := b.addGroup(&groups[i], rel.groupRoles.of(i)); err != nil {
			return fmt.Errorf("group %q: %w", groups[i].Name, err)
		}
	}
	for i := range roles {
		if err := b.addRole(&roles[i]); err != nil {
			return fmt.Errorf("role %q: %w", roles[i].Name, err)
		}
	}
	if err := b.addClaims(rel.claimRoles); err != nil {
		return err
	}
	if err := b.addIndex(secUserIndex, seedUsers, len(users), func(i int) string { return users[i].Name }); err != nil {
		return err
	}
	return b.addIndex(secGroupIndex, seedGroups, len(groups), func(i int) string { return groups[i].Name })
}

func userNameOf(u *User) string   { return u.Name }
func groupNameOf(g *Group) string { return g.Name }
func roleNameOf(r *Role) string   { return r.Name }

// relations are what a decision follows from its principal.
type relations struct {
	userGroups, userRoles, groupRoles relation
	claimRoles                        map[string][]uint32
}

// relation lists ids, in ascending order, by the index of their owner.
type relation struct {
	pairs []struct{ owner, id uint32 } // by id
	first []uint32                     // where an owner's ids begin
	ids   []uint32
}

// add notes id at each of its owners.
func (r *relation) add(owners []uint32, id uint32) {
	for _, o := range owners {
		r.pairs = append(r.pairs, struct{ owner, id uint32 }{o, id})
	}
}

// close makes the lists, of n owners.
func (r *relation) close(n int) {
	r.first, r.ids = make([]uint32, n+1), make([]uint32, len(r.pairs))
	for _, p := range r.pairs {
		r.first[p.owner+1]++
	}
	for i := range n {
		r.first[i+1] += r.first[i]
	}
	next := slices.Clone(r.first)
	for _, p := range r.pairs {
		r.ids[next[p.owner]] = p.id
		next[p.owner]++
	}
}

func (r *relation) of(owner int) []uint32 { return r.ids[r.first[owner]:r.first[owner+1]] }

func (b *Builder) relate(users []User, groups []Group, roles []Role) (*relations, error) {
	rel := &relations{claimRoles: map[string][]uint32{}}
	for i := range groups {
		if err := b.relateTo(&rel.userGroups, uint32(i), "user", groups[i].Members, &b.users); err != nil {
			return nil, fmt.Errorf("group %q: %w", groups[i].Name, err)
		}
	}
	for i := range roles {
		r := &roles[i]
		err := errors.Join(
			b.relateTo(&rel.userRoles, uint32(i), "user", r.Users, &b.users),
			b.relateTo(&rel.groupRoles, uint32(i), "group", r.Groups, &b.groups),
		)
		if err != nil {
			return nil, fmt.Errorf("role %q: %w", r.Name, err)
		}
		for _, c := range slices.Compact(slices.Sorted(slices.Values(r.Claims))) {
			rel.claimRoles[c] = append(rel.claimRoles[c], uint32(i))
		}
	}
	rel.userGroups.close(len(users))
	rel.userRoles.close(len(users))
	rel.groupRoles.close(len(groups))
	return rel, nil
}

// relateTo notes id at each of the named owners.
func (b *Builder) relateTo(rel *relation, id uint32, what string, names []string, among *named) error {
	owners, err := b.resolve(what, names, among)
	if err != nil {
		return err
	}
	rel.add(owners, id)
	return nil
}

func (b *Builder) addRole(r *Role) error {
	if err := CheckName(r.Name); err != nil {
		return err
	}
	var flags uint32
	if r.Governing {
		flags = flagGoverning
		if len(r.Users)+len(r.Groups)+len(r.Claims) > 0 {
			return errors.New("is governing: it can't be given to users, groups or claims")
		}
	}
	policies, err := b.resolve("policy", r.Policies, &b.policies)
	if err != nil {
		return err
	}
	first, count := b.list(secPolicyLists, policies)
	b.put(secRoles, b.roles.names[b.count(secRoles)], flags, first, count)
	b.governing = append(b.governing, r.Governing)
	return nil
}

func (b *Builder) addGroup(g *Group, roles []uint32) error {
	builtIn := g.Name == GroupAuthenticated || g.Name == GroupUnauthenticated
	if builtIn && (len(g.Members) > 0 || len(roles) > 0) {
		return errors.New("is built in: it has no members and no roles")
	}
	if !builtIn {
		if err := CheckName(g.Name); err != nil {
			return err
		}
	}
	policies, err := b.resolve("policy", g.Policies, &b.policies)
	if err != nil {
		return err
	}
	polFirst, polCount := b.list(secPolicyLists, policies)
	roleFirst, roleCount := b.list(secRoleLists, roles)
	b.put(secGroups, b.groups.names[b.count(secGroups)], polFirst, polCount, roleFirst, roleCount)
	return nil
}

func (b *Builder) addUser(u *User, groups, roles []uint32) error {
	if err := CheckName(u.Name); err != nil {
		return err
	}
	policies, err := b.resolve("policy", u.Policies, &b.policies)
	if err != nil {
		return err
	}
	var flags uint32
	if u.Disabled {
		flags = flagDisabled
	}
	polFirst, polCount := b.list(secPolicyLists, policies)
	groupFirst, groupCount := b.list(secGroupLists, groups)
	roleFirst, roleCount := b.list(secRoleLists, roles)
	b.put(secUsers, b.users.names[b.count(secUsers)], flags)
	b.sections[secUsers] = binary.LittleEndian.AppendUint64(b.sections[secUsers], uint64(u.TokensNotBefore))
	b.put(secUsers, polFirst, polCount, groupFirst, groupCount, roleFirst, roleCount)
	return nil
}

func (b *Builder) addClaims(claimRoles map[string][]uint32) error {
	values := make([]string, 0, len(claimRoles))
	for v := range claimRoles {
		if v == "" || len(v) > MaxNameBytes || IsSystemName(v) {
			return fmt.Errorf("role claim value %q: 1 to %d bytes, not beginning with %q", v, MaxNameBytes, systemPrefix)
		}
		values = append(values, v)
	}
	slices.Sort(values)
	for _, v := range values {
		first, count := b.list(secRoleLists, claimRoles[v])
		b.put(secRoleClaims, b.str(v), first, count)
	}
	return b.addIndex(secClaimIndex, seedClaims, len(values), func(i int) string { return values[i] })
}

// addIndex writes the hash table by which n records are found by name.
func (b *Builder) addIndex(sec, seed, n int, name func(int) string) error {
	s, err := b.hashTable(n, func(seed uint32, i int) uint32 { return hashText(seed, name(i)) })
	if err != nil {
		return err
	}
	b.seeds[seed] = s
	b.put(sec, b.slots...)
	return nil
}

// addServices writes service accounts, their identities and delegations.
func (b *Builder) addServices(src Source) error {
	services := sortedBy(src.Services, func(s *Service) string { return s.Name })
	if err := distinct("service", services, func(s *Service) string { return s.Name }); err != nil {
		return err
	}
	issuers := map[string]bool{}
	for _, i := range src.Issuers {
		issuers[i.Name] = true
	}
	var identities []boundIdentity
	for i := range services {
		s := &services[i]
		if err := b.addService(s); err != nil {
			return fmt.Errorf("service %q: %w", s.Name, err)
		}
		for _, id := range s.Identities {
			if id.Client == "" || !issuers[id.Issuer] {
				return fmt.Errorf("service %q: identity with client %q of issuer %q: needs a client and a known issuer", s.Name, id.Client, id.Issuer)
			}
			if len(id.Client) > maxTextBytes || len(id.Subject) > maxTextBytes {
				return fmt.Errorf("service %q: identity of issuer %q: client and subject have at most %d bytes", s.Name, id.Issuer, maxTextBytes)
			}
			identities = append(identities, boundIdentity{id, uint32(i)})
		}
	}
	return b.addIdentities(identities)
}

type boundIdentity struct {
	ServiceIdentity
	service uint32
}

// addIdentities writes the identities in the order of their look-up, each once.
// A client of an issuer names one service: else which one acts would be left to
// chance.
func (b *Builder) addIdentities(ids []boundIdentity) error {
	slices.SortFunc(ids, func(x, y boundIdentity) int {
		return cmp.Or(compareIdentity(x.ServiceIdentity, y.ServiceIdentity), cmp.Compare(x.service, y.service))
	})
	ids = slices.Compact(ids)
	for i, id := range ids {
		if i > 0 && ids[i-1].Issuer == id.Issuer && ids[i-1].Client == id.Client && ids[i-1].service != id.service {
			return fmt.Errorf("client %q of issuer %q is an identity of two services", id.Client, id.Issuer)
		}
		subject := uint32(none)
		if id.Subject != "" {
			subject = b.str(id.Subject)
		}
		b.put(secIdentities, b.str(id.Issuer), b.str(id.Client), subject, id.service)
	}
	return nil
}

func (b *Builder) addService(s *Service) error {
	if err := CheckName(s.Name); err != nil {
		return err
	}
	var flags uint32
	if s.Disabled {
		flags = flagDisabled
	}
	role, err := b.roleOf(s.Role, false)
	if err != nil {
		return err
	}
	first := b.count(secDelegations)
	for _, d := range s.Delegation {
		if err := b.addDelegation(&d); err != nil {
			return fmt.Errorf("delegation: %w", err)
		}
	}
	b.put(secServices, b.str(s.Name), flags, role, first, uint32(len(s.Delegation)))
	return nil
}

// roleOf resolves a role that must, or must not, be governing.
func (b *Builder) roleOf(name string, governing bool) (uint32, error) {
	id := b.find(name, &b.roles)
	if id == none {
		return 0, fmt.Errorf("unknown role %q", name)
	}
	if b.governing[id] != governing {
		return 0, fmt.Errorf("role %q: governing must be %t here", name, governing)
	}
	return id, nil
}

func (b *Builder) addDelegation(d *Delegation) error {
	role, err := b.roleOf(d.Role, true)
	if err != nil {
		return err
	}
	var flags uint32
	var userNames []string
	for _, u := range d.Users {
		if u == "*" {
			flags = flagAllUsers
			continue
		}
		if err := CheckName(u); err != nil {
			return fmt.Errorf("user %q: %w", u, err)
		}
		userNames = append(userNames, u)
	}
	for _, g := range d.Groups {
		if err := CheckName(g); err != nil {
			return fmt.Errorf("group %q: %w", g, err)
		}
	}
	userFirst, userCount := b.list(secNameLists, b.textIDs(userNames))
	groupFirst, groupCount := b.list(secNameLists, b.textIDs(d.Groups))
	b.put(secDelegations, role, flags, userFirst, userCount, groupFirst, groupCount)
	return nil
}

// textIDs returns the string ids of texts in the order of the texts, so that a
// look-up by text can search them.
func (b *Builder) textIDs(texts []string) []uint32 {
	var ids []uint32
	for _, t := range slices.Compact(slices.Sorted(slices.Values(texts))) {
		ids = append(ids, b.str(t))
	}
	return ids
}

// compareIdentity orders identities by issuer, client and subject.
func compareIdentity(x, y ServiceIdentity) int {
	return cmp.Or(cmp.Compare(x.Issuer, y.Issuer), cmp.Compare(x.Client, y.Client), cmp.Compare(x.Subject, y.Subject))
}
