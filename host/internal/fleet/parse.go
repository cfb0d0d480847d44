package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"sallyport/policydata"
	"sallyport/policydata/pushapi"
	"sallyport/policydata/token"
)

// wire is a report as JSON. Pointers tell what is missing.
type wire struct {
	Instance  *string           `json:"instance"`
	Process   *string           `json:"process"`
	Worker    *string           `json:"worker"`
	Plugin    *string           `json:"plugin"`
	Push      *string           `json:"push"`
	Enforced  *string           `json:"enforced"`
	Mark      *string           `json:"mark"`
	Age       *int64            `json:"age"`
	Held      *int64            `json:"held"`
	Refused   *string           `json:"refused"`
	Reason    *string           `json:"reason"`
	Decisions map[string]uint64 `json:"decisions"`
}

// Parse reads a report strictly. What a proxy says in its own words is cut to the
// bounds of package pushapi.
func Parse(body []byte) (r pushapi.Report, err error) {
	if len(body) > pushapi.MaxReportBytes {
		return r, fmt.Errorf("a report has at most %d bytes", pushapi.MaxReportBytes)
	}
	if err := token.ValidateJSON(string(body)); err != nil {
		return r, err
	}
	var w wire
	dec := json.NewDecoder(strings.NewReader(string(body)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&w); err != nil {
		return r, errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	for name, missing := range map[string]bool{
		"instance": w.Instance == nil, "process": w.Process == nil, "worker": w.Worker == nil, "plugin": w.Plugin == nil,
		"push": w.Push == nil, "enforced": w.Enforced == nil, "mark": w.Mark == nil, "age": w.Age == nil,
		"held": w.Held == nil, "refused": w.Refused == nil, "reason": w.Reason == nil, "decisions": w.Decisions == nil,
	} {
		if missing {
			return r, fmt.Errorf("%s is missing", name)
		}
	}
	return w.report()
}

func (w *wire) report() (r pushapi.Report, err error) {
	r = pushapi.Report{
		Instance: pushapi.Clip(*w.Instance, pushapi.MaxInstanceBytes), Process: *w.Process, Worker: *w.Worker,
		Plugin: pushapi.Clip(*w.Plugin, pushapi.MaxPluginBytes), Push: *w.Push, Mark: *w.Mark, Age: *w.Age, Held: *w.Held,
		Reason: pushapi.Clip(*w.Reason, pushapi.MaxReasonBytes),
	}
	switch {
	case !isHex(r.Process, 2*pushapi.IDBytes):
		return r, fmt.Errorf("process: want %d hex digits", 2*pushapi.IDBytes)
	case !isHex(r.Worker, 2*pushapi.IDBytes):
		return r, fmt.Errorf("worker: want %d hex digits", 2*pushapi.IDBytes)
	case r.Push != pushapi.PushConfiguration && r.Push != pushapi.PushPoll:
		return r, fmt.Errorf("push: want %s or %s", pushapi.PushConfiguration, pushapi.PushPoll)
	case r.Held < 0: // age may be: two clocks make it
		return r, errors.New("held: want no negative number")
	}
	if r.Enforced, err = version("enforced", *w.Enforced); err != nil {
		return r, err
	}
	if r.Refused, err = version("refused", *w.Refused); err != nil {
		return r, err
	}
	if len(r.Mark) > maxMarkDigits || !isHex(r.Mark, len(r.Mark)) {
		return r, fmt.Errorf("mark: want at most %d hex digits", maxMarkDigits)
	}
	return r, w.decisions(&r)
}

// maxMarkDigits bounds a mark, which has 32 today.
const maxMarkDigits = 64

func (w *wire) decisions(r *pushapi.Report) error {
	for i := range r.Decisions {
		name := policydata.Reason(i).String()
		r.Decisions[i] = w.Decisions[name]
		delete(w.Decisions, name)
	}
	for name := range w.Decisions {
		return fmt.Errorf("decisions: unknown reason %q", pushapi.Clip(name, 64))
	}
	return nil
}

// version reads a version, "" for none.
func version(name, text string) (pushapi.Version, error) {
	v, ok := pushapi.ParseVersion(text)
	if !ok && text != "" || ok && v == (pushapi.Version{}) {
		return v, fmt.Errorf("%s: want <epoch>.<generation>, or nothing", name)
	}
	return v, nil
}

func isHex(text string, digits int) bool {
	return len(text) == digits && strings.Trim(text, "0123456789abcdef") == ""
}
