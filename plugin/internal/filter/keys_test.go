package filter_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/proxytest"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"sallyport/plugin/filtertest"
	"sallyport/plugin/internal/filter"
	"sallyport/policydata"
	"sallyport/policydata/pluginconfig"
	"sallyport/policydata/pushapi"
)

// rotation is a filter under generation 7, which has not the key "next".
type rotation struct {
	proxy
	*filtertest.Rotation
	t     *testing.T
	f     *filtertest.Fixture
	vm    types.VMContext
	clock *filter.Clock
}

func newRotation(t *testing.T, f *filtertest.Fixture, change func(*pluginconfig.Config)) *rotation {
	t.Helper()
	r := &rotation{Rotation: f.NewRotation(t), t: t, f: f, vm: filter.New(), clock: filter.NewClock(t)}
	c := r.Config(t, 7, false)
	if change != nil {
		change(&c)
	}
	var status types.OnPluginStartStatus
	if r.proxy, status = start(t, r.vm, "a", c.AppendBinary(nil)); status != types.OnPluginStartStatusOK {
		t.Fatal(r.logs())
	}
	return r
}

// push puts generation 8, which has the key or not, in force.
func (r *rotation) push(withKey bool) {
	r.t.Helper()
	c := r.Config(r.t, 8, withKey)
	filter.Configure(r.t, r.vm, "a", c.AppendBinary(nil))
}

// begin sends the head of a request.
func (r *rotation) begin(token string) (id uint32) {
	id = r.InitializeHttpContext()
	r.CallOnRequestHeaders(id, r.f.Request("GET", "/workspaces/foo/x", [2]string{"authorization", "Bearer " + token}), false)
	return id
}

// is wants a request to wait ("waits"), to go on ("goes on"), or a status.
func (r *rotation) is(id uint32, want string) {
	r.t.Helper()
	got := "waits"
	if local := r.GetSentLocalResponse(id); local != nil {
		got = fmt.Sprint(local.StatusCode)
	}
	if r.GetCurrentHttpStreamAction(id) == types.ActionContinue {
		got = strings.TrimPrefix(got+" and goes on", "waits and ")
	}
	if got != want {
		r.t.Errorf("request %d: %s, want: %s", id, got, want)
	}
}

// questions are those for keys; there are reports, too.
func (r *rotation) questions() []proxytest.HttpCalloutAttribute {
	all := slices.Clone(r.GetCalloutAttributesFromContext(proxytest.PluginContextID))
	return slices.DeleteFunc(all, func(c proxytest.HttpCalloutAttribute) bool {
		return !slices.Contains(c.Headers, [2]string{":path", pushapi.KeysPath})
	})
}

// answer answers the last question.
func (r *rotation) answer(status, body string) {
	r.t.Helper()
	all := r.questions()
	if len(all) == 0 {
		r.t.Fatal("nothing was asked")
	}
	var headers [][2]string
	if status != "" {
		headers = [][2]string{{":status", status}}
	}
	r.CallOnHttpCallResponse(all[len(all)-1].CalloutID, headers, nil, []byte(body))
}

// ticks wants ticks as quick as they are while requests wait, or not.
func (r *rotation) ticks(want bool) {
	r.t.Helper()
	if got := r.GetTickPeriod(); got == 0 || got <= filter.WaitingTickMillis != want {
		r.t.Errorf("ticks every %d ms", got)
	}
}

// counts wants the counters of what has waited, beside those that are 0.
func (r *rotation) counts(want string) {
	r.t.Helper()
	var got []string
	for _, name := range []string{"keys_asked", "waits", "waits_full", "waits_allowed", "waits_denied", "waits_timed_out", "waits_gone"} {
		if n, err := r.GetCounterMetric("sallyport_" + name); err != nil || n > 0 {
			got = append(got, fmt.Sprintf("%s=%d", name, n))
		}
	}
	if s := strings.Join(got, " "); s != want {
		r.t.Errorf("counted %s, want %s", s, want)
	}
}

func (r *rotation) reason() string {
	state, err := r.GetProperty([]string{"sallyport"})
	var decision struct{ Reason, Generation string }
	if err != nil || json.Unmarshal(state, &decision) != nil {
		r.t.Fatalf("%s: %v", state, err)
	}
	return decision.Reason + " " + decision.Generation
}

func TestRequestWaitsForItsKey(t *testing.T) {
	f := filtertest.NewFixture(t)
	r := newRotation(t, f, nil)
	r.ticks(false)
	id := r.begin(r.Token(t, "next", nil))
	r.is(id, "waits")
	r.ticks(true)
	if state, err := r.GetProperty([]string{"sallyport"}); err == nil {
		t.Errorf("a request that waits was reported: %s", state)
	}
	r.Tick()
	if len(r.questions()) != 1 {
		t.Fatalf("%d questions", len(r.questions()))
	}
	q := r.questions()[0]
	if q.Upstream != filtertest.HostCluster || string(q.Body) != `{"issuer":"`+r.Issuer()+`","kid":"next","version":"1.7"}` {
		t.Errorf("%s was asked %s", q.Upstream, q.Body)
	}
	if got := fmt.Sprint(q.Headers[:3]); got != "[[:method POST] [:path /v1/keys] [:authority sallyport]]" {
		t.Errorf("headers %s", got)
	}
	r.answer("200", `{"version":"1.8"}`)
	r.Tick()
	r.is(id, "waits")
	r.push(true)
	r.is(id, "waits")
	r.Tick()
	r.is(id, "goes on")
	r.ticks(false)
	if got := r.reason(); got != "allowed 8" {
		t.Errorf("reported as %s", got)
	}
	r.CompleteHttpContext(id)
	r.counts("keys_asked=1 waits=1 waits_allowed=1")
}

// How waiting ends; each begins with a request that waits, and its question.
func TestEndsOfWaiting(t *testing.T) {
	f := filtertest.NewFixture(t)
	later := func(ms int64) func(*rotation) { return func(r *rotation) { r.clock.Milliseconds += ms } }
	answer := func(status, body string) func(*rotation) { return func(r *rotation) { r.answer(status, body) } }
	push := func(withKey bool) func(*rotation) { return func(r *rotation) { r.push(withKey) } }
	tests := []struct {
		name  string
		steps []func(*rotation) // a tick is behind each
		want  string
		again string // what becomes of the next request with this key
	}{
		{"nothing happens", []func(*rotation){later(2999)}, "waits", "waits"},
		{"nothing happens in time", []func(*rotation){later(3000)}, "401", "401"},
		{"nothing happens in time, and asked later", []func(*rotation){later(3000), later(1000)}, "401", "waits"},
		{"the clock stops", []func(*rotation){func(r *rotation) { r.clock.Milliseconds = 0 }}, "401", "401"},
		{"pushed before the answer", []func(*rotation){push(true)}, "goes on", ""},
		{"pushed without the key", []func(*rotation){push(false)}, "waits", "waits"},
		{"promised and never pushed", []func(*rotation){answer("200", `{"version":"1.8"}`), later(3000)}, "401", "401"},
		{"promised and pushed without the key", []func(*rotation){answer("200", `{"version":"1.8"}`), push(false)}, "401", "401"},
		{"promised for a generation that is here", []func(*rotation){answer("200", `{"version":"1.7"}`)}, "401", "401"},
		{"promised for an epoch before", []func(*rotation){answer("200", `{"version":"0.9"}`)}, "401", "401"},
		{"promised for another epoch", []func(*rotation){answer("200", `{"version":"2.1"}`)}, "waits", "waits"},
		{"not there", []func(*rotation){answer("404", "")}, "401", "401"},
		{"not there, and asked later", []func(*rotation){answer("404", ""), later(1999)}, "401", "401"},
		{"not there, and asked much later", []func(*rotation){answer("404", ""), later(2000)}, "401", "waits"},
		{"not now", []func(*rotation){answer("503", "")}, "401", "401"},
		{"not now, and asked later", []func(*rotation){answer("503", ""), later(1000)}, "401", "waits"},
		{"no answer", []func(*rotation){answer("", "")}, "401", "401"},
		{"an answer that is none", []func(*rotation){answer("200", "{")}, "401", "401"},
		{"an answer without a version", []func(*rotation){answer("200", `{"version":8}`)}, "401", "401"},
		{"a version that is none", []func(*rotation){answer("200", `{"version":"8"}`)}, "401", "401"},
		{"not there, but pushed", []func(*rotation){answer("404", ""), push(true)}, "401", ""},
		{"not there and pushed at once", []func(*rotation){func(r *rotation) { r.answer("404", ""); r.push(true) }}, "goes on", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRotation(t, f, nil)
			token := r.Token(t, "next", nil)
			id := r.begin(token)
			r.Tick()
			for _, step := range tt.steps {
				step(r)
				r.Tick()
			}
			r.is(id, tt.want)
			r.ticks(tt.want == "waits")
			if tt.want == "401" && r.reason() == "allowed 8" {
				t.Error("reported as allowed")
			}
			if tt.again != "" {
				r.is(r.begin(token), tt.again)
			}
		})
	}
}

// What could not be accepted with the key, either, does not wait, nor does
// anything without somebody to ask.
func TestWhatDoesNotWait(t *testing.T) {
	f := filtertest.NewFixture(t)
	noHost := func(c *pluginconfig.Config) { c.HostCluster = "" }
	for _, tt := range []struct {
		name, kid string
		claims    jwt.MapClaims
		config    func(*pluginconfig.Config)
		want      string
	}{
		{"a known key", "ES256", nil, nil, "goes on"},
		{"expired", "next", jwt.MapClaims{"exp": 1}, nil, "401"},
		{"another's audience", "next", jwt.MapClaims{"aud": "x"}, nil, "401"},
		{"an unknown issuer", "next", jwt.MapClaims{"iss": "x"}, nil, "401"},
		{"a long kid", strings.Repeat("k", 129), nil, nil, "401"},
		{"no kid", "", nil, nil, "401"},
		{"no host", "next", nil, noHost, "401"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRotation(t, f, tt.config)
			r.is(r.begin(r.Token(t, tt.kid, tt.claims)), tt.want)
			if got := r.GetTickPeriod(); got != 0 && got <= filter.WaitingTickMillis {
				t.Errorf("ticks every %d ms", got)
			}
			r.Tick()
			r.counts("")
		})
	}
}

func TestOneQuestionForManyRequests(t *testing.T) {
	f := filtertest.NewFixture(t)
	r := newRotation(t, f, nil)
	var ids []uint32
	for i := range 5 {
		ids = append(ids, r.begin(r.Token(t, "next", jwt.MapClaims{"jti": fmt.Sprint(i)})))
		r.Tick()
	}
	other := r.begin(r.Token(t, "other", nil))
	r.Tick()
	if n := len(r.questions()); n != 2 {
		t.Errorf("%d questions for two keys", n)
	}
	r.answer("404", "")
	r.Tick()
	r.is(other, "401")
	r.ticks(true)
	r.push(true)
	r.Tick()
	for _, id := range ids {
		r.is(id, "goes on")
	}
	r.counts("keys_asked=2 waits=6 waits_allowed=5 waits_denied=1")
}

// A request that has gone is touched no more, and others of its key wait on.
func TestClientsThatGo(t *testing.T) {
	f := filtertest.NewFixture(t)
	r := newRotation(t, f, nil)
	first, second := r.begin(r.Token(t, "next", nil)), r.begin(r.Token(t, "next", nil))
	r.Tick()
	r.CompleteHttpContext(first)
	r.Tick()
	r.ticks(true)
	r.CompleteHttpContext(second)
	r.Tick()
	r.ticks(false)
	third := r.begin(r.Token(t, "next", nil))
	r.Tick()
	if n := len(r.questions()); n != 1 {
		t.Errorf("asked %d times while the question was open", n)
	}
	r.answer("200", `{"version":"1.8"}`)
	r.push(true)
	r.Tick()
	r.is(first, "waits")
	r.is(second, "waits")
	r.is(third, "goes on")
	r.counts("keys_asked=1 waits=3 waits_allowed=1 waits_gone=2")
}

// The bounds hold, and with the last request all that is left are refusals.
func TestBoundsOfWaiting(t *testing.T) {
	f := filtertest.NewFixture(t)
	t.Run("requests", func(t *testing.T) {
		r := newRotation(t, f, nil)
		token := r.Token(t, "next", nil)
		for range filter.MaxWaiting {
			r.is(r.begin(token), "waits")
		}
		r.is(r.begin(token), "401")
		r.counts(fmt.Sprintf("waits=%d waits_full=1", filter.MaxWaiting))
	})
	t.Run("keys", func(t *testing.T) {
		r := newRotation(t, f, nil)
		for i := range filter.MaxAsked {
			r.is(r.begin(r.Token(t, fmt.Sprint("k", i), nil)), "waits")
		}
		r.is(r.begin(r.Token(t, "one more", nil)), "401")
		r.is(r.begin(r.Token(t, "k0", nil)), "waits")
		r.Tick()
		if n := len(r.questions()); n != filter.MaxAsked {
			t.Errorf("%d questions", n)
		}
	})
	t.Run("refused keys", func(t *testing.T) {
		r := newRotation(t, f, nil)
		for i := range filter.MaxRefused + 1 {
			r.begin(r.Token(t, fmt.Sprint("k", i), nil))
			r.Tick()
			r.answer("404", "")
			r.Tick()
		}
		asked := len(r.questions())
		for i := range filter.MaxRefused + 1 {
			r.begin(r.Token(t, fmt.Sprint("k", i), nil))
		}
		r.Tick()
		if again := len(r.questions()) - asked; again != 1 {
			t.Errorf("%d keys were forgotten, want one", again)
		}
	})
}

// Several plugins of one VM may have one name, such as that of an example that
// was copied. What waits in one is not decided by the settings of another.
func TestWhatWaitsIsNotDecidedByAnotherPluginsSettings(t *testing.T) {
	f := filtertest.NewFixture(t)
	for _, tt := range []struct {
		name   string
		change func(*pluginconfig.Config)
	}{
		{"another place of the token", func(c *pluginconfig.Config) { c.TokenCookie = "session" }},
		{"the token stays", func(c *pluginconfig.Config) { c.RemoveToken = false }},
		{"other headers", func(c *pluginconfig.Config) { c.IdentityHeaders = false }},
		{"another signer of snapshots", func(c *pluginconfig.Config) {
			foreign := f.ForeignConfig(t, true, func(s *policydata.Source) { s.Generation = 8 })
			c.TrustedKeys, c.Snapshot = foreign.TrustedKeys, foreign.Snapshot
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRotation(t, f, func(c *pluginconfig.Config) { c.RemoveToken = true })
			token := [2]string{"authorization", "Bearer " + r.Token(t, "next", nil)}
			id := r.InitializeHttpContext()
			r.CallOnRequestHeaders(id, f.Request("GET", "/healthz", token), false)
			r.Tick()
			other := r.Config(t, 8, true)
			other.RemoveToken = true
			tt.change(&other)
			filter.Configure(t, r.vm, "a", other.AppendBinary(nil))
			r.Tick()
			r.is(id, "waits")
			r.clock.Milliseconds += 3000
			r.Tick()
			r.is(id, "401")
		})
	}
}
