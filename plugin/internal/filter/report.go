package filter

import (
	"math/rand/v2"
	"time"
	"unicode/utf8"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"

	"sallyport/policydata"
	"sallyport/policydata/pushapi"
)

// Times of reports, in milliseconds.
const (
	reportTimeout   = 2_500
	minReportMillis = int64(pushapi.MinReportInterval / time.Millisecond)
)

// reporter tells the host what the plugins of one name enforce in this VM.
type reporter struct {
	tally   [policydata.NumReasons]uint64 // decisions
	version pushapi.Version               // the last that was refused since the one in force
	reason  string                        // why

	call     *reportCall // nil: no report is on its way
	sent     reportState // what the last said
	asked    int64       // when it was sent
	next     int64       // none before
	due      int64
	failures int
	failing  bool
}

// reportCall is a report on its way.
type reportCall struct {
	owner *pluginContext
	until int64
}

// reportState is what makes a report urgent when it changes.
type reportState struct {
	enforced, refused pushapi.Version
	mark, reason      string
}

// reporter returns the reporter of the plugins of a name.
func (vm *vmContext) reporter(name string) *reporter {
	r := vm.reporters[name]
	if r == nil {
		r = &reporter{}
		vm.reporters[name] = r
	}
	return r
}

// refuses notes why a version can't be taken.
func (r *reporter) refuses(v pushapi.Version, reason string) {
	r.version = v
	r.reason = cut(reason, pushapi.MaxReasonBytes)
}

// enforces notes that something else is in force, and what was refused before
// does not matter any more.
func (r *reporter) enforces() { r.version, r.reason = pushapi.Version{}, "" }

// counted counts a decision.
func (r *reporter) counted(reason policydata.Reason) {
	if r != nil {
		r.tally[reason]++
	}
}

// reports reports whether p speaks for the plugins of its name: the last that was
// configured does.
func (vm *vmContext) reports(p *pluginContext) bool {
	for i := len(vm.plugins) - 1; i >= 0; i-- {
		if vm.plugins[i].name == p.name {
			return vm.plugins[i] == p
		}
	}
	return false
}

// report sends a report, if it is time to.
func (r *reporter) report(p *pluginContext, now int64) {
	if r.call != nil && r.call.owner == p && now < r.call.until {
		return
	}
	r.call = nil
	e := p.enforcer
	state := reportState{e.version(), r.version, e.mark, r.reason}
	changed := state != r.sent && now >= r.asked+minReportMillis
	if now < r.next || !changed && now < r.due {
		return
	}
	p.vm.self.identify()
	call := &reportCall{owner: p, until: now + reportTimeout + abandonMillis}
	r.call, r.asked = call, now
	r.due = now + pushapi.ReportEvery.Milliseconds()*9/10 + rand.Int64N(pushapi.ReportEvery.Milliseconds()/5)
	headers := append(p.vm.self.headers("POST", pushapi.ReportPath, &e.config), [2]string{"content-type", "application/json"})
	err := send(e.config.HostCluster, headers, r.body(p, now), reportTimeout, func(a *response) { r.answer(call, state, a) })
	if err != nil {
		r.call = nil
		r.failed(now, 0)
	}
}

func (r *reporter) body(p *pluginContext, millis int64) []byte {
	e, self := p.enforcer, &p.vm.self
	report := pushapi.Report{
		Instance: cut(self.instance, pushapi.MaxInstanceBytes), Process: self.process, Worker: self.id.text(),
		Plugin: cut(p.name, pushapi.MaxPluginBytes), Push: pushapi.PushConfiguration,
		Enforced: e.version(), Mark: e.mark, Refused: r.version, Reason: r.reason, Decisions: r.tally,
		Held: max(0, millis-e.since) / 1000,
	}
	if e.config.Poll {
		report.Push = pushapi.PushPoll
	}
	if seconds, ok := now(); ok && e.snapshot != nil {
		report.Age = max(0, seconds-e.snapshot.Created())
	}
	return report.AppendJSON(nil)
}

// cut returns at most so many bytes of a text, without half a character.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// answer takes the host's answer.
func (r *reporter) answer(call *reportCall, state reportState, a *response) {
	if r.call != call {
		return
	}
	r.call = nil
	now, ok := monotonic()
	if !ok {
		now = call.until
	}
	if a.status != "204" {
		r.failed(now, retryAfter(a))
		return
	}
	r.sent, r.failures = state, 0
	if r.failing {
		r.failing = false
		proxywasm.LogInfo("sallyport: the host takes reports again")
	}
}

// failed makes a pause.
func (r *reporter) failed(now, atLeast int64) {
	r.next = now + max(pause(r.failures), atLeast)
	r.failures++
	if !r.failing {
		r.failing = true
		proxywasm.LogWarn("sallyport: the host does not take reports")
	}
}
