package explain

import (
	"bytes"
	"encoding/json"

	"sallyport/policydata"
	"sallyport/policydata/authorize"
)

// MaxRules is how many rules of a gate an explanation shows; the rest, which is
// farther from a match, is counted.
const MaxRules = 200

// Query is a request to be explained.
type Query struct {
	Request *authorize.Request
	Claims  string // of a token whose checks are skipped; "": the request as it is
	Token   string // the token in Request, for what can be told of it; "": none
	Now     int64
}

// Explanation is how a decision came about. Its JSON form is documented in the
// README and stable: members are added, never changed.
type Explanation struct {
	Request Request `json:"request"`
	Token   Token   `json:"token"`
	policydata.Trace
	Changes []policydata.Change `json:"changes"` // each alone would make the request allowed
	Summary []string            `json:"summary"` // what it means, in sentences
}

// Request is the request as the rules were asked about it.
type Request struct {
	Method    string `json:"method"`
	Path      string `json:"path"` // canonical, or as it came if it is not
	Host      string `json:"host"`
	Preflight bool   `json:"preflight"`
}

// Explained is a decision with its explanation.
type Explained struct {
	Decision    json.RawMessage // as policydata.Decision writes it
	Explanation Explanation
}

// JSON writes the decision with one member more, "explanation".
func (e *Explained) JSON() (json.RawMessage, error) {
	var b bytes.Buffer
	b.Write(e.Decision[:len(e.Decision)-1])
	b.WriteString(`,"explanation":`)
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // && in conditions is for people to read
	if err := encoder.Encode(e.Explanation); err != nil {
		return nil, err
	}
	return append(bytes.TrimSuffix(b.Bytes(), []byte("\n")), '}'), nil
}

// Decide decides a query by an engine over a snapshot, and explains.
func Decide(s *policydata.Snapshot, e *authorize.Engine, q Query) *Explained {
	x := Explanation{Changes: []policydata.Change{}}
	e.Watch(&x.Trace)
	var d policydata.Decision
	if q.Claims != "" {
		d = e.AuthorizeClaims(q.Request, q.Claims, q.Now)
	} else {
		d = e.Authorize(q.Request, q.Now)
	}
	e.Watch(nil)
	x.Request = requestOf(q.Request, e)
	x.Token = tokenOf(s, e, &q, &d)
	if len(x.Gates) == 0 { // decided before any: there is no principal, either
		x.Groups, x.Roles, x.Gates = orEmpty(x.Groups), orEmpty(x.Roles), []policydata.GateTrace{}
	} else if !d.Allowed() {
		x.Changes = e.Changes(&x.Trace)
	}
	decision := d.AppendJSON(nil)
	x.Summary = summary(&x, &d)
	for i := range x.Gates {
		g := &x.Gates[i]
		if more := len(g.Rules) - MaxRules; more > 0 {
			g.Rules, g.Omitted = g.Rules[:MaxRules], more
		}
	}
	return &Explained{decision, x}
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func requestOf(r *authorize.Request, e *authorize.Engine) Request {
	seen := e.Request()
	if seen.Method == "" { // refused before the rules
		return Request{Method: r.Method, Path: r.Target, Host: r.Authority}
	}
	return Request{Method: seen.Method, Path: seen.Path, Host: seen.Host, Preflight: seen.Preflight}
}
