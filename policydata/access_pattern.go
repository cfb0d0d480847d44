package policydata

import (
	"slices"
	"strings"
)

// pattern is a set of requests: some methods, on hosts and paths of a form. Of
// two patterns the requests that both match are a pattern, too.
type pattern struct {
	methods methodSet
	host    hostForm
	path    []segment
}

// methodSet is a set of methods. A preflight is told from other OPTIONS
// requests: mbOptions stands for the latter, mbPreflight for the former.
type methodSet struct {
	any   bool
	bits  uint32
	names []string // methods without a bit
}

// hostForm is the form of a host; the zero hostForm is any host or none.
type hostForm struct {
	some   bool      // labels count
	wild   bool      // one or more labels stand before labels
	labels []segment // from the right
}

// meet returns the pattern of what both x and y match; not ok if there is none.
func meet(x, y pattern) (p pattern, ok bool) {
	if p.methods, ok = meetMethods(x.methods, y.methods); !ok {
		return p, false
	}
	if p.host, ok = meetHosts(x.host, y.host); !ok {
		return p, false
	}
	p.path, ok = meetPaths(x.path, y.path)
	return p, ok
}

func meetMethods(x, y methodSet) (methodSet, bool) {
	switch {
	case x.any:
		return y, true
	case y.any:
		return x, true
	}
	both := methodSet{bits: x.bits & y.bits}
	for _, m := range x.names {
		if slices.Contains(y.names, m) {
			both.names = append(both.names, m)
		}
	}
	return both, both.bits != 0 || len(both.names) > 0
}

func meetHosts(x, y hostForm) (hostForm, bool) {
	switch {
	case !x.some:
		return y, true
	case !y.some:
		return x, true
	case len(x.labels) > len(y.labels):
		x, y = y, x
	}
	both := hostForm{some: true}
	for i, l := range x.labels {
		m, ok := meetSegments(l, y.labels[i])
		if !ok {
			return both, false
		}
		both.labels = append(both.labels, m)
	}
	if len(x.labels) == len(y.labels) {
		both.wild = x.wild
		return both, x.wild == y.wild
	}
	both.wild = y.wild
	both.labels = append(both.labels, y.labels[len(x.labels):]...)
	return both, x.wild
}

func meetPaths(x, y []segment) ([]segment, bool) {
	var both []segment
	for i := 0; ; i++ {
		xTail := i < len(x) && x[i].kind == segTail
		yTail := i < len(y) && y[i].kind == segTail
		switch {
		case xTail:
			return append(both, y[min(i, len(y)):]...), true
		case yTail:
			return append(both, x[min(i, len(x)):]...), true
		case i == len(x) || i == len(y):
			return both, len(x) == len(y)
		}
		m, ok := meetSegments(x[i], y[i])
		if !ok {
			return nil, false
		}
		both = append(both, m)
	}
}

// meetSegments returns what is both x and y: a literal, or a wildcard.
func meetSegments(x, y segment) (segment, bool) {
	switch {
	case x.kind == segLiteral && y.kind == segLiteral:
		return x, x.text == y.text
	case x.kind == segLiteral:
		return x, x.text != ""
	case y.kind == segLiteral:
		return y, y.text != ""
	case x.kind == segAny:
		return y, true
	}
	return x, true
}

// equal reports whether two patterns match the same requests, as far as their
// form says.
func (p pattern) equal(q pattern) bool {
	same := func(x, y segment) bool {
		return (x.kind == segLiteral) == (y.kind == segLiteral) && (x.kind == segTail) == (y.kind == segTail) &&
			(x.kind != segLiteral || x.text == y.text)
	}
	return p.methods.any == q.methods.any && p.methods.bits == q.methods.bits && slices.Equal(p.methods.names, q.methods.names) &&
		p.host.some == q.host.some && p.host.wild == q.host.wild &&
		slices.EqualFunc(p.host.labels, q.host.labels, same) && slices.EqualFunc(p.path, q.path, same)
}

func (p pattern) text() AccessPattern {
	return AccessPattern{p.methods.text(), p.host.text(), "/" + joinSegments(p.path, "/")}
}

func (m methodSet) text() []string {
	if m.any {
		return []string{"*"}
	}
	bits, out := m.bits, []string{}
	if bits&mbOptions != 0 {
		bits &^= mbPreflight // OPTIONS says as much
	}
	for i, name := range methodNames {
		if bits&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return append(out, m.names...)
}

func (h hostForm) text() string {
	labels := slices.Clone(h.labels)
	slices.Reverse(labels)
	if h.wild {
		labels = slices.Insert(labels, 0, segment{kind: segAny})
	}
	return joinSegments(labels, ".")
}

func joinSegments(segs []segment, separator string) string {
	out := make([]string, len(segs))
	for i, s := range segs {
		switch s.kind {
		case segLiteral:
			out[i] = s.text
		case segCapture:
			out[i] = "{" + s.text + "}"
		case segAny:
			out[i] = "*"
		case segTail:
			out[i] = "**"
		}
	}
	return strings.Join(out, separator)
}

// methodsOf returns the methods of a rule.
func (s *Snapshot) methodsOf(rec uint32) methodSet {
	m := methodSet{bits: s.u32(rec + ruleMethodBits)}
	if m.bits&mbAny != 0 {
		return methodSet{any: true}
	}
	if m.bits&mbOptions != 0 {
		m.bits |= mbPreflight
	}
	first := s.u32(rec + ruleMethodFirst)
	for i := range s.u32(rec + ruleMethodCount) {
		if name := s.str(s.field(secMethods, first+i, 0)); !slices.Contains(m.names, name) {
			m.names = append(m.names, name)
		}
	}
	return m
}

// hostsOf returns the forms of a rule's hosts, without the host's own API.
func (s *Snapshot) hostsOf(rec uint32) []hostForm {
	if s.u32(rec+ruleFlags)&rfAnyHost != 0 {
		return []hostForm{{}}
	}
	var out []hostForm
	first := s.u32(rec + ruleHostFirst)
	for i := range s.u32(rec + ruleHostCount) {
		host := s.at(secHosts, first+i)
		flags := s.u32(host + hostFlags)
		if flags&hfAPI != 0 {
			continue
		}
		h := hostForm{some: true, wild: flags&hfWild != 0}
		label := s.u32(host + hostLabelFirst)
		for k := range s.u32(host + hostLabelCount) {
			at := s.at(secLabels, label+k)
			h.labels = append(h.labels, segment{segmentKind(s.u32(at + labelKind)), s.str(s.u32(at + labelText))})
		}
		out = append(out, h)
	}
	return out
}

// segmentsOf returns the segments of a path pattern; none of one that Build
// would not write.
func (s *Snapshot) segmentsOf(terminal uint32) []segment {
	segs, err := parsePathPattern(s.str(s.field(secTerminals, terminal, termPattern)))
	if err != nil {
		return nil
	}
	return segs
}
