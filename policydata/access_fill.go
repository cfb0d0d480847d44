package policydata

import (
	"slices"
	"strings"
)

// maxFills bounds in how many ways the captures of one pattern are filled.
const maxFills = 4096

// known is what a condition can know without a request: one that comes to true or
// false does so for every request.
type known struct{ captures map[captureRef]string }

// captureRef names a capture.
type captureRef struct {
	of   captureOf
	name string
}

type captureOf uint8

const (
	capturePath captureOf = iota
	captureHost
)

func (*known) knows(v Var) bool { return !v.ofRequest() }

func (*known) open() bool { return false }

func (k *known) capture(of captureOf, name string) (value string, ok, told bool) {
	value, ok = k.captures[captureRef{of, name}]
	return value, ok, true
}

func (*known) settle(bool, bool) condResult { return condError }

// ofRequest reports whether only a request can say what a variable is.
func (v Var) ofRequest() bool {
	switch v {
	case VarRequestMethod, VarRequestPath, VarRequestHost, VarRequestHeaders, VarRequestQuery, VarRequestTime:
		return true
	}
	return false
}

// partly evaluates the condition of a rule with what is known; condError if it
// depends on the request.
func (e *Evaluator) partly(at *ruleAt, captures map[captureRef]string) condResult {
	e.partial = &known{captures}
	e.cond.steps = MaxConditionSteps // where there is no condition
	defer func() {
		e.work -= patternWork + MaxConditionSteps - e.cond.steps
		e.partial = nil
	}()
	return e.holds(at.rec, at.terminal, none)
}

// bindings returns the captures of a rule that a pattern, which is its own or a
// part of it, leaves but one value.
func (e *Evaluator) bindings(at *ruleAt, p pattern) map[captureRef]string {
	out := map[captureRef]string{}
	for i, s := range at.pattern.path {
		if s.kind == segCapture && p.path[i].kind == segLiteral {
			out[captureRef{capturePath, s.text}] = p.path[i].text
		}
	}
	for i, l := range at.pattern.host.labels {
		if l.kind == segCapture && p.host.labels[i].kind == segLiteral {
			out[captureRef{captureHost, l.text}] = p.host.labels[i].text
		}
	}
	return out
}

// grants returns the patterns of an allow rule's requests that the condition
// leaves, with captures filled where there are only some values by which it
// holds, such as the user's groups for path.team in token.groups.
func (e *Evaluator) grants(at ruleAt) []grant {
	switch e.partly(&at, nil) {
	case condTrue:
		return []grant{{ruleAt: at}}
	case condFalse:
		return nil
	}
	domains, closed := e.domains(&at)
	if len(domains) == 0 && !closed {
		return []grant{{ruleAt: at, when: true}}
	}
	f := filler{e: e, at: at, domains: domains, closed: closed, captures: map[captureRef]string{}}
	f.fill(0, false)
	return f.out
}

// domain is what a capture can be as far as a condition tells values apart: one
// of some, or another.
type domain struct {
	ref    captureRef
	values []string
	other  string // is none of values, as every other value
}

// domains returns the captures of which a condition only asks whether they are
// one of some known values; closed if it asks the request for nothing else.
func (e *Evaluator) domains(at *ruleAt) (_ []domain, closed bool) {
	e.partial = &known{}
	defer func() { e.partial = nil }()
	root := e.snap.u32(at.rec + ruleExprFirst)
	found := &domainFinder{e: e, root: root}
	found.visit(0)
	ways := 1
	closed = !found.depends && len(found.open) == 0
	var out []domain
	for _, d := range found.domains {
		if slices.Contains(found.open, d.ref) || !at.captures(d.ref) || ways*(len(d.values)+1) > maxFills {
			closed = false
			continue
		}
		ways *= len(d.values) + 1
		d.other = "\x00"
		for slices.Contains(d.values, d.other) {
			d.other += "\x00"
		}
		out = append(out, d)
	}
	return out, closed
}

// captures reports whether the rule's pattern has a capture.
func (at *ruleAt) captures(ref captureRef) bool {
	segs := at.pattern.path
	if ref.of == captureHost {
		segs = at.pattern.host.labels
	}
	return slices.Contains(segs, segment{segCapture, ref.name})
}

type domainFinder struct {
	e       *Evaluator
	root    uint32
	domains []domain
	open    []captureRef // captures that are used otherwise, too
	depends bool         // on the request otherwise than by captures
}

// visit goes through the nodes below i.
func (f *domainFinder) visit(i uint32) {
	s := f.e.snap
	op, args, x := s.exprNode(s.at(secExprs, f.root+i))
	if ref, ok := f.ref(i); ok {
		f.open = append(f.open, ref) // what has a domain is not visited
		return
	}
	switch op {
	case OpIn:
		if f.compared(x, x+1) {
			return
		}
	case OpIndex:
		if f.compared(x+1, x) {
			return
		}
	case OpEq, OpNe:
		if f.compared(x, x+1) || f.compared(x+1, x) {
			return
		}
	case OpVar:
		f.depends = f.depends || Var(x).ofRequest()
	}
	for k := range args {
		f.visit(x + k)
	}
}

// ref returns the capture that a node is.
func (f *domainFinder) ref(i uint32) (captureRef, bool) {
	op, _, x := f.e.snap.exprNode(f.e.snap.at(secExprs, f.root+i))
	switch op {
	case OpPathVar:
		return captureRef{capturePath, f.e.snap.str(x)}, true
	case OpHostVar:
		return captureRef{captureHost, f.e.snap.str(x)}, true
	}
	return captureRef{}, false
}

// compared notes the values with which node i, if it is a capture, is compared
// by node other, if its value is known: a text, or the elements of a list or keys
// of a map in which it is looked for.
func (f *domainFinder) compared(i, other uint32) bool {
	ref, ok := f.ref(i)
	if !ok {
		return false
	}
	v := f.e.part(f.root, other)
	var values []string
	switch v.kind {
	case kindError:
		return false
	case kindString:
		values = []string{strings.Clone(v.s)}
	case kindList, kindMap:
		for c := f.e.each(v); f.e.next(&c); {
			if c.value.kind == kindString {
				values = append(values, strings.Clone(c.value.s))
			}
		}
	}
	f.e.work -= MaxConditionSteps - f.e.cond.steps
	k := slices.IndexFunc(f.domains, func(d domain) bool { return d.ref == ref })
	if k < 0 {
		f.domains = append(f.domains, domain{ref: ref})
		k = len(f.domains) - 1
	}
	for _, v := range values {
		if !slices.Contains(f.domains[k].values, v) {
			f.domains[k].values = append(f.domains[k].values, v)
		}
	}
	return true
}

// filler goes through the values of all domains.
type filler struct {
	e        *Evaluator
	at       ruleAt
	domains  []domain
	closed   bool // an error is one for every request, so that the rule allows none
	captures map[captureRef]string
	out      []grant
}

// fill takes each value of the domains from i on; other says whether one before
// them is left open.
func (f *filler) fill(i int, other bool) {
	if f.e.work <= 0 {
		return
	}
	if i == len(f.domains) {
		f.grant(other)
		return
	}
	d := &f.domains[i]
	for _, value := range d.values {
		if canCapture(d.ref.of, value) {
			f.captures[d.ref] = value
			f.fill(i+1, other)
		}
	}
	f.captures[d.ref] = d.other
	f.fill(i+1, true)
	delete(f.captures, d.ref)
}

// grant adds what the condition leaves of the captures as they are filled.
func (f *filler) grant(other bool) {
	result := f.e.partly(&f.at, f.captures)
	if result == condFalse || result == condError && f.closed {
		return
	}
	g := grant{ruleAt: f.at, filled: map[string]string{}, when: other || result != condTrue}
	g.pattern.path = f.filled(capturePath, g.pattern.path, "", g.filled)
	g.pattern.host.labels = f.filled(captureHost, g.pattern.host.labels, "host.", g.filled)
	f.out = append(f.out, g)
}

// filled returns segments with captures as literals, and notes these in names.
func (f *filler) filled(of captureOf, segs []segment, prefix string, names map[string]string) []segment {
	segs = slices.Clone(segs)
	for _, d := range f.domains {
		value := f.captures[d.ref]
		if d.ref.of != of || value == d.other {
			continue
		}
		for i := range segs {
			if segs[i].kind == segCapture && segs[i].text == d.ref.name {
				segs[i] = segment{segLiteral, value}
				names[prefix+d.ref.name] = value
			}
		}
	}
	return segs
}

// canCapture reports whether a value can stand in a canonical path or host as
// one segment or label.
func canCapture(of captureOf, value string) bool {
	if value == "" {
		return false
	}
	if of == captureHost {
		host, ok := CanonicalHost(value)
		_, _, more := lastLabel(value)
		return ok && host == value && !more
	}
	const hex = "0123456789ABCDEF"
	var raw strings.Builder
	raw.WriteByte('/')
	for i := range len(value) {
		raw.Write([]byte{'%', hex[value[i]>>4], hex[value[i]&15]})
	}
	path, ok := CanonicalPath(raw.String())
	return ok && path == "/"+value
}
