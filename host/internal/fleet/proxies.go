package fleet

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"sallyport/host/internal/xds"
	"sallyport/policydata"
	"sallyport/policydata/pushapi"
)

// State says how a worker or a proxy stands to the version that is wanted.
type State string

// The states; a proxy has the worst of its workers, the last one here.
const (
	Enforcing State = "enforcing" // that version, or a later one
	Lagging   State = "lagging"   // an older one, or none
	Refusing  State = "refusing"  // the same, and it could not take a later one
	Silent    State = "silent"    // it takes configurations and does not report
)

func (s State) rank() int { return slices.Index([]State{Enforcing, Lagging, Refusing, Silent}, s) }

// Proxy is what is known of one process of a proxy.
type Proxy struct {
	Identity string `json:"identity"` // "": anonymous
	Instance string `json:"instance"` // node.id
	Process  string `json:"process"`  // "": it does not report
	State    State  `json:"state"`
	// Enforced is the oldest version of its workers, "" if one has none.
	Enforced string `json:"enforced"`
	// Behind is how many generations that is behind, if it is of the same epoch.
	Behind  uint64   `json:"behind,string"`
	Refused string   `json:"refused,omitempty"` // by a worker, or by the proxy before any worker saw it
	Reason  string   `json:"reason,omitempty"`
	Seen    int64    `json:"seen"` // seconds ago
	Workers []Status `json:"workers"`
	Streams []Stream `json:"streams,omitempty"` // of xDS, of all processes of its identity and instance
}

// Offset is what a list of proxies is in the order of.
func (p *Proxy) Offset() string {
	last := p.Process
	if last == "" && len(p.Streams) > 0 {
		last = p.Streams[0].Address
	}
	return url.PathEscape(p.Instance) + "/" + url.PathEscape(p.Identity) + "/" + last
}

// Status is what is known of a worker.
type Status struct {
	Worker    string            `json:"worker"`
	Plugin    string            `json:"plugin"`
	Push      string            `json:"push"`
	State     State             `json:"state"`
	Enforced  string            `json:"enforced"` // "": no snapshot
	Mark      string            `json:"mark"`
	Age       int64             `json:"age"`  // seconds since that was committed, by the proxy's clock
	Held      int64             `json:"held"` // seconds since it is enforced
	Refused   string            `json:"refused,omitempty"`
	Reason    string            `json:"reason,omitempty"`
	Seen      int64             `json:"seen"`  // seconds ago
	Known     int64             `json:"known"` // seconds since it reported first
	Decisions map[string]uint64 `json:"decisions"`
}

// Stream is an xDS stream of a proxy.
type Stream struct {
	Address string `json:"address"`
	Sent    string `json:"sent"`
	Acked   string `json:"acked"`
	Nacked  string `json:"nacked,omitempty"`
	Error   string `json:"error,omitempty"`
	Seen    int64  `json:"seen"` // seconds ago
}

// Proxies returns what is known of proxies at a time, by what their workers have
// reported (see Registry.Live) and by the streams on which they take
// configurations, against the version that is wanted. It is in the order of
// Proxy.Offset.
func Proxies(live []*Worker, streams []xds.NodeStatus, wanted pushapi.Version, now time.Time) []Proxy {
	connected := connections(streams, now)
	var list []Proxy
	configured := map[Key]int{} // processes that xDS configures, by identity and instance
	for len(live) > 0 {
		k := live[0].process()
		n := slices.IndexFunc(live, func(w *Worker) bool { return w.process() != k })
		if n < 0 {
			n = len(live)
		}
		p := proxyOf(live[:n], wanted, now)
		node := Key{Identity: k.Identity, Instance: k.Instance}
		if slices.ContainsFunc(live[:n], func(w *Worker) bool { return w.Push == pushapi.PushConfiguration }) {
			configured[node]++
			p.Streams = connected[node]
			p.explain()
		}
		list = append(list, p)
		live = live[n:]
	}
	for node, streams := range connected {
		for _, s := range streams[min(len(streams), configured[node]):] {
			p := Proxy{
				Identity: node.Identity, Instance: node.Instance, State: Silent, Seen: s.Seen,
				Workers: []Status{}, Streams: []Stream{s},
			}
			p.explain()
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b Proxy) int { return strings.Compare(a.Offset(), b.Offset()) })
	return list
}

// explain says of a proxy whose workers name nothing that they refuse what it has
// refused before they saw it: Envoy tries a configuration in a VM of its own, and
// no worker gets one that fails there.
func (p *Proxy) explain() {
	if p.State == Enforcing || p.Reason != "" {
		return
	}
	enforced, _ := pushapi.ParseVersion(p.Enforced)
	for _, s := range p.Streams {
		refused, ok := pushapi.ParseVersion(s.Nacked)
		if !ok || refused.Compare(enforced) <= 0 {
			continue
		}
		p.Refused, p.Reason = s.Nacked, s.Error
		if p.State == Lagging {
			p.State = Refusing
		}
		return
	}
}

func (w *Worker) process() Key {
	return Key{Identity: w.Identity, Instance: w.Instance, Process: w.Process}
}

// connections returns a stream for each connection that takes configurations, by
// identity and instance. A proxy has one connection to xDS.
func connections(streams []xds.NodeStatus, now time.Time) map[Key][]Stream {
	out := map[Key][]Stream{}
	for _, s := range streams {
		k := Key{Identity: s.Identity, Instance: s.Node}
		if !s.Subscribed || slices.ContainsFunc(out[k], func(o Stream) bool { return o.Address == s.Address }) {
			continue
		}
		out[k] = append(out[k], Stream{s.Address, s.Sent, s.Acked, s.Nacked, s.Error, ago(s.LastSeen, now)})
	}
	return out
}

func ago(t, now time.Time) int64 { return max(0, int64(now.Sub(t)/time.Second)) }

// proxyOf returns a proxy by its workers, of which it has one at least.
func proxyOf(workers []*Worker, wanted pushapi.Version, now time.Time) Proxy {
	first := workers[0]
	p := Proxy{Identity: first.Identity, Instance: first.Instance, Process: first.Process, State: Enforcing}
	oldest, seen := first.Enforced, first.Seen
	for _, w := range workers {
		s := statusOf(w, wanted, now)
		p.Workers = append(p.Workers, s)
		if s.State.rank() > p.State.rank() {
			p.State = s.State
		}
		if s.State == Refusing {
			p.Refused, p.Reason = s.Refused, s.Reason
		}
		if w.Enforced.Compare(oldest) < 0 {
			oldest = w.Enforced
		}
		if w.Seen.After(seen) {
			seen = w.Seen
		}
	}
	p.Enforced, p.Seen = textOf(oldest), ago(seen, now)
	if oldest.Epoch == wanted.Epoch && oldest.Generation < wanted.Generation {
		p.Behind = wanted.Generation - oldest.Generation
	}
	return p
}

func statusOf(w *Worker, wanted pushapi.Version, now time.Time) Status {
	s := Status{
		Worker: w.Worker, Plugin: w.Plugin, Push: w.Push, State: stateOf(w, wanted),
		Enforced: textOf(w.Enforced), Mark: w.Mark, Age: w.Age, Held: w.Held,
		Refused: textOf(w.Refused), Reason: w.Reason, Seen: ago(w.Seen, now), Known: ago(w.First, now),
		Decisions: map[string]uint64{},
	}
	for reason, n := range w.Decisions {
		if n > 0 {
			s.Decisions[policydata.Reason(reason).String()] = n
		}
	}
	return s
}

func stateOf(w *Worker, wanted pushapi.Version) State {
	switch {
	case w.Enforced != (pushapi.Version{}) && w.Enforced.Compare(wanted) >= 0:
		return Enforcing
	case w.Refused.Compare(w.Enforced) > 0:
		return Refusing
	}
	return Lagging
}

func textOf(v pushapi.Version) string {
	if v == (pushapi.Version{}) {
		return ""
	}
	return v.String()
}

// Summary counts proxies.
type Summary struct {
	Proxies int `json:"proxies"` // processes
	Workers int `json:"workers"`
	// Enforcing workers enforce the version that is wanted, or a later one.
	Enforcing int `json:"enforcing"`
	// Lagging proxies have a worker that does not, or don't report.
	Lagging int `json:"lagging"`
	Silent  int `json:"silent"` // of the lagging, those that don't report
}

// Summarize counts.
func Summarize(list []Proxy) (s Summary) {
	s.Proxies = len(list)
	for i := range list {
		s.Workers += len(list[i].Workers)
		for k := range list[i].Workers {
			if list[i].Workers[k].State == Enforcing {
				s.Enforcing++
			}
		}
		switch list[i].State {
		case Enforcing:
		case Silent:
			s.Silent++
			s.Lagging++
		default:
			s.Lagging++
		}
	}
	return s
}
