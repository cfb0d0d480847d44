package filter

import (
	"strings"

	"sallyport/plugin/internal/inflate"
	"sallyport/policydata"
	"sallyport/policydata/pushapi"
)

// receive takes the snapshot or the delta in an answer. It reports whether
// something else is in force now.
func (f *feed) receive(call *pollCall, r *response, now int64) (news bool, err error) {
	etag := r.header("etag")
	if f.poller.refused.has(etag, now) {
		return false, errKnownRefused
	}
	collect()
	var raw []byte
	if r.status == "226" {
		raw, err = f.receiveDelta(call, r)
	} else {
		raw, err = content(r, pushapi.SnapshotType)
	}
	if err != nil {
		return false, err
	}
	current := &f.driver().enforcer.loaded
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
	f.poller.refused = nil
	f.driver().enforcer.metrics.pushed(pushPolled)
	return true, nil
}

// refuse notes that what came can't be taken, and why.
func (f *feed) refuse(etag string, err error, now int64) {
	f.driver().enforcer.metrics.refused()
	v := f.poller.refused.add(etag, now)
	f.vm.reporter(f.driver().name).refuses(v, err.Error())
}

// receiveDelta returns the snapshot to which a delta leads from the one in force.
// Whatever is wrong with a delta, a whole snapshot is asked for next.
func (f *feed) receiveDelta(call *pollCall, r *response) ([]byte, error) {
	return nil, errDelta
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
