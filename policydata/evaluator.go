package policydata

// Evaluator decides requests. It owns the scratch memory that deciding needs,
// so that a decision allocates nothing once it has grown; it serves one
// goroutine at a time, and any snapshot.
type Evaluator struct {
	snap *Snapshot
	req  *Request
	id   *Identity

	policies idSet // those that count at the gate being asked
	groups   idSet // the user's effective groups that are in the store
	roles    idSet // the user's effective roles

	groupNames []string // token.groups
	roleNames  []string // token.roles
	user       string   // user.name
	service    string   // service.name

	path  pathSegments
	stack []step
	found candidates

	// Of the pattern whose condition is being evaluated.
	terminal uint32
	host     uint32 // none if the rule names no hosts

	cond   evaluation
	query  query
	claims claims

	captures []Capture

	watcher  watcher   // nil: nobody asks how it was decided
	surveyor surveyor  // nil: one request is decided, not all at once
	partial  knowledge // nil: all that conditions ask for is known
	work     int       // that the survey may still do
}

// A watcher is told how a decision comes about. It is an interface, as surveyor
// is, so that what only people ask for is not linked into the filter.
type watcher interface {
	reset()
	reach(terminal uint32)          // the path leads to a pattern of a policy that counts
	asked(e *Evaluator, d Decision) // a gate has spoken; a pointer would put each decision on the heap
	decided(e *Evaluator)
}

// knowledge is what conditions can know where not one request of one principal is
// decided. What they can't is an error to them, which is noted in
// evaluation.unknown: CEL's errors spread until && or || is decided without them.
type knowledge interface {
	knows(v Var) bool
	// open reports whether groups and roles may be more than those that are known.
	open() bool
	// capture returns what a pattern captured; not told if the request says it.
	capture(of captureOf, name string) (value string, ok, told bool)
	// settle says what a condition comes to that is an error, of what is not known
	// or by itself.
	settle(allow, unknown bool) condResult
}

// A surveyor stands for the gates where not one request is decided, but all are
// asked about at once.
type surveyor interface {
	ask(e *Evaluator, gate Gate) Decision
}

// NewEvaluator returns an Evaluator.
func NewEvaluator() *Evaluator { return &Evaluator{} }

// idSet is a set of indexes below some number, emptied in constant time.
type idSet struct {
	marks []uint32 // the round in which an index was added
	round uint32
	ids   []uint32
}

// reset empties the set and makes room for indexes below n.
func (s *idSet) reset(n uint32) {
	s.ids = s.ids[:0]
	if uint32(len(s.marks)) < n {
		s.marks = make([]uint32, n)
		s.round = 0
	}
	s.round++
	if s.round == 0 { // after 2^32 rounds an old mark could pass for a new one
		clear(s.marks)
		s.round = 1
	}
}

func (s *idSet) add(i uint32) bool {
	if s.marks[i] == s.round {
		return false
	}
	s.marks[i] = s.round
	s.ids = append(s.ids, i)
	return true
}

func (s *idSet) has(i uint32) bool { return s.marks[i] == s.round }

// Decide answers r for the principal that id names. It never fails: what can't
// be decided is denied. The decision is valid until the next call.
//
// It is the whole of the two gates: which service and user ask, whether these
// may ask at all, the Service Gate for what is asked on behalf of a user, and
// the User Gate.
func (e *Evaluator) Decide(s *Snapshot, r *Request, id *Identity) Decision {
	if s == nil {
		return Decision{Reason: ReasonNoSnapshot}
	}
	e.begin(s, r, id)
	if e.watcher != nil {
		e.watcher.reset()
	}
	d := e.decide()
	d.Epoch, d.Generation = s.Epoch(), s.Generation()
	d.User, d.Service = e.user, e.service
	if e.watcher != nil {
		e.watcher.decided(e)
	}
	e.snap, e.req, e.id = nil, nil, nil
	return d
}

func (e *Evaluator) begin(s *Snapshot, r *Request, id *Identity) {
	e.snap, e.req, e.id = s, r, id
	e.user, e.service = "", ""
	e.groups.reset(s.section[secGroups].count)
	e.roles.reset(s.section[secRoles].count)
	e.policies.reset(s.section[secPolicies].count)
	e.groupNames, e.roleNames = e.groupNames[:0], e.roleNames[:0]
	e.captures = e.captures[:0]
	e.query.state = queryUnread
	e.path.split(r.Path)
}

func (e *Evaluator) decide() Decision {
	if !e.id.Authenticated {
		e.addGroupPolicies(e.snap.unauthenticated)
		d := e.askGate(GateUser)
		if !d.Allowed() {
			d.Reason = ReasonNoToken
		}
		return d
	}
	service, onBehalf, ok := e.actingService()
	if !ok {
		return Decision{Reason: ReasonServiceGate, Gate: GateService}
	}
	if service != none {
		e.service = e.snap.str(e.snap.field(secServices, service, svcName))
		if e.snap.field(secServices, service, svcFlags)&flagDisabled != 0 {
			return Decision{Reason: ReasonServiceDisabled}
		}
		if !onBehalf {
			e.addRolePolicies(e.snap.field(secServices, service, svcRole))
			return e.askGate(GateUser)
		}
	}
	return e.decideUser(service)
}

// decideUser decides for a user, on whose behalf a service may ask.
func (e *Evaluator) decideUser(service uint32) Decision {
	e.user = e.id.User
	user := e.snap.findUser(e.id.User)
	switch {
	case user != none && e.snap.field(secUsers, user, userFlags)&flagDisabled != 0:
		return Decision{Reason: ReasonUserDisabled}
	case user == none && e.id.RequireKnownUser:
		return Decision{Reason: ReasonUnknownUser}
	}
	e.resolveUser(user)
	if service != none {
		e.addDelegated(service)
		if d := e.askGate(GateService); !d.Allowed() {
			return Decision{Reason: ReasonServiceGate, Gate: GateService}
		}
		e.policies.reset(e.snap.section[secPolicies].count)
	}
	e.addUserPolicies(user)
	return e.askGate(GateUser)
}

// actingService returns the service that the token names, or none, and whether
// it acts on behalf of a user. It is not ok if the token names an actor that is
// no service.
func (e *Evaluator) actingService() (service uint32, onBehalf, ok bool) {
	if e.id.HasActor {
		service = e.serviceByClient(e.id.Actor)
		if e.id.Own {
			service = e.snap.findService(e.id.Actor)
		}
		return service, true, service != none
	}
	if e.id.Client == "" {
		return none, false, true
	}
	if e.id.Own {
		service = e.snap.findService(e.id.Client)
		return service, e.id.Subject != e.id.Client, true
	}
	service = e.serviceByClient(e.id.Client)
	return service, !e.isOwnSubject(), true
}

// serviceByClient returns the service that has an identity with a client of the
// token's issuer, or none. Build sees to it that there is at most one.
func (e *Evaluator) serviceByClient(client string) uint32 {
	if client == "" {
		return none
	}
	i := e.snap.findIdentity(ServiceIdentity{Issuer: e.id.Issuer, Client: client})
	if i == e.snap.section[secIdentities].count {
		return none
	}
	if got := e.snap.identity(i); got.Issuer != e.id.Issuer || got.Client != client {
		return none
	}
	return e.snap.field(secIdentities, i, identSvc)
}

// isOwnSubject reports whether the token's client and subject together are an
// identity of a service: then the token is the service's own.
func (e *Evaluator) isOwnSubject() bool {
	want := ServiceIdentity{Issuer: e.id.Issuer, Client: e.id.Client, Subject: e.id.Subject}
	i := e.snap.findIdentity(want)
	return want.Subject != "" && i < e.snap.section[secIdentities].count && e.snap.identity(i) == want
}

// resolveUser fills the effective groups and roles: groups from token and
// store; roles by claim, user and group. user is none for one not in the store.
func (e *Evaluator) resolveUser(user uint32) {
	s := e.snap
	for _, name := range e.id.Groups {
		if name == "" || name == "*" || IsSystemName(name) {
			continue
		}
		e.groupNames = append(e.groupNames, name)
		if g := s.findGroup(name); g != none {
			e.groups.add(g)
		}
	}
	if user != none {
		rec := s.at(secUsers, user)
		first := s.u32(rec + userGroupFirst)
		for i := range s.u32(rec + userGroupCount) {
			if g := s.listItem(secGroupLists, first+i); e.groups.add(g) {
				e.groupNames = append(e.groupNames, s.str(s.field(secGroups, g, groupName)))
			}
		}
		e.addRoles(rec + userRoleFirst)
	}
	for _, g := range e.groups.ids {
		e.addRoles(s.at(secGroups, g) + groupRoleFirst)
	}
	e.resolveRoleClaims()
}

func (e *Evaluator) resolveRoleClaims() {
	s := e.snap
	for _, value := range e.id.Roles {
		if IsSystemName(value) {
			continue
		}
		e.roleNames = append(e.roleNames, value)
		if c := s.findClaim(value); c != none {
			e.addRoles(s.at(secRoleClaims, c) + claimRoleFirst)
		}
	}
	mapped := len(e.roleNames)
	for _, r := range e.roles.ids {
		name := s.str(s.field(secRoles, r, roleName))
		if !contains(e.roleNames[:mapped], name) {
			e.roleNames = append(e.roleNames, name)
		}
	}
}

func contains(list []string, s string) bool {
	for i := range list {
		if list[i] == s {
			return true
		}
	}
	return false
}

// addRoles adds the roles of the list whose range stands at offset.
func (e *Evaluator) addRoles(offset uint32) {
	first := e.snap.u32(offset)
	for i := range e.snap.u32(offset + 4) {
		e.roles.add(e.snap.listItem(secRoleLists, first+i))
	}
}

// addPolicies adds the policies of the list whose range stands at offset.
func (e *Evaluator) addPolicies(offset uint32) {
	first := e.snap.u32(offset)
	for i := range e.snap.u32(offset + 4) {
		e.policies.add(e.snap.listItem(secPolicyLists, first+i))
	}
}

func (e *Evaluator) addGroupPolicies(group uint32) {
	if group != none {
		e.addPolicies(e.snap.at(secGroups, group) + groupPolFirst)
	}
}

func (e *Evaluator) addRolePolicies(role uint32) {
	e.addPolicies(e.snap.at(secRoles, role) + rolePolFirst)
}

// addUserPolicies adds the policies that count at the User Gate.
func (e *Evaluator) addUserPolicies(user uint32) {
	if user != none {
		e.addPolicies(e.snap.at(secUsers, user) + userPolFirst)
	}
	for _, g := range e.groups.ids {
		e.addGroupPolicies(g)
	}
	for _, r := range e.roles.ids {
		e.addRolePolicies(r)
	}
	e.addGroupPolicies(e.snap.authenticated)
}

// addDelegated adds the policies of the governing roles that the service's
// delegation gives it for this user.
func (e *Evaluator) addDelegated(service uint32) {
	s := e.snap
	first := s.field(secServices, service, svcDelFirst)
	for i := range s.field(secServices, service, svcDelCount) {
		if rec := s.at(secDelegations, first+i); e.delegated(rec) {
			e.addRolePolicies(s.u32(rec + delRole))
		}
	}
}

// delegated reports whether a delegation counts for the user.
func (e *Evaluator) delegated(rec uint32) bool {
	if e.snap.u32(rec+delFlags)&flagAllUsers != 0 || e.listed(rec+delUserFirst, e.user) {
		return true
	}
	for _, g := range e.groupNames {
		if e.listed(rec+delGroupFirst, g) {
			return true
		}
	}
	return false
}

// listed reports whether name is in the ascending list of texts whose range
// stands at offset.
func (e *Evaluator) listed(offset uint32, name string) bool {
	s := e.snap
	lo := s.u32(offset)
	hi := lo + s.u32(offset+4)
	for lo < hi {
		mid := lo + (hi-lo)/2
		switch text := s.str(s.listItem(secNameLists, mid)); {
		case text == name:
			return true
		case text < name:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return false
}

// Groups returns the effective groups of the last decision's user: what
// token.groups was. They are valid until the next decision.
func (e *Evaluator) Groups() []string { return e.groupNames }
