package filter

import (
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"

	"sallyport/policydata"
	"sallyport/policydata/pushapi"
)

// Times of asking for snapshots, in milliseconds.
const (
	pollWaitMillis = 30_000 // how long the host holds an answer back
	pollWait       = "30s"  // the same
	pollSpare      = 10_000 // how much longer an answer may take
	abandonMillis  = 5_000  // when an answer should have come, one way or the other
	confirmMillis  = 60_000 // a worker hears from the host itself at least as often
	confirmJitter  = 15_000 // less at most
	needMillis     = 2_000  // the same, where it has no snapshot that it may use
	differsMillis  = 5_000  // the same, where the leader's differs
	quickMillis    = 1_000  // an answer before that was not waited for
	minPauseMillis = 200
	maxPauseMillis = 5_000
	maxRetryAfter  = 30_000
	logEveryMillis = 10_000
)

// poller asks the host for snapshots.
type poller struct {
	call      *pollCall // nil: no question is open
	next      int64     // no question before
	asked     int64     // when the last was
	confirmed int64     // when the host last answered one
	failures  int       // since then
	idle      int       // answers that came too soon for having nothing new
	whole     bool      // a delta did not fit: ask for a whole snapshot
	refused   refusals
	trouble   trouble
}

// pollCall is a question that is open.
type pollCall struct {
	owner       *pluginContext // with whom the answer is lost
	since       int64
	until       int64
	waits       bool
	manipulates bool // a delta may be the answer
}

// ask asks the host, if it is time to. The leader always does; others do so that
// they depend on nobody.
func (f *feed) ask(now int64) {
	p := &f.poller
	if p.call != nil && p.call.owner == f.driver() && now < p.call.until {
		return
	}
	p.call = nil
	if now < p.next || !f.leader.leads && !f.isDue(now) {
		return
	}
	d := f.driver()
	call := &pollCall{owner: d, since: now, waits: f.leader.leads}
	timeout := uint32(pollSpare)
	if call.waits {
		timeout += pollWaitMillis
	}
	call.until = now + int64(timeout) + abandonMillis
	p.asked, p.call = now, call
	d.enforcer.metrics.pushed(pushPolls)
	err := send(d.enforcer.config.HostCluster, f.question(call, now), nil, timeout, func(r *response) { f.answer(call, r) })
	if err != nil {
		p.call = nil
		f.failed(errNoCluster, 0, now)
	}
}

// isDue reports whether a worker that does not lead is to ask the host itself.
func (f *feed) isDue(now int64) bool {
	p := &f.poller
	if f.follower.differs {
		return now >= p.asked+differsMillis
	}
	if !usable(f.driver().enforcer.snapshot) {
		return now >= p.asked+needMillis
	}
	return now >= p.confirmed+confirmMillis-int64(f.vm.self.id[0])*confirmJitter/256
}

// usable reports whether there is a snapshot that has not expired.
func usable(s *policydata.Snapshot) bool {
	if s == nil || s.Expires() == 0 {
		return s != nil
	}
	seconds, ok := now()
	return ok && seconds < s.Expires()
}

// question makes the head of a request for a snapshot.
func (f *feed) question(call *pollCall, now int64) [][2]string {
	d, p := f.driver(), &f.poller
	current := &d.enforcer.loaded
	path := pushapi.SnapshotPath + "?after=" + current.version().String()
	if v, ok := p.refused.newest(now); ok {
		path += "&refused=" + v.String()
	}
	if call.waits {
		path += "&wait=" + pollWait
	}
	headers := append(f.vm.self.headers("GET", path, &d.enforcer.config), [2]string{"accept-encoding", "gzip"})
	if current.snapshot == nil {
		return headers
	}
	if call.manipulates = !p.whole; call.manipulates {
		headers = append(headers, [2]string{"a-im", pushapi.DeltaManipulation})
	}
	return append(headers, [2]string{"if-none-match", current.version().ETag(current.mark)})
}

// What goes wrong with asking. What is logged says which, and no more.
var (
	errNoCluster    = errors.New("the proxy has no such cluster")
	errNoAnswer     = errors.New("no answer, or none yet")
	errNotAProxy    = errors.New("the host does not accept the proxy's token")
	errBusy         = errors.New("the host has too much to do")
	errAnswer       = errors.New("the answer is none that a host gives")
	errKnownRefused = errors.New("the host sends again what was refused")
	errRefused      = errors.New("the snapshot was refused")
	errDelta        = errors.New("the delta does not lead to a snapshot")
)

// answer takes the host's answer, and asks again.
func (f *feed) answer(call *pollCall, r *response) {
	p := &f.poller
	if p.call != call || len(f.plugins) == 0 {
		return
	}
	p.call = nil
	now, ok := monotonic()
	if !ok {
		now = call.since
	}
	news, err := false, error(nil)
	switch r.status {
	case "200", "226":
		news, err = f.receive(call, r, now)
	case "304":
	case "401", "403":
		err = errNotAProxy
	case "429":
		err = errBusy
	case "", "503", "504": // the proxy's own, most often
		err = errNoAnswer
	default:
		err = errAnswer
	}
	if err != nil {
		f.failed(err, retryAfter(r), now)
		return
	}
	f.succeeded(call, news, now)
	if call.owner == f.driver() { // else the answer would be lost with the owner
		f.ask(now)
	}
}

// succeeded notes that the host has answered. Answers without news that come at
// once would make this loop.
func (f *feed) succeeded(call *pollCall, news bool, now int64) {
	p := &f.poller
	p.confirmed, p.failures, p.whole = now, 0, false
	p.trouble.over(now)
	if news || !call.waits || now >= call.since+quickMillis {
		p.idle = 0
		return
	}
	p.next = now + pause(p.idle)
	p.idle++
}

// failed makes a pause.
func (f *feed) failed(err error, atLeast, now int64) {
	p := &f.poller
	f.driver().enforcer.metrics.pushed(pushErrors)
	p.trouble.with(err, now)
	p.next = now + max(pause(p.failures), atLeast)
	p.failures++
}

// pause is how long to wait after so many failures: longer and longer, and for
// each worker different.
func pause(failures int) int64 {
	d := min(int64(minPauseMillis)<<min(failures, 16), maxPauseMillis)
	return d/2 + rand.Int64N(d/2+1)
}

// retryAfter returns what the header of that name says in seconds (RFC 9110
// section 10.2.3), within bounds, in milliseconds.
func retryAfter(r *response) int64 {
	seconds, err := strconv.ParseUint(r.header("retry-after"), 10, 32)
	if err != nil {
		return 0
	}
	return min(int64(seconds)*1000, maxRetryAfter)
}

// trouble logs what changes, and not more often than it should.
type trouble struct {
	err    error // nil: none
	logged int64
}

func (t *trouble) with(err error, now int64) {
	if t.err == err || t.err != nil && now < t.logged+logEveryMillis {
		return
	}
	t.err, t.logged = err, now
	proxywasm.LogWarn("sallyport: no snapshots from the host: " + err.Error())
}

func (t *trouble) over(now int64) {
	if t.err == nil {
		return
	}
	*t = trouble{logged: now}
	proxywasm.LogInfo("sallyport: the host answers again")
}

// refusals remember what the host has sent and could not be taken.
type refusals []refusal

type refusal struct {
	etag    string
	version pushapi.Version
	until   int64
	times   int
}

const (
	maxRefusals    = 8
	maxETagBytes   = 128
	refusalMillis  = 60_000 // doubled each time, up to 8 minutes: nobody has signed the tag,
	maxRefusalsFor = 3      // which may be that of something good
)

// has reports whether an answer with this tag was refused, and not too long ago:
// what was spoilt on its way comes whole some time.
func (r refusals) has(etag string, now int64) bool {
	for i := range r {
		if r[i].etag == etag {
			return now < r[i].until
		}
	}
	return false
}

// newest returns the newest version that was refused.
func (r refusals) newest(now int64) (v pushapi.Version, ok bool) {
	for i := range r {
		if now < r[i].until && r[i].version.Compare(v) > 0 {
			v, ok = r[i].version, true
		}
	}
	return v, ok
}

// add remembers a refusal. Of what has no proper tag there is nothing to
// remember.
func (r *refusals) add(etag string, now int64) (v pushapi.Version) {
	text, _, tagged := strings.Cut(strings.Trim(etag, `"`), "-")
	v, ok := pushapi.ParseVersion(text)
	if !tagged || !ok || len(etag) > maxETagBytes {
		return pushapi.Version{}
	}
	times := 0
	for i := range *r {
		if (*r)[i].etag == etag {
			times = (*r)[i].times + 1
			*r = append((*r)[:i], (*r)[i+1:]...)
			break
		}
	}
	if len(*r) == maxRefusals {
		*r = append((*r)[:0], (*r)[1:]...)
	}
	*r = append(*r, refusal{strings.Clone(etag), v, now + refusalMillis<<min(times, maxRefusalsFor), times})
	return v
}
