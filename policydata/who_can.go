package policydata

import (
	"cmp"
	"slices"
	"strings"
)

// WhoCan is who may make one request.
type WhoCan struct {
	// Refused is the reason that the request is denied for whoever makes it; "" if
	// there is none.
	Refused string     `json:"refused,omitempty"`
	Entries []WhoEntry `json:"entries"`
	// Denials are the deny rules that match the request, or may: an entry says what
	// there is for whom it names alone, and who has one of these as well, by another
	// group or role, is denied.
	Denials []WhoRule `json:"denials"`
	More    bool      `json:"more"`              // there are entries behind these
	Partial bool      `json:"partial,omitempty"` // there are so many that some were not looked at
}

// WhoEntry is who may make the request. Each entry stands alone. What is allowed
// to everyone is not repeated for each user and group.
type WhoEntry struct {
	Kind WhoKind `json:"kind"`
	Name string  `json:"name"`
	// Known is false for groups and role claims that only tokens can name.
	Known bool `json:"known"`
	// OnBehalf says of a service in whose name it may ask for what these may
	// themselves: a user, those of a group, or all users ("*").
	OnBehalf *Origin `json:"on_behalf_of,omitempty"`
	// Sure is true where nothing that the token says beside can change it: none of
	// the conditions remains.
	Sure   bool      `json:"sure"`
	Rules  []WhoRule `json:"rules"`            // that allow it; any suffices
	Unless []WhoRule `json:"unless,omitempty"` // deny rules for these that depend on the token
}

// WhoKind is a kind of principal.
type WhoKind string

// The kinds. Their texts are part of the interface.
const (
	WhoEveryone WhoKind = "everyone" // with, or without, a good token; the name is the built-in group's
	WhoGroup    WhoKind = "group"    // in it by token or store
	WhoClaim    WhoKind = "claim"    // whose token has this value of a role claim
	WhoService  WhoKind = "service"  // by a token of its own, or on behalf of users
	WhoUser     WhoKind = "user"     // by what the store says
)

// WhoRule is a rule, what of its condition depends on the token, and what gives
// its policy to whom it is for.
type WhoRule struct {
	Policy string   `json:"policy"`
	Rule   string   `json:"rule"`
	When   string   `json:"when,omitempty"`
	From   []Origin `json:"from,omitempty"`
}

const (
	// maxWhoNames bounds the groups and claims that are tried though the store does
	// not have them.
	maxWhoNames = 64
	// maxWhoDenials bounds the deny rules that are told.
	maxWhoDenials = 100
)

// WhoCan lists who may make a request. Of each principal the gates decide, with
// what only a token can say unknown, twice: in favour of the principal, and
// against it. What both allow depends on no token.
func (e *Evaluator) WhoCan(s *Snapshot, r *Request, page AccessPage) WhoCan {
	w := &whoLister{e: e, s: s, r: r, page: page, out: WhoCan{Entries: []WhoEntry{}, Denials: []WhoRule{}}}
	if s == nil {
		w.out.Refused = ReasonNoSnapshot.String()
		return w.out
	}
	e.work = maxAccessWork
	w.denials()
	for _, list := range []func(){w.everyone, w.groups, w.claims, w.services, w.users} {
		if list(); w.ended() {
			break
		}
	}
	w.out.Partial = e.work <= 0
	e.watcher, e.partial = nil, nil
	return w.out
}

// unknownToken is what conditions know of a principal without its token.
type unknownToken struct {
	favour bool // what is not known is as the principal needs it
	none   bool // there is no token, so that all is known
	user   bool // user.name is known
	own    bool // the token is a service's own, which has no groups and roles
	// service.name is known: a user may ask through any service, or none.
	service bool
}

func (k *unknownToken) knows(v Var) bool {
	switch v {
	case VarTokenIss, VarTokenSub, VarTokenClaims:
		return k.none
	case VarUserName:
		return k.none || k.own || k.user
	case VarServiceName:
		return k.none || k.own || k.service
	}
	return true
}

func (k *unknownToken) open() bool { return !k.none && !k.own }

func (*unknownToken) capture(captureOf, string) (value string, ok, told bool) {
	return "", false, false
}

func (k *unknownToken) settle(allow, unknown bool) condResult {
	switch {
	case !unknown || !k.favour:
		return condError
	case allow:
		return condTrue
	}
	return condFalse
}

// whoLister writes a page of the entries.
type whoLister struct {
	e    *Evaluator
	s    *Snapshot
	r    *Request
	page AccessPage
	out  WhoCan
	seen int

	everyones []uint32 // rules that allow the request to everyone with a token
	anyone    bool     // and one of them surely does
	texts     []string // in their conditions

	// What the watcher was told of a decision.
	reached  []uint32
	gates    map[Gate]*whoGate
	newTexts bool // texts are wanted
}

// decide reports whether the request is allowed to a principal; w.gates has what
// the gates said.
func (w *whoLister) decide(id *Identity, k unknownToken) bool {
	w.e.partial, w.e.watcher = &k, w
	d := w.e.Decide(w.s, w.r, id)
	return d.Allowed()
}

func (w *whoLister) ended() bool { return w.out.More || w.e.work <= 0 }

// add adds an entry for a principal, if the request is allowed to it and not just
// as it is to everyone.
func (w *whoLister) add(x WhoEntry, id *Identity, k unknownToken) {
	k.favour = true
	if !w.decide(id, k) {
		return
	}
	gate := w.gates[GateUser]
	k.favour = false
	x.Sure = w.decide(id, k)
	// What everyone is allowed is not a service's own.
	if x.Kind == WhoEveryone || x.Kind == WhoService || w.adds(gate, x.Sure) {
		w.append(x, gate)
	}
}

// adds reports whether a principal has what everyone has not.
func (w *whoLister) adds(gate *whoGate, sure bool) bool {
	return sure && !w.anyone || slices.ContainsFunc(gate.allows, func(h whoHit) bool { return !slices.Contains(w.everyones, h.rule) })
}

// append adds an entry, if it is on the page.
func (w *whoLister) append(x WhoEntry, gate *whoGate) {
	w.seen++
	switch {
	case w.seen <= w.page.Offset:
		return
	case len(w.out.Entries) == w.page.Amount:
		w.out.More = true
		return
	}
	sure := slices.DeleteFunc(slices.Clone(gate.allows), func(h whoHit) bool { return !h.sure })
	if len(sure) == 0 {
		sure = gate.allows
	}
	x.Rules = w.rules(sure, gate.from)
	x.Unless = w.rules(gate.denies, gate.from)
	w.out.Entries = append(w.out.Entries, x)
}

func (w *whoLister) rules(hits []whoHit, from []PolicyTrace) []WhoRule {
	var out []WhoRule
	for _, h := range hits {
		by := w.s.accessRule(w.s.at(secRules, h.rule), !h.sure)
		r := WhoRule{Policy: by.Policy, Rule: by.Rule, When: by.When}
		if i, found := slices.BinarySearchFunc(from, by.Policy, func(p PolicyTrace, name string) int { return strings.Compare(p.Name, name) }); found {
			r.From = from[i].From
		}
		out = append(out, r)
	}
	return out
}

// denials asks all policies at once for deny rules.
func (w *whoLister) denials() {
	e, s := w.e, w.s
	e.partial, e.watcher = &unknownToken{}, w
	w.reset()
	e.begin(s, w.r, &Identity{Authenticated: true})
	for p := range s.section[secPolicies].count {
		e.policies.add(p)
	}
	e.found = candidates{}
	if e.path.count > 0 {
		e.walk()
	}
	g := &whoGate{}
	w.hits(g)
	w.out.Denials = append(w.out.Denials, w.rules(g.denies[:min(len(g.denies), maxWhoDenials)], nil)...)
	e.snap, e.req, e.id = nil, nil, nil
}

func (w *whoLister) everyone() {
	w.add(WhoEntry{Kind: WhoEveryone, Name: GroupUnauthenticated, Known: true}, &Identity{}, unknownToken{none: true})
	w.newTexts = true
	id := Identity{Authenticated: true}
	if w.decide(&id, unknownToken{favour: true}) {
		for _, h := range w.gates[GateUser].allows {
			w.everyones = append(w.everyones, h.rule)
		}
	}
	w.newTexts = false
	w.add(WhoEntry{Kind: WhoEveryone, Name: GroupAuthenticated, Known: true}, &id, unknownToken{})
	w.anyone = w.decide(&id, unknownToken{})
}

// named adds those names that a token may have: those of the store, and those
// that conditions ask for.
func (w *whoLister) named(kind WhoKind, stored []string, identity func(name string) *Identity) {
	all := slices.Concat(stored, w.texts)
	slices.Sort(all)
	for _, name := range slices.Compact(all) {
		if w.ended() {
			return
		}
		if !IsSystemName(name) {
			_, known := slices.BinarySearch(stored, name)
			w.add(WhoEntry{Kind: kind, Name: name, Known: known}, identity(name), unknownToken{})
		}
	}
}

func (w *whoLister) groups() {
	w.named(WhoGroup, w.stored(secGroups, groupName), func(name string) *Identity {
		return &Identity{Authenticated: true, Groups: []string{name}}
	})
}

func (w *whoLister) claims() {
	w.named(WhoClaim, w.stored(secRoleClaims, claimValue), func(value string) *Identity {
		return &Identity{Authenticated: true, Roles: []string{value}}
	})
}

// stored returns the names in a section, which is sorted by them.
func (w *whoLister) stored(section int, field uint32) []string {
	names := make([]string, 0, w.s.section[section].count)
	for i := range w.s.section[section].count {
		names = append(names, w.s.str(w.s.field(section, i, field)))
	}
	return names
}

func (w *whoLister) services() {
	for i := range w.s.section[secServices].count {
		name := w.s.str(w.s.field(secServices, i, svcName))
		w.add(WhoEntry{Kind: WhoService, Name: name, Known: true},
			&Identity{Authenticated: true, Own: true, Client: name, Subject: name}, unknownToken{own: true})
		for _, o := range w.delegations(i) {
			if w.ended() {
				return
			}
			w.delegation(name, o)
		}
	}
}

// delegations returns for whom a service has governing roles, each once.
func (w *whoLister) delegations(service uint32) (out []Origin) {
	s := w.s
	note := func(o Origin) {
		if !slices.Contains(out, o) {
			out = append(out, o)
		}
	}
	first := s.field(secServices, service, svcDelFirst)
	for i := range s.field(secServices, service, svcDelCount) {
		rec := s.at(secDelegations, first+i)
		if s.u32(rec+delFlags)&flagAllUsers != 0 {
			note(Origin{OriginUser, "*"})
		}
		for kind, offset := range map[OriginKind]uint32{OriginUser: rec + delUserFirst, OriginGroup: rec + delGroupFirst} {
			from := s.u32(offset)
			for k := range s.u32(offset + 4) {
				note(Origin{kind, s.str(s.listItem(secNameLists, from+k))})
			}
		}
	}
	slices.SortFunc(out, func(x, y Origin) int { return cmp.Or(cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Name, y.Name)) })
	return out
}

// delegation adds what the Service Gate allows a service in somebody's name. Who
// that is must be allowed the request, too.
func (w *whoLister) delegation(service string, o Origin) {
	id := &Identity{Authenticated: true, Own: true, HasActor: true, Actor: service}
	k := unknownToken{favour: true, service: true}
	switch {
	case o.Kind == OriginGroup:
		id.Groups = []string{o.Name}
	case o.Name != "*":
		id.User, k.user = o.Name, true
	}
	w.decide(id, k)
	gate := w.gates[GateService]
	if gate == nil || !gate.allowed {
		return
	}
	k.favour = false
	w.decide(id, k)
	against := w.gates[GateService]
	w.append(WhoEntry{Kind: WhoService, Name: service, Known: true, OnBehalf: &o, Sure: against != nil && against.allowed}, gate)
}

func (w *whoLister) users() {
	for i := range w.s.section[secUsers].count {
		if w.ended() {
			return
		}
		name := w.s.str(w.s.field(secUsers, i, userName))
		w.add(WhoEntry{Kind: WhoUser, Name: name, Known: true}, &Identity{Authenticated: true, User: name}, unknownToken{user: true})
	}
}
