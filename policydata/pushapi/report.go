package pushapi

import (
	"strconv"
	"strings"

	"sallyport/policydata"
)

// Bounds on the texts of a report, in bytes.
const (
	MaxInstanceBytes = 256
	MaxPluginBytes   = 256
	MaxReasonBytes   = 512
	IDBytes          = 16 // of Process and Worker; written as twice as many hex digits
	MaxReportBytes   = 8 << 10
)

// Clip cuts what a proxy says to n bytes of valid UTF-8.
func Clip(text string, n int) string {
	if len(text) > n {
		text = text[:n]
	}
	return strings.ToValidUTF8(text, "")
}

// How a worker gets snapshots.
const (
	PushConfiguration = "configuration" // with the plugin's configuration: by ECDS, or static
	PushPoll          = "poll"
)

// Report is what a worker says of itself.
type Report struct {
	Instance string // node.id of the proxy; "" if it has none. It need not be unique
	Process  string // of the proxy: the same for its workers, another after a restart
	Worker   string // another for each VM
	Plugin   string // name of the plugin
	Push     string // PushConfiguration or PushPoll

	Enforced Version // zero: no snapshot
	Mark     string  // of the snapshot, as in its ETag; "": none
	Age      int64   // seconds since that was committed, by the proxy's clock
	Held     int64   // seconds since the worker began to enforce it

	Refused Version // the last version that it could not take; zero: none since Enforced
	Reason  string  // why

	Decisions [policydata.NumReasons]uint64 // by reason, since the worker began
}

// AppendJSON appends the report as the host reads it: members as the fields, in
// lower case, versions as text ("" for none), decisions as an object by reason
// without zeroes.
func (r *Report) AppendJSON(out []byte) []byte {
	out = append(out, '{')
	for _, member := range [...][2]string{
		{"instance", r.Instance},
		{"process", r.Process},
		{"worker", r.Worker},
		{"plugin", r.Plugin},
		{"push", r.Push},
		{"enforced", versionOrNone(r.Enforced)},
		{"mark", r.Mark},
		{"refused", versionOrNone(r.Refused)},
		{"reason", r.Reason},
	} {
		out = append(append(append(out, '"'), member[0]...), `":"`...)
		out = append(policydata.AppendEscaped(out, member[1]), `",`...)
	}
	out = strconv.AppendInt(append(out, `"age":`...), r.Age, 10)
	out = strconv.AppendInt(append(out, `,"held":`...), r.Held, 10)
	out = append(out, `,"decisions":{`...)
	first := true
	for reason, n := range r.Decisions {
		if n == 0 {
			continue
		}
		if !first {
			out = append(out, ',')
		}
		first = false
		out = append(append(append(out, '"'), policydata.Reason(reason).String()...), `":`...)
		out = strconv.AppendUint(out, n, 10)
	}
	return append(out, "}}"...)
}

func versionOrNone(v Version) string {
	if v == (Version{}) {
		return ""
	}
	return v.String()
}
