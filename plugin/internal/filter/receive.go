package filter

import (
	"strings"

	"sallyport/plugin/internal/inflate"
	"sallyport/policydata"
	"sallyport/policydata/delta"
	"sallyport/policydata/pushapi"
)

// receive takes the snapshot or the delta in an answer. It reports whether
// something newer is in force now. The same version made anew is taken, but is no
// news: hosts that disagree about it would give one answer after the other.
func (f *feed) receive(call *pollCall, r *response, now int64) (news bool, err error) {
	etag := r.header("etag")
	if f.poller.refused.has(etag, now) {
		return false, errKnownRefused
	}
	collect()
	if r.status == "226" {
		return f.takeDelta(call, r)
	}
	raw, err := content(r, pushapi.SnapshotType)
	if err != nil {
		return false, err
	}
	current := f.driver().enforcer.loaded
	s, err := load(raw, f.driver().enforcer.keys)
	if err == nil && s.version() == current.version() && s.mark == current.mark {
		return false, nil
	}
	if err == nil {
		err = f.take(s, "from the host")
	}
	if err != nil {
		f.refuse(etag, err, now)
		return false, errRefused
	}
	f.received()
	return older(current.snapshot, s.snapshot), nil
}

// takeDelta takes the snapshot to which a delta leads. What does not, is not
// refused: the whole snapshot may still be good.
func (f *feed) takeDelta(call *pollCall, r *response) (news bool, err error) {
	current := f.driver().enforcer.snapshot
	raw, err := f.applied(call, r)
	if err == nil {
		var s loaded
		if s, err = load(raw, f.driver().enforcer.keys); err == nil {
			err = f.take(s, "by a delta from the host")
		}
	}
	if err != nil {
		f.poller.whole = true
		f.driver().enforcer.metrics.pushed(pushDeltaErrors)
		return false, errDelta
	}
	f.driver().enforcer.metrics.pushed(pushDeltas)
	f.received()
	return older(current, f.driver().enforcer.snapshot), nil
}

// received forgets what was refused before.
func (f *feed) received() {
	f.poller.refused = nil
	f.driver().enforcer.metrics.pushed(pushPolled)
}

// refuse notes that what came can't be taken, and why.
func (f *feed) refuse(etag string, err error, now int64) {
	f.driver().enforcer.metrics.refused()
	v := f.poller.refused.add(etag, now)
	f.vm.reporter(f.driver().name).refuses(v, err.Error())
}

// applied returns what a delta makes of the snapshot in force.
func (f *feed) applied(call *pollCall, r *response) ([]byte, error) {
	current := &f.driver().enforcer.loaded
	base := current.version().ETag(current.mark)
	if !call.manipulates || r.header("im") != pushapi.DeltaManipulation || r.header("delta-base") != base {
		return nil, errDelta
	}
	b, err := content(r, pushapi.DeltaType)
	if err != nil {
		return nil, err
	}
	v := verifier{keys: f.driver().enforcer.keys}
	return delta.Apply(current.raw, b, v.verify)
}

// content returns the body of an answer with a media type, without its content
// coding.
func content(r *response, mediaType string) ([]byte, error) {
	kind, _, _ := strings.Cut(r.header("content-type"), ";")
	if !strings.EqualFold(strings.TrimSpace(kind), mediaType) || r.size > policydata.MaxSnapshotBytes {
		return nil, errAnswer
	}
	switch r.header("content-encoding") {
	case "", "identity":
		b := r.body(r.size)
		if len(b) == 0 {
			return nil, errAnswer
		}
		return b, nil
	case "gzip":
		b, err := inflate.Gzip(r.body(r.size), policydata.MaxSnapshotBytes)
		if err != nil {
			return nil, errAnswer
		}
		return b, nil
	}
	return nil, errAnswer
}
