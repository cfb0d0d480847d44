package filter

import (
	"bytes"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"sallyport/policydata"
	"sallyport/policydata/pushapi"
	"sallyport/policydata/token"
)

// A token may be signed by a key that its issuer has only just begun to use. The
// host fetches the issuers' keys; it is asked for the one that is missing, by
//
//	POST /v1/keys  {"issuer":"<iss>","kid":"<kid>","version":"<epoch>.<generation>"}
//
// and answers 200 {"version":"<epoch>.<generation>"} when a snapshot with that
// key is on its way, or was before the question. The request waits until this
// snapshot is in force here, and is then decided anew, by it. A snapshot comes as
// a new plugin context of the same VM; the old one lives on, and ticks, as long as
// its requests do.

// Bounds on what waits, for each plugin and worker. A kid is anybody's text.
const (
	maxWaiting = 256 // requests
	maxAsked   = 64  // questions that are open
	maxRefused = 256 // keys that are remembered as not there
	waitMillis = 3000
	callMillis = 2500 // of a question; less than a request waits

	// How long no request waits for a key of which the host says that there is
	// none, and for one that just did not come.
	refusedMillis = 2000
	failedMillis  = 1000

	maxAnswerBytes = 1024
)

// keyName is how a token names a key.
type keyName struct{ iss, kid string }

// wait is a request's place in the waiting room.
type wait struct {
	key   keyName
	until int64 // in milliseconds of the monotonic clock
}

// waitingRoom has the requests that wait for a key, and the questions to the
// host. The zero waitingRoom is empty.
type waitingRoom struct {
	requests map[uint32]*httpContext // by context
	asked    map[keyName]*question
	refused  map[keyName]int64 // until when
}

// question is one to the host. It is forgotten when the answer is no, and, once
// it is not on its way any more, with the last request that waits for it.
type question struct {
	waiting  int // requests
	sent     bool
	answered bool            // the answer is yes
	version  pushapi.Version // the snapshot that has the key
}

// await makes the request wait for the key that its token lacks, if that is all
// that it lacks, there is somebody to ask, and there is room.
func (c *httpContext) await() (waits bool) {
	protect(func() { waits = c.plugin.admit(c) })
	return waits
}

// protect is guard for what decides nothing.
func protect(f func()) {
	guard(func() policydata.Decision {
		f()
		return policydata.Decision{}
	})
}

func (p *pluginContext) admit(c *httpContext) bool {
	e := c.enforcer
	if e.config.HostCluster == "" {
		return false
	}
	iss, kid, ok := e.engine.MissingKey()
	if !ok {
		return false
	}
	millis, ok := monotonic()
	key := keyName{iss, kid}
	if !ok || p.room.isRefused(key, millis) {
		return false
	}
	if !p.room.hasRoom(key) {
		e.metrics.waited(waitFull)
		return false
	}
	if len(p.room.requests) == 0 {
		// A tick belongs to the plugin; what comes next, to the request again,
		// above all the answer where this has failed.
		ticks := enter(p.id) && p.tick(waitingTickMillis)
		if !enter(c.id) || !ticks {
			return false
		}
	}
	p.room.enter(c, key, millis+waitMillis)
	e.metrics.waited(waitBegan)
	return true
}

func (r *waitingRoom) isRefused(key keyName, millis int64) bool {
	until, ok := r.refused[key]
	if ok && millis >= until {
		delete(r.refused, key)
		return false
	}
	return ok
}

func (r *waitingRoom) hasRoom(key keyName) bool {
	return len(r.requests) < maxWaiting && (r.asked[key] != nil || len(r.asked) < maxAsked)
}

func (r *waitingRoom) enter(c *httpContext, key keyName, until int64) {
	if r.requests == nil {
		r.requests, r.asked, r.refused = map[uint32]*httpContext{}, map[keyName]*question{}, map[keyName]int64{}
	}
	q := r.asked[key]
	if q == nil {
		// The texts are parts of a whole token, which would stay with them.
		key = keyName{strings.Clone(key.iss), strings.Clone(key.kid)}
		q = &question{}
		r.asked[key] = q
	}
	q.waiting++
	c.wait = &wait{key: key, until: until}
	r.requests[c.id] = c
}

// leave forgets a request, if it waits.
func (r *waitingRoom) leave(c *httpContext) {
	if c.wait == nil {
		return
	}
	key := c.wait.key
	c.wait = nil
	delete(r.requests, c.id)
	q := r.asked[key]
	if q == nil {
		return
	}
	if q.waiting--; q.waiting == 0 && (q.answered || !q.sent) {
		delete(r.asked, key)
	}
}

// refuse ends a question: nobody waits for the key for some time.
func (r *waitingRoom) refuse(key keyName, until int64) {
	delete(r.asked, key)
	if _, known := r.refused[key]; !known && len(r.refused) >= maxRefused {
		for other := range r.refused { // whichever comes first
			delete(r.refused, other)
			break
		}
	}
	r.refused[key] = until
}

// reviewAll decides what waits and can be decided now. What comes next is the
// plugin's again.
func (p *pluginContext) reviewAll(millis int64, ok bool) {
	if len(p.room.requests) == 0 {
		return
	}
	protect(func() { p.ask(millis) })
	newest := p.newest()
	for _, c := range p.room.requests {
		c.review(newest, millis, !ok || millis >= c.wait.until)
	}
	enter(p.id)
}

// newest is by what requests that wait are decided: what is in force under the
// plugin's name, if that is this plugin with a newer snapshot. What has other
// settings may be another plugin of the same name, and its decision would be that
// of another listener.
func (p *pluginContext) newest() *enforcer {
	last := p.vm.lastGood[p.name]
	if older(p.enforcer.snapshot, last.snapshot) && last.continues(p.enforcer) {
		return last
	}
	return p.enforcer
}

// continues reports whether e has the settings of another enforcer, and trusts
// the key that signed its snapshot.
func (e *enforcer) continues(before *enforcer) bool {
	a, b := &e.config, &before.config
	same := a.TokenHeader == b.TokenHeader && a.TokenCookie == b.TokenCookie &&
		a.RemoveToken == b.RemoveToken && a.IdentityHeaders == b.IdentityHeaders
	return same && slices.ContainsFunc(a.TrustedKeys, func(spki []byte) bool { return bytes.Equal(spki, before.signer) })
}

// ask sends the questions that were not sent yet. That is not done at once: the
// SDK loses the answer to a question of a request that has gone, for which
// others may wait, too.
func (p *pluginContext) ask(millis int64) {
	config := &p.enforcer.config
	for key, q := range p.room.asked {
		if q.sent {
			continue
		}
		q.sent = true
		p.enforcer.metrics.waited(waitAsked)
		headers := append(p.vm.self.headers("POST", pushapi.KeysPath, config), [2]string{"content-type", "application/json"})
		err := send(config.HostCluster, headers, questionBody(key, p.newest().snapshot), callMillis, func(r *response) {
			p.answer(key, q, r.status, r.body(maxAnswerBytes))
		})
		if err != nil {
			p.room.refuse(key, millis+failedMillis)
		}
	}
}

func questionBody(key keyName, s *policydata.Snapshot) []byte {
	out := policydata.AppendEscaped([]byte(`{"issuer":"`), key.iss)
	out = policydata.AppendEscaped(append(out, `","kid":"`...), key.kid)
	return append(out, `","version":"`+versionOf(s).String()+`"}`...)
}

// answer takes the host's answer. The next tick draws the conclusions.
func (p *pluginContext) answer(key keyName, q *question, status string, body []byte) {
	if p.room.asked[key] != q {
		return
	}
	var ok bool
	if status == "200" {
		q.version, ok = parseVersion(body)
	}
	if ok {
		if q.answered = true; q.waiting == 0 {
			delete(p.room.asked, key)
		}
		return
	}
	pause := int64(failedMillis)
	if status == "404" {
		pause = refusedMillis
	}
	millis, _ := monotonic() // 0 refuses for no time
	p.room.refuse(key, millis+pause)
}

// parseVersion reads {"version":"<epoch>.<generation>"}.
func parseVersion(body []byte) (v pushapi.Version, ok bool) {
	text := string(body)
	if token.ValidateJSON(text) != nil {
		return pushapi.Version{}, false
	}
	return pushapi.ParseVersion(gjson.Get(text, "version").Str)
}

// review decides a request that waits anew where there is a reason to: another
// configuration is in force, the key won't come, or the time is over. It is
// settled unless it still lacks the key, and there is hope.
func (c *httpContext) review(newest *enforcer, millis int64, late bool) {
	room, key := &c.plugin.room, c.wait.key
	q := room.asked[key]
	hopeless := q == nil || late || q.answered && q.version.Compare(versionOf(newest.snapshot)) <= 0
	if newest == c.enforcer && !hopeless {
		return
	}
	if !enter(c.id) {
		room.leave(c) // the proxy has no such request any more
		newest.metrics.waited(waitGone)
		return
	}
	c.enforcer = newest
	stays := false
	d := guard(func() policydata.Decision {
		d := c.decide()
		if d.Reason == policydata.ReasonBadToken && !hopeless {
			_, _, stays = newest.engine.MissingKey()
		}
		return d
	})
	if stays {
		return
	}
	event := waitDenied
	switch {
	case d.Allowed():
		event = waitAllowed
	case late:
		event = waitTimedOut
	}
	if q != nil && hopeless && !d.Allowed() {
		// What was promised did not come, or nothing did: no question is as old
		// as a request that has waited for its answer in vain.
		room.refuse(key, millis+failedMillis)
	}
	newest.metrics.waited(event)
	c.settle(d)
}
