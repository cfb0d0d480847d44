package filter_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/proxytest"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
	"github.com/tidwall/gjson"

	"sallyport/plugin/filtertest"
	"sallyport/plugin/internal/filter"
	"sallyport/policydata"
	"sallyport/policydata/pluginconfig"
	"sallyport/policydata/pushapi"
)

const proxyToken = "spx_proxy-token-of-this-test"

// poller is a filter that polls, under version 2.7.
type poller struct {
	proxy
	t      *testing.T
	f      *filtertest.Fixture
	clock  *filter.Clock
	config pluginconfig.Config
}

func newPoller(t *testing.T, f *filtertest.Fixture) *poller {
	t.Helper()
	t.Setenv(pushapi.TokenVariable, proxyToken)
	p := &poller{t: t, f: f, clock: filter.NewClock(t)}
	p.config = p.f.Config(t, at(2, 7))
	p.config.HostCluster, p.config.Poll = filtertest.HostCluster, true
	var status types.OnPluginStartStatus
	if p.proxy, status = start(t, filter.New(), "a", p.config.AppendBinary(nil)); status != types.OnPluginStartStatusOK {
		t.Fatal(p.logs())
	}
	return p
}

func at(epoch, generation uint64) func(*policydata.Source) {
	return func(s *policydata.Source) { s.Epoch, s.Generation = epoch, generation }
}

func (p *poller) snapshot(epoch, generation uint64) []byte {
	return p.f.Config(p.t, at(epoch, generation)).Snapshot
}

func (p *poller) foreign(epoch, generation uint64) []byte {
	return p.f.ForeignConfig(p.t, false, at(epoch, generation)).Snapshot
}

// tick lets time go by. The host takes all reports.
func (p *poller) tick(millis int64) {
	before := len(p.calls(pushapi.ReportPath))
	p.clock.Milliseconds += millis
	p.Tick()
	if all := p.calls(pushapi.ReportPath); len(all) > before {
		p.CallOnHttpCallResponse(all[len(all)-1].CalloutID, [][2]string{{":status", "204"}}, nil, nil)
	}
}

// calls are the requests to the host whose paths begin with prefix.
func (p *poller) calls(prefix string) []proxytest.HttpCalloutAttribute {
	all := slices.Clone(p.GetCalloutAttributesFromContext(proxytest.PluginContextID))
	return slices.DeleteFunc(all, func(c proxytest.HttpCalloutAttribute) bool {
		return !strings.HasPrefix(header(c.Headers, ":path"), prefix)
	})
}

func header(headers [][2]string, name string) string {
	for _, h := range headers {
		if h[0] == name {
			return h[1]
		}
	}
	return ""
}

// last returns the last of the requests for snapshots.
func (p *poller) last() proxytest.HttpCalloutAttribute {
	p.t.Helper()
	all := p.calls(pushapi.SnapshotPath)
	if len(all) == 0 {
		p.t.Fatal("the host was not asked")
	}
	return all[len(all)-1]
}

// answer answers the last request for a snapshot; headers are names and values.
// One that follows at once is answered, too, by a failure: the emulated host
// numbers calls by how many are open, so that none may stay open beside others.
func (p *poller) answer(status string, body []byte, headers ...string) {
	p.t.Helper()
	list := [][2]string{{":status", status}}
	for i := 0; i < len(headers); i += 2 {
		list = append(list, [2]string{headers[i], headers[i+1]})
	}
	before := len(p.calls(pushapi.SnapshotPath))
	p.CallOnHttpCallResponse(p.last().CalloutID, list, nil, body)
	if len(p.calls(pushapi.SnapshotPath)) > before {
		p.CallOnHttpCallResponse(p.last().CalloutID, [][2]string{{":status", "503"}}, nil, nil)
	}
}

// send answers with a snapshot, as one of a version.
func (p *poller) send(version string, snapshot []byte, headers ...string) {
	p.t.Helper()
	p.answer("200", snapshot, append([]string{"content-type", pushapi.SnapshotType, "etag", `"` + version + `-x"`}, headers...)...)
}

// is wants a generation to decide.
func (p *poller) is(generation string) {
	p.t.Helper()
	got := p.request(p.f.Request("GET", "/healthz"))
	if g := gjson.Get(got.FilterState, "generation").Str; g != generation || !got.Allowed {
		p.t.Errorf("generation %s decides, want %s; allowed: %t", g, generation, got.Allowed)
	}
}

// report returns a member of the last report; reports go out within a time.
func (p *poller) report(member string) string {
	p.t.Helper()
	p.tick(10_000)
	all := p.calls(pushapi.ReportPath)
	if len(all) == 0 {
		p.t.Fatal("nothing was reported")
	}
	return gjson.GetBytes(all[len(all)-1].Body, member).Str
}

func zip(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(b)
	if err := errors.Join(err, w.Close()); err != nil {
		panic(err) // a buffer takes all
	}
	return out.Bytes()
}

func TestWhatThePollTakes(t *testing.T) {
	f := filtertest.NewFixture(t)
	for name, tt := range map[string]struct {
		snapshot func(p *poller) []byte
		gzip     bool
		want     string // the generation
		refused  string // as the report says
	}{
		"a newer generation":              {func(p *poller) []byte { return p.snapshot(2, 8) }, false, "8", ""},
		"a newer epoch":                   {func(p *poller) []byte { return p.snapshot(3, 1) }, true, "1", ""},
		"not an older generation":         {func(p *poller) []byte { return p.snapshot(2, 6) }, false, "7", "9.9"},
		"not an older epoch":              {func(p *poller) []byte { return p.snapshot(1, 99) }, true, "7", "9.9"},
		"not what another has signed":     {func(p *poller) []byte { return p.foreign(2, 8) }, false, "7", "9.9"},
		"nor if it comes compressed":      {func(p *poller) []byte { return p.foreign(2, 8) }, true, "7", "9.9"},
		"not what was changed":            {func(p *poller) []byte { b := p.snapshot(2, 8); b[len(b)/2] ^= 1; return b }, true, "7", "9.9"},
		"not what is no snapshot":         {func(*poller) []byte { return []byte("garbage") }, false, "7", "9.9"},
		"its own version, if made anew":   {func(p *poller) []byte { return p.snapshot(2, 7) }, false, "7", ""},
		"nothing, where it has just that": {func(p *poller) []byte { return p.config.Snapshot }, false, "7", ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPoller(t, f)
			p.tick(100)
			b := tt.snapshot(p)
			mark, _ := policydata.Mark(b)
			if tt.refused != "" {
				mark, _ = policydata.Mark(p.config.Snapshot)
			}
			if tt.gzip {
				p.send("9.9", zip(b), "content-encoding", "gzip")
			} else {
				p.send("9.9", b)
			}
			p.is(tt.want)
			if got := p.report("refused"); got != tt.refused {
				t.Errorf("refused %q, want %q: %s", got, tt.refused, p.logs())
			}
			if got := p.report("enforced"); tt.refused != "" && got != "2.7" {
				t.Errorf("%s is reported as enforced", got)
			}
			if got := p.report("mark"); got != mark {
				t.Errorf("%s is reported as enforced, want %s", got, mark)
			}
		})
	}
}

// A configuration that polls has a snapshot to begin with, and nothing that is
// enforced goes back to it.
func TestConfigurationsOfWhatPollsDoNotGoBack(t *testing.T) {
	f := filtertest.NewFixture(t)
	vm := filter.New()
	for _, step := range []struct {
		epoch, generation uint64
		want              string
	}{{2, 7, "7"}, {2, 6, "7"}, {1, 99, "7"}, {2, 8, "8"}, {3, 1, "1"}} {
		t.Run(pushapi.Version{Epoch: step.epoch, Generation: step.generation}.String(), func(t *testing.T) {
			c := f.Config(t, at(step.epoch, step.generation))
			c.HostCluster, c.Poll = filtertest.HostCluster, true
			p, status := start(t, vm, "a", c.AppendBinary(nil))
			if status != types.OnPluginStartStatusOK {
				t.Fatal(p.logs())
			}
			(&poller{proxy: p, t: t, f: f}).is(step.want)
		})
	}
}

// What was refused is not looked at again for a while, and the host is told not to
// send it.
func TestWhatWasRefusedIsRemembered(t *testing.T) {
	p := newPoller(t, filtertest.NewFixture(t))
	p.tick(100)
	p.send("2.8", p.foreign(2, 8))
	p.tick(10_000)
	if path := header(p.last().Headers, ":path"); !strings.Contains(path, "refused=2.8") {
		t.Errorf("the host is asked for %s", path)
	}
	p.send("2.8", p.snapshot(2, 8))
	p.is("7")
	p.tick(filter.RefusalMillis)
	p.send("2.8", p.foreign(2, 8))
	p.tick(20_000)
	p.send("2.9", p.snapshot(2, 9))
	p.is("9")
	p.tick(10_000)
	if path := header(p.last().Headers, ":path"); strings.Contains(path, "refused=") {
		t.Errorf("the host is asked for %s after a snapshot was taken", path)
	}
	if got := p.report("refused"); got != "" {
		t.Errorf("%s is still reported as refused", got)
	}
}

// What has more bytes than a snapshot can have, or inflates to more, is no answer,
// and nothing of it is looked at.
func TestAnswersAreBounded(t *testing.T) {
	p := newPoller(t, filtertest.NewFixture(t))
	large := make([]byte, policydata.MaxSnapshotBytes+1)
	p.tick(100)
	p.send("2.8", large)
	p.tick(10_000)
	p.send("2.8", zip(large), "content-encoding", "gzip")
	if n, err := p.GetCounterMetric("sallyport_snapshots_refused"); n != 0 || err != nil {
		t.Errorf("read as a snapshot %d times: %v", n, err)
	}
	p.is("7")
}

func TestAnswersOfAnotherTypeAreNone(t *testing.T) {
	p := newPoller(t, filtertest.NewFixture(t))
	for _, kind := range []string{"", "text/html", pushapi.DeltaType, pushapi.SnapshotType + "x"} {
		p.tick(10_000)
		p.answer("200", p.snapshot(2, 8), "content-type", kind)
		p.is("7")
	}
}

// Neither failures nor answers that come at once and have nothing new make the
// filter ask in a loop.
func TestPollsMakePauses(t *testing.T) {
	f := filtertest.NewFixture(t)
	for _, status := range []string{"503", "500", "401", "204", "304"} {
		t.Run(status, func(t *testing.T) {
			p := newPoller(t, f)
			p.tick(100)
			before := len(p.calls(pushapi.SnapshotPath))
			p.answer(status, nil)
			if failed := strings.Contains(p.logs(), "no snapshots from the host"); failed != (status != "304") {
				t.Errorf("a failure: %t", failed)
			}
			p.tick(50)
			if n := len(p.calls(pushapi.SnapshotPath)) - before; n != 0 {
				t.Errorf("asked %d times at once", n)
			}
			if p.tick(10_000); len(p.calls(pushapi.SnapshotPath)) != before+1 {
				t.Error("not asked any more")
			}
		})
	}
}

func TestPollsKeepAwayForAsLongAsTheHostWants(t *testing.T) {
	p := newPoller(t, filtertest.NewFixture(t))
	p.tick(100)
	p.answer("429", nil, "retry-after", "20")
	before := len(p.calls(pushapi.SnapshotPath))
	for range 19 {
		p.tick(1000)
	}
	if n := len(p.calls(pushapi.SnapshotPath)) - before; n != 0 {
		t.Errorf("asked %d times", n)
	}
	if p.tick(1000); len(p.calls(pushapi.SnapshotPath)) != before+1 {
		t.Error("not asked any more")
	}
}

func TestDeltasThatAPollTakes(t *testing.T) {
	f := filtertest.NewFixture(t)
	for name, tt := range map[string]struct {
		own     bool
		target  func(p *poller) []byte
		change  func(d []byte) []byte
		headers []string
		want    string
	}{
		"a good one":                    {true, nil, nil, nil, "8"},
		"not what another has signed":   {false, nil, nil, nil, "7"},
		"not to what is older":          {true, func(p *poller) []byte { return p.snapshot(2, 6) }, nil, nil, "7"},
		"not to what another signed":    {true, func(p *poller) []byte { return p.foreign(2, 8) }, nil, nil, "7"},
		"not if it was changed":         {true, nil, func(d []byte) []byte { d[len(d)/2] ^= 1; return d }, nil, "7"},
		"not for another base":          {true, nil, nil, []string{"delta-base", `"2.7-x"`}, "7"},
		"not of another manipulation":   {true, nil, nil, []string{"im", "vcdiff"}, "7"},
		"not as a snapshot by its type": {true, nil, nil, []string{"content-type", pushapi.SnapshotType}, "7"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPoller(t, f)
			p.tick(100)
			asked := p.last().Headers
			if header(asked, "a-im") != pushapi.DeltaManipulation {
				t.Fatalf("no delta is asked for: %v", asked)
			}
			target := p.snapshot(2, 8)
			if tt.target != nil {
				target = tt.target(p)
			}
			d := p.f.Delta(t, tt.own, p.config.Snapshot, target)
			if tt.change != nil {
				d = tt.change(d)
			}
			headers := append(slices.Clone(tt.headers), "im", pushapi.DeltaManipulation, "delta-base", header(asked, "if-none-match"),
				"content-type", pushapi.DeltaType, "etag", `"2.8-x"`)
			p.answer("226", d, headers...)
			p.is(tt.want)
			p.tick(10_000)
			if whole := header(p.last().Headers, "a-im") == ""; whole != (tt.want == "7") {
				t.Errorf("a whole snapshot is asked for: %t", whole)
			}
		})
	}
	t.Run("none that was not asked for", func(t *testing.T) {
		p := newPoller(t, f)
		p.tick(100)
		base := header(p.last().Headers, "if-none-match")
		p.answer("226", []byte("garbage"), "im", pushapi.DeltaManipulation, "delta-base", base, "content-type", pushapi.DeltaType)
		p.tick(10_000)
		d := p.f.Delta(t, true, p.config.Snapshot, p.snapshot(2, 8))
		p.answer("226", d, "im", pushapi.DeltaManipulation, "delta-base", base, "content-type", pushapi.DeltaType)
		p.is("7")
	})
}

// share writes an entry of shared data, as another plugin may.
func (p *poller) share(key string, value []byte) {
	p.t.Helper()
	_, number, err := proxywasm.GetSharedData(key)
	if err != nil && !errors.Is(err, types.ErrorStatusNotFound) {
		p.t.Fatal(err)
	}
	if err := proxywasm.SetSharedData(key, value, number); err != nil {
		p.t.Fatal(err)
	}
}

// announce shares a snapshot under the lease of another worker.
func (p *poller) announce(lease int64, v pushapi.Version, announced, shared []byte) {
	p.t.Helper()
	head, snapshot := filter.SharedNames("a", &p.config)
	p.share(snapshot, shared)
	p.share(head, filter.Announce(p.clock.Milliseconds+lease, v, announced))
}

func TestWhatSharedDataGive(t *testing.T) {
	f := filtertest.NewFixture(t)
	newer := pushapi.Version{Epoch: 2, Generation: 8}
	for name, tt := range map[string]struct {
		version   pushapi.Version
		announced func(p *poller) []byte
		shared    func(p *poller) []byte // nil: what is announced
		want      string
	}{
		"a newer generation":                 {newer, func(p *poller) []byte { return p.snapshot(2, 8) }, nil, "8"},
		"not what another has signed":        {newer, func(p *poller) []byte { return p.foreign(2, 8) }, nil, "7"},
		"not an older one, announced as new": {newer, func(p *poller) []byte { return p.snapshot(2, 6) }, nil, "7"},
		"not an older one in its place":      {newer, func(p *poller) []byte { return p.snapshot(2, 8) }, func(p *poller) []byte { return p.snapshot(2, 6) }, "7"},
		"not a newer one than is announced":  {newer, func(p *poller) []byte { return p.snapshot(2, 9) }, nil, "7"},
		"not the bytes of part of it":        {newer, func(p *poller) []byte { return p.snapshot(2, 8) }, func(p *poller) []byte { return p.snapshot(2, 8)[:1000] }, "7"},
		"not one that was changed in a byte": {newer, func(p *poller) []byte { b := p.snapshot(2, 8); b[1000] ^= 1; return b }, nil, "7"},
		"not an older epoch":                 {pushapi.Version{Epoch: 1, Generation: 9}, func(p *poller) []byte { return p.snapshot(1, 9) }, nil, "7"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPoller(t, f)
			announced := tt.announced(p)
			shared := announced
			if tt.shared != nil {
				shared = tt.shared(p)
			}
			p.announce(1000, tt.version, announced, shared)
			p.tick(100)
			p.is(tt.want)
		})
	}
}

// Of one version with two marks shared data can't say which was the last: the
// host is asked.
func TestTheSameVersionIsNotTakenFromSharedData(t *testing.T) {
	p := newPoller(t, filtertest.NewFixture(t))
	again := p.snapshot(2, 7)
	mark, _ := policydata.Mark(p.config.Snapshot)
	v := pushapi.Version{Epoch: 2, Generation: 7}
	p.announce(1000, v, again, again)
	head, _ := filter.SharedNames("a", &p.config)
	for range 60 {
		p.tick(100)
		p.share(head, filter.Announce(p.clock.Milliseconds+1000, v, again))
	}
	if n := len(p.calls(pushapi.SnapshotPath)); n == 0 {
		t.Error("the host is not asked")
	}
	if got := p.report("mark"); got != mark {
		t.Errorf("%s is enforced, want %s", got, mark)
	}
}

func TestLeases(t *testing.T) {
	f := filtertest.NewFixture(t)
	lead := func(p *poller) bool {
		p.t.Helper()
		p.tick(100)
		return slices.ContainsFunc(p.calls(pushapi.SnapshotPath), func(c proxytest.HttpCalloutAttribute) bool {
			return strings.Contains(header(c.Headers, ":path"), "wait=")
		})
	}
	for name, tt := range map[string]struct {
		lease int64 // of another
		want  bool  // this one leads
	}{
		"another's counts":                 {1000, false},
		"not once it has ended":            {100, true},
		"nor if it ended long ago":         {-1 << 40, true},
		"nor one that ends later than any": {filter.LeaseMillis + 1000, true},
		"nor one that never ends":          {1 << 60, true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPoller(t, f)
			p.announce(tt.lease, pushapi.Version{Epoch: 2, Generation: 7}, p.config.Snapshot, p.config.Snapshot)
			if got := lead(p); got != tt.want {
				t.Errorf("it leads: %t", got)
			}
		})
	}
	t.Run("one's own is short and renewed", func(t *testing.T) {
		p := newPoller(t, f)
		head, _ := filter.SharedNames("a", &p.config)
		for i := range 50 {
			p.tick(100)
			b, _, err := proxywasm.GetSharedData(head)
			left := filter.LeaseOf(b) - p.clock.Milliseconds
			if err != nil || left <= filter.LeaseMillis/2-100 || left > filter.LeaseMillis {
				t.Fatalf("after %d ticks it has %d ms: %v", i, left, err)
			}
		}
	})
	t.Run("one's own ends where another has taken it", func(t *testing.T) {
		p := newPoller(t, f)
		if !lead(p) {
			t.Fatal("it does not lead")
		}
		p.announce(1900, pushapi.Version{Epoch: 2, Generation: 7}, p.config.Snapshot, p.config.Snapshot)
		p.tick(100)
		before := len(p.calls(pushapi.SnapshotPath))
		p.answer("304", nil)
		p.tick(500)
		if n := len(p.calls(pushapi.SnapshotPath)) - before; n != 0 {
			t.Errorf("it asks %d times more", n)
		}
	})
}

// A token that was verified under a key that the next snapshot has not any more is
// refused from that moment on.
func TestVerifiedTokensEndWithTheirKey(t *testing.T) {
	p := newPoller(t, filtertest.NewFixture(t))
	eric := p.f.Headers(&filtertest.Case{Method: "GET", Target: "/workspaces/foo/x", Headers: [][2]string{{"authorization", "Bearer {eric}"}}})
	for range 2 {
		if got := p.request(eric); !got.Allowed {
			t.Fatal(got.FilterState)
		}
	}
	p.tick(100)
	p.send("2.8", p.f.Config(t, func(s *policydata.Source) {
		at(2, 8)(s)
		s.Issuers[0].Keys = slices.DeleteFunc(s.Issuers[0].Keys, func(k policydata.Key) bool { return k.ID == "RS256" })
	}).Snapshot)
	if got := p.request(eric); got.Allowed || gjson.Get(got.FilterState, "generation").Str != "8" {
		t.Errorf("allowed: %t, %s", got.Allowed, got.FilterState)
	}
}

// The proxy's token is in one header of what goes to the host, and nowhere else.
func TestTheProxysTokenIsNotShown(t *testing.T) {
	p := newPoller(t, filtertest.NewFixture(t))
	p.tick(100)
	for i, status := range []string{"401", "403", "500", "200"} {
		p.answer(status, []byte("garbage"), "content-type", pushapi.SnapshotType, "etag", strconv.Itoa(i))
		p.tick(10_000)
	}
	for _, c := range p.calls("/") {
		for _, h := range c.Headers {
			if shown := strings.Contains(h[1], proxyToken); shown != (h[0] == "authorization") {
				t.Errorf("header %s: %t", h[0], shown)
			}
		}
		if header(c.Headers, "authorization") != "Bearer "+proxyToken || strings.Contains(string(c.Body), proxyToken) {
			t.Errorf("%s: not in its header, or in the body", header(c.Headers, ":path"))
		}
	}
	if strings.Contains(p.logs(), proxyToken) {
		t.Error("the log shows it")
	}
}

// A request that does not go on is held with its body: Envoy may let a body go on
// that comes after a mere pause.
func TestWhatDoesNotGoOnIsHeldWithItsBody(t *testing.T) {
	const stopAll = types.Action(4)
	f := filtertest.NewFixture(t)
	r := newRotation(t, f, nil)
	for name, token := range map[string]string{"waits": r.Token(t, "next", nil), "is denied": "x"} {
		id := r.InitializeHttpContext()
		headers := f.Request("POST", "/workspaces/foo/x", [2]string{"authorization", "Bearer " + token})
		if got := r.CallOnRequestHeaders(id, headers, false); got != stopAll {
			t.Errorf("what %s: action %d", name, got)
		}
	}
}
