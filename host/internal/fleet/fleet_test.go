package fleet

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"sallyport/host/internal/xds"
	"sallyport/policydata"
	"sallyport/policydata/pushapi"
)

// clock is a time that tests set.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func newClock() *clock { return &clock{time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)} }

func id(n int) string { return fmt.Sprintf("%032x", n) }

func v(generation uint64) pushapi.Version { return pushapi.Version{Epoch: 1, Generation: generation} }

// worker is a report of a worker of a process of an instance.
func worker(instance string, process, n int, enforced uint64) pushapi.Report {
	r := pushapi.Report{Instance: instance, Process: id(process), Worker: id(n), Plugin: "sallyport", Push: pushapi.PushPoll}
	if enforced > 0 {
		r.Enforced, r.Mark = v(enforced), "aa"
	}
	return r
}

func report(t *testing.T, r *Registry, identity string, reports ...pushapi.Report) {
	t.Helper()
	for _, x := range reports {
		if err := r.Report(identity, false, x); err != nil {
			t.Fatal(err)
		}
	}
}

// What one says under another's names is a proxy of its own.
func TestProxiesOfTwoIdentitiesAreTwo(t *testing.T) {
	c := newClock()
	r := New(c.now)
	report(t, r, "proxy:edge-1", worker("edge-1", 1, 1, 41))
	report(t, r, "fleet:prod", worker("edge-1", 1, 2, 42))
	list := Proxies(r.Live(), nil, Target{Wanted: v(42), Published: v(42)}, c.t)
	if len(list) != 2 || list[0].Identity != "fleet:prod" || list[0].State != Enforcing || list[1].State != Lagging {
		t.Errorf("%+v", list)
	}
}

// A version that a worker could not take once says nothing once it enforces a later
// one.
func TestARefusalOfBeforeIsOver(t *testing.T) {
	c := newClock()
	r := New(c.now)
	w := worker("edge-1", 1, 1, 41)
	w.Refused, w.Reason = v(40), "damaged"
	report(t, r, "", w)
	if list := Proxies(r.Live(), nil, Target{Wanted: v(42), Published: v(42)}, c.t); len(list) != 1 || list[0].State != Lagging {
		t.Errorf("%+v", list)
	}
}

func TestAReportIsReadAsItIsWritten(t *testing.T) {
	r := worker("edge \"1\"\n", 1, 2, 42)
	r.Age, r.Held, r.Refused, r.Reason = -3, 2, v(43), "no é"
	r.Decisions[policydata.ReasonAllowed] = 7
	got, err := Parse(r.AppendJSON(nil))
	if diff := cmp.Diff(r, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	r = worker("", 1, 2, 0) // a worker that has nothing
	if got, err := Parse(r.AppendJSON(nil)); err != nil || got != r {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestReportsAreReadStrictly(t *testing.T) {
	r := worker("i", 1, 2, 42)
	whole := string(r.AppendJSON(nil))
	for name, tt := range map[string]struct{ old, new, want string }{
		"no JSON":              {whole, "x", ""},
		"a further member":     {`{"instance"`, `{"more":1,"instance"`, "unknown field"},
		"a member twice":       {`{"instance"`, `{"instance":"","instance"`, ""},
		"a missing member":     {`"mark":"aa",`, "", "mark is missing"},
		"missing decisions":    {`,"decisions":{}`, "", "decisions is missing"},
		"null":                 {`"mark":"aa"`, `"mark":null`, "mark is missing"},
		"another type":         {`"age":0`, `"age":"0"`, "age"},
		"a short process":      {`"process":"0`, `"process":"`, "process: want 32 hex digits"},
		"an upper-case id":     {`"worker":"0`, `"worker":"A`, "worker: want 32 hex digits"},
		"another push":         {`"push":"poll"`, `"push":"pull"`, "push: want configuration or poll"},
		"a bad version":        {`"enforced":"1.42"`, `"enforced":"42"`, "enforced: want <epoch>.<generation>"},
		"version zero":         {`"refused":""`, `"refused":"0.0"`, "refused: want <epoch>.<generation>"},
		"a mark of words":      {`"mark":"aa"`, `"mark":"no"`, "mark: want at most 64 hex digits"},
		"a mark of any length": {`"mark":"aa"`, `"mark":"` + strings.Repeat("aa", 33) + `"`, "mark: want at most 64 hex digits"},
		"a negative time":      {`"held":0`, `"held":-1`, "held: want no negative number"},
		"an unknown reason":    {`"decisions":{}`, `"decisions":{"x":1}`, `unknown reason "x"`},
		"a negative count":     {`"decisions":{}`, `"decisions":{"allowed":-1}`, "decisions"},
		"a very long report":   {`"reason":""`, `"reason":"` + strings.Repeat("x", pushapi.MaxReportBytes) + `"`, "at most 8192 bytes"},
		"a trailing value":     {`{}}`, `{}}{}`, ""},
		"text that is cut":     {`"instance":"i"`, `"instance":"` + strings.Repeat("é", 400) + `"`, "-"},
	} {
		t.Run(name, func(t *testing.T) {
			body := strings.Replace(whole, tt.old, tt.new, 1)
			if body == whole {
				t.Fatal("nothing was changed")
			}
			r, err := Parse([]byte(body))
			if tt.want == "-" {
				if err != nil || len(r.Instance) != pushapi.MaxInstanceBytes {
					t.Errorf("%d bytes, %v", len(r.Instance), err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	r := worker("i", 1, 2, 42)
	f.Add(r.AppendJSON(nil))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := Parse(body)
		if err != nil {
			return
		}
		again, err := Parse(r.AppendJSON(nil))
		if err != nil || again != r {
			t.Errorf("%+v is read as %+v, %v", r, again, err)
		}
	})
}

func TestWhoIsSilentIsForgotten(t *testing.T) {
	c := newClock()
	r := New(c.now)
	report(t, r, "", worker("a", 1, 1, 1), worker("a", 1, 2, 1))
	c.t = c.t.Add(pushapi.Lease - time.Second)
	report(t, r, "", worker("a", 1, 2, 2))
	if live := r.Live(); len(live) != 2 || live[1].Enforced != v(2) || !live[1].First.Before(live[1].Seen) {
		t.Errorf("%d live", len(live))
	}
	c.t = c.t.Add(time.Second)
	if live := r.Live(); len(live) != 1 || live[0].Worker != id(2) {
		t.Errorf("%d live", len(live))
	}
	c.t = c.t.Add(pushapi.Lease)
	if live := r.Live(); len(live) != 0 || len(r.of) != 0 || len(r.workers) != 0 {
		t.Errorf("%d live", len(live))
	}
}

// Who reported first and goes on does not keep up who came later and is silent.
func TestWhoIsSilentIsForgottenBehindWhoReports(t *testing.T) {
	c := newClock()
	r := New(c.now)
	report(t, r, "", worker("a", 1, 1, 1), worker("a", 1, 2, 1))
	c.t = c.t.Add(pushapi.Lease - time.Second)
	report(t, r, "", worker("a", 1, 1, 2))
	c.t = c.t.Add(time.Second)
	if live := r.Live(); len(live) != 1 || live[0].Worker != id(1) {
		t.Errorf("%d live", len(live))
	}
}

// Two plugins of a worker's VM have snapshots of their own.
func TestPluginsOfAWorkerAreTwo(t *testing.T) {
	r := New(newClock().now)
	one, other := worker("a", 1, 1, 9), worker("a", 1, 1, 1)
	other.Plugin = "other"
	report(t, r, "", one, other)
	if live := r.Live(); len(live) != 2 || live[0].Enforced == live[1].Enforced {
		t.Errorf("%+v", live)
	}
}

func TestARegistryIsCompleteAfterALease(t *testing.T) {
	c := newClock()
	r := New(c.now)
	c.t = c.t.Add(pushapi.Lease - 1)
	before := r.Incomplete()
	c.t = c.t.Add(1)
	if before != "the host started less than 15s ago" || r.Incomplete() != "" {
		t.Errorf("before %q, then %q", before, r.Incomplete())
	}
}

func TestARegistryThatRefusedAReportIsNotCompleteForALease(t *testing.T) {
	for name, tt := range map[string]struct {
		refuse func(r *Registry)
		want   string
	}{
		"too many workers": {func(r *Registry) {
			for i := range MaxWorkersOfProxy + 1 {
				_ = r.Report("proxy:a", true, worker("a", 1, i, 1))
			}
		}, "a report of proxy:a was refused: too many workers report"},
		"one not understood": {func(r *Registry) {
			r.Missed("", errors.New("worker: want 32 hex digits"))
		}, "a report was refused: worker: want 32 hex digits"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			r := New(c.now)
			c.t = c.t.Add(pushapi.Lease)
			tt.refuse(r)
			c.t = c.t.Add(pushapi.Lease - 1)
			if got := r.Incomplete(); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
			c.t = c.t.Add(1)
			if got := r.Incomplete(); got != "" {
				t.Errorf("after a lease: %q", got)
			}
		})
	}
}

func TestNoIdentityReportsForAnother(t *testing.T) {
	r := New(newClock().now)
	report(t, r, "proxy:a", worker("a", 1, 1, 1))
	report(t, r, "fleet:f", worker("a", 1, 1, 9))
	live := r.Live()
	if len(live) != 2 || live[1].Identity != "proxy:a" || live[1].Enforced != v(1) {
		t.Errorf("%+v", live)
	}
}

func TestWorkersAreBounded(t *testing.T) {
	c := newClock()
	r := New(c.now)
	fill := func(identity string, alone bool) (n int) {
		for ; ; n++ {
			if err := r.Report(identity, alone, worker("x", 1, n, 1)); errors.Is(err, ErrFull) {
				return n
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := fill("proxy:a", true); n != MaxWorkersOfProxy {
		t.Errorf("a proxy: %d", n)
	}
	if n := fill("fleet:f", false); n != maxWorkersOfFleet {
		t.Errorf("a fleet: %d", n)
	}
	if n := fill("cert:c", false); n != MaxWorkers-maxWorkersOfFleet-MaxWorkersOfProxy {
		t.Errorf("the rest: %d", n)
	}
	if err := r.Report("fleet:f", false, worker("x", 1, 0, 2)); err != nil {
		t.Errorf("one that is known: %v", err)
	}
	c.t = c.t.Add(pushapi.Lease)
	if err := r.Report("proxy:b", true, worker("x", 1, 1, 1)); err != nil {
		t.Errorf("once there is room: %v", err)
	}
}

// A worker may report a few times at once, and then every MinReportInterval. What
// is refused changes nothing, and other workers are not touched.
func TestAWorkerReportsNotTooOften(t *testing.T) {
	c := newClock()
	r := New(c.now)
	const most = int(limitWindow / pushapi.MinReportInterval)
	report(t, r, "proxy:a", worker("a", 1, 1, 1)) // the first is what makes it known
	for n := range most {
		report(t, r, "proxy:a", worker("a", 1, 1, uint64(2+n)))
	}
	var limited *LimitedError
	if err := r.Report("proxy:a", true, worker("a", 1, 1, 99)); !errors.As(err, &limited) || limited.After != pushapi.MinReportInterval {
		t.Errorf("got %v", err)
	}
	if live := r.Live(); len(live) != 1 || live[0].Enforced != v(uint64(1+most)) {
		t.Errorf("%+v", live)
	}
	report(t, r, "proxy:a", worker("a", 1, 2, 1))
	for range 10 {
		c.t = c.t.Add(pushapi.MinReportInterval)
		report(t, r, "proxy:a", worker("a", 1, 1, 9))
	}
	if _, refused := r.counts(); refused != 1 {
		t.Errorf("%d were refused", refused)
	}
}

// An identity's reports are limited before they are read, by how many workers it
// has; others' are not touched.
func TestAnIdentityReportsNotTooOften(t *testing.T) {
	c := newClock()
	r := New(c.now)
	admitted := func(identity string) (n int) {
		for ; ; n++ {
			var limited *LimitedError
			if err := r.Admit(identity); errors.As(err, &limited) {
				return n
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := admitted("fleet:f"); n != leastRate {
		t.Errorf("nobody is known: %d at once", n)
	}
	if n := admitted("fleet:f"); n != 0 {
		t.Errorf("and %d more", n)
	}
	if n := admitted("proxy:b"); n != leastRate {
		t.Errorf("another identity: %d", n)
	}
	for n := range 1000 {
		report(t, r, "fleet:f", worker("a", 1, n, 1))
	}
	c.t = c.t.Add(limitWindow)
	if n := admitted("fleet:f"); n != 5000 {
		t.Errorf("1,000 workers: %d at once", n)
	}
	for i := range 3 * maxAdmitted {
		if err := r.Admit(fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(r.admitted); n > maxAdmitted {
		t.Errorf("%d identities are remembered", n)
	}
}

// A fleet of which nothing is known is within seconds, though each worker comes
// again only after a second or more.
func TestAWholeFleetIsSoonKnown(t *testing.T) {
	c := newClock()
	r := New(c.now)
	due := make([]time.Duration, maxWorkersOfFleet)
	known, begun := 0, c.t
	for known < len(due) && c.t.Sub(begun) < pushapi.Lease {
		for n, at := range due {
			if at < 0 || c.t.Sub(begun) < at {
				continue
			}
			if r.Admit("fleet:f") != nil {
				due[n] = c.t.Sub(begun) + time.Second
				continue
			}
			report(t, r, "fleet:f", worker("a", 1, n, 1))
			due[n], known = -1, known+1
		}
		c.t = c.t.Add(100 * time.Millisecond)
	}
	if known < len(due) {
		t.Errorf("%d of %d workers are known after %v", known, len(due), c.t.Sub(begun))
	}
	t.Logf("known after %v", c.t.Sub(begun))
}

func TestProxies(t *testing.T) {
	c := newClock()
	r := New(c.now)
	refusing := worker("b", 2, 2, 40)
	refusing.Refused, refusing.Reason = v(42), "bad signature"
	older := worker("e", 5, 1, 7)
	older.Enforced.Epoch = 0
	ahead := worker("h", 7, 1, 44)
	configured := worker("n", 6, 1, 42)
	configured.Push = pushapi.PushConfiguration
	report(t, r, "", worker("a", 1, 1, 42), worker("a", 1, 2, 43), worker("b", 2, 1, 42), refusing,
		worker("c", 3, 1, 41), worker("c", 3, 2, 42), worker("d", 4, 1, 0), older, ahead, worker("h", 7, 2, 42), configured)
	c.t = c.t.Add(3 * time.Second)
	stream := func(node, address string, subscribed bool) xds.NodeStatus {
		return xds.NodeStatus{Node: node, Address: address, Subscribed: subscribed, Sent: "1.42", Acked: "1.41", LastSeen: c.t}
	}
	inTrial := worker("t", 7, 1, 41)
	inTrial.Push = pushapi.PushConfiguration
	report(t, r, "", inTrial)
	nacked := func(node, address, version string) xds.NodeStatus {
		s := stream(node, address, true)
		s.Nacked, s.Error = version, "no such feature"
		return s
	}
	streams := []xds.NodeStatus{
		nacked("t", "6:6", "1.42"), nacked("u", "7:7", "1.42"), nacked("n", "1:1", "1.41"),
		stream("n", "1:1", true), stream("n", "2:2", true), stream("s", "3:3", true), stream("ads", "4:4", false),
		{Node: "a", Address: "5:5", Identity: "cert:x", Subscribed: true, LastSeen: c.t}, // another a
	}
	list := Proxies(r.Live(), streams, Target{Wanted: v(42), Published: v(43)}, c.t)
	var got []string
	for _, p := range list {
		got = append(got, fmt.Sprintf("%s %s%s %d workers %q behind %d refused %q %s seen %d streams %d",
			p.Instance, p.Identity, p.State, len(p.Workers), p.Enforced, p.Behind, p.Refused, p.Reason, p.Seen, len(p.Streams)))
	}
	want := []string{
		`a enforcing 2 workers "1.42" behind 0 refused ""  seen 3 streams 0`,
		`a cert:xsilent 0 workers "" behind 0 refused ""  seen 0 streams 1`,
		`b refusing 2 workers "1.40" behind 2 refused "1.42" bad signature seen 3 streams 0`,
		`c lagging 2 workers "1.41" behind 1 refused ""  seen 3 streams 0`,
		`d lagging 1 workers "" behind 0 refused ""  seen 3 streams 0`,
		`e lagging 1 workers "0.7" behind 0 refused ""  seen 3 streams 0`,
		`h ahead 2 workers "1.42" behind 0 refused ""  seen 3 streams 0`,
		`n enforcing 1 workers "1.42" behind 0 refused ""  seen 3 streams 2`,
		`n silent 0 workers "" behind 0 refused ""  seen 0 streams 1`,
		`s silent 0 workers "" behind 0 refused ""  seen 0 streams 1`,
		`t refusing 1 workers "1.41" behind 1 refused "1.42" no such feature seen 0 streams 1`,
		`u silent 0 workers "" behind 0 refused "1.42" no such feature seen 0 streams 1`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	summary := Summary{Proxies: 12, Workers: 12, Enforcing: 6, Lagging: 10, Silent: 4}
	if got := Summarize(list); got != summary {
		t.Errorf("%+v", got)
	}
	offsets := map[string]bool{}
	for i := range list {
		offsets[list[i].Offset()] = true
	}
	if len(offsets) != len(list) {
		t.Errorf("offsets %v", offsets)
	}
}

func TestMetrics(t *testing.T) {
	r := New(newClock().now)
	refusing := worker("b", 2, 2, 40)
	refusing.Refused = v(42)
	report(t, r, "", worker("a", 1, 1, 42), worker("c", 3, 1, 41), refusing)
	registry := prometheus.NewRegistry()
	registry.MustRegister(Metrics{Registry: r, Published: func() pushapi.Version { return v(42) }})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		m := f.GetMetric()[0]
		got[f.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
	}
	want := map[string]float64{
		"sallyport_workers": 3, "sallyport_workers_lagging": 2, "sallyport_workers_refusing": 1,
		"sallyport_reports_total": 3, "sallyport_reports_refused_total": 0,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// BenchmarkProxies is what GET /api/v1/proxies costs where as many report as may.
func BenchmarkProxies(b *testing.B) {
	r := New(time.Now)
	for i := range MaxWorkers / 2 {
		if err := r.Report("", false, worker(fmt.Sprintf("edge-%05d", i/4), i/4, i, 42)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		Proxies(r.Live(), nil, Target{Wanted: v(42)}, time.Now())
	}
}
