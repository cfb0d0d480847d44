// Package check answers what would be decided, without a proxy: by the engine
// as Go code, or by the filter itself in wazero.
package check

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"sallyport/host/internal/explain"
	"sallyport/host/internal/signing"
	"sallyport/policydata"
	"sallyport/policydata/authorize"
)

// Query is a request to be decided. With neither Claims nor Token it comes
// without a token.
type Query struct {
	Claims  json.RawMessage `json:"claims"` // what a good token would say; its checks are skipped
	Token   string          `json:"token"`  // a token, which is verified
	Method  string          `json:"method"`
	Path    string          `json:"path"` // the raw request target
	Host    string          `json:"host"`
	Headers Headers         `json:"headers"`
	Explain bool            `json:"explain"` // also say how it was decided
}

// Headers are header fields by name: a text, or a list for a repeated field.
type Headers map[string]Values

// Values are the values of a header field.
type Values []string

// UnmarshalJSON takes a text or a list of texts.
func (v *Values) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*v = Values{one}
		return nil
	}
	var many []string
	if err := json.Unmarshal(b, &many); err != nil {
		return errors.New("want a text or a list of texts")
	}
	*v = many
	return nil
}

// ParseQuery reads a query, which must be all that b holds.
func ParseQuery(b []byte) (*Query, error) {
	q := &Query{}
	return q, parse(b, q)
}

// parse reads one JSON object without unknown members, which must be all that b
// holds.
func parse(b []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return explainJSON(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("want one JSON object and nothing behind it")
	}
	return nil
}

// explainJSON says what an error of the decoder means for who wrote the query.
func explainJSON(err error) error {
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the JSON ends too early")
	case errors.As(err, &wrong) && wrong.Field == "":
		return fmt.Errorf("want a JSON object, not a JSON %s", wrong.Value)
	case errors.As(err, &wrong):
		return fmt.Errorf("%s: a JSON %s does not fit here", wrong.Field, wrong.Value)
	}
	return errors.New(strings.TrimPrefix(err.Error(), "json: "))
}

// hasClaims reports whether the query has claims: null is none, and so is {}
// beside a token, as in the query that shows all fields.
func (q *Query) hasClaims() bool {
	switch string(q.Claims) {
	case "", "null":
		return false
	case "{}":
		return q.Token == ""
	}
	return true
}

// Check says what makes a query unanswerable.
func (q *Query) Check() error {
	switch {
	case q.hasClaims() && q.Token != "":
		return errors.New("want claims or token, not both")
	case q.hasClaims() && q.Claims[0] != '{':
		return errors.New("claims: want a JSON object")
	case q.Method == "":
		return errors.New("method is missing")
	case q.Path == "":
		return errors.New("path is missing")
	}
	for name, values := range q.Headers {
		if err := q.checkHeader(name, values); err != nil {
			return fmt.Errorf("header %q: %w", name, err)
		}
	}
	return nil
}

// checkHeader refuses what no proxy would let reach a filter, and pseudo
// headers, which would stand in place of method and path.
func (q *Query) checkHeader(name string, values Values) error {
	if !policydata.IsToken(name) {
		return errors.New("this is no name of a header field")
	}
	for _, v := range values {
		if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7F }) {
			return errors.New("a value has control characters")
		}
	}
	if q.hasClaims() && strings.EqualFold(name, "authorization") {
		return errors.New("want claims or a token, not both")
	}
	return nil
}

// request returns the query as a proxy would see it. A token, the query's own
// or one in its place, goes where tokens are looked for.
func (q *Query) request(token string) *authorize.Request {
	r := &authorize.Request{Method: q.Method, Target: q.Path, Authority: q.Host}
	for name, values := range q.Headers {
		for _, v := range values {
			r.Headers = append(r.Headers, [2]string{strings.ToLower(name), v})
		}
	}
	if token != "" {
		r.Headers = append(r.Headers, [2]string{"authorization", "Bearer " + token})
	}
	return r
}

// ErrNoExplanation is returned for a query that wants an explanation of an engine
// that has none.
var ErrNoExplanation = errors.New("the filter only decides: an explanation comes from the engine as Go code, which decides alike")

// Engine decides queries. A decision is JSON as in policydata.Decision, with one
// member more, as in explain.Explained, where the query wants an explanation.
type Engine interface {
	Decide(ctx context.Context, q *Query) (json.RawMessage, error)
	Close(ctx context.Context) error
}

// goEngine is the engine as Go code.
type goEngine struct {
	snapshot *policydata.Snapshot
	engine   *authorize.Engine
	now      func() time.Time
}

// NewGo returns the engine as Go code over a snapshot.
func NewGo(s *policydata.Snapshot, now func() time.Time) (Engine, error) {
	e, err := authorize.New(s, authorize.TokenSource{})
	if err != nil {
		return nil, err
	}
	return &goEngine{s, e, now}, nil
}

// Decide implements Engine.
func (e *goEngine) Decide(_ context.Context, q *Query) (json.RawMessage, error) {
	if err := q.Check(); err != nil {
		return nil, err
	}
	r := q.request(q.Token)
	if q.Explain {
		return explain.Decide(e.snapshot, e.engine, q.explained(r, e.now())).JSON()
	}
	var d policydata.Decision
	if q.hasClaims() {
		d = e.engine.AuthorizeClaims(r, string(q.Claims), e.now().Unix())
	} else {
		d = e.engine.Authorize(r, e.now().Unix())
	}
	return d.AppendJSON(nil), nil
}

// explained returns the query as it is to be explained.
func (q *Query) explained(r *authorize.Request, now time.Time) explain.Query {
	x := explain.Query{Request: r, Token: q.Token, Now: now.Unix()}
	if q.hasClaims() {
		x.Claims = string(q.Claims)
	}
	for _, h := range r.Headers {
		if scheme, token, ok := strings.Cut(h[1], " "); ok && h[0] == "authorization" && strings.EqualFold(scheme, "bearer") {
			x.Token = strings.TrimSpace(token)
		}
	}
	return x
}

// Close implements Engine.
func (e *goEngine) Close(context.Context) error { return nil }

// Load builds, signs and loads a snapshot that stays in this process.
func Load(source policydata.Source) (*policydata.Snapshot, error) {
	signed, key, err := build(source)
	if err != nil {
		return nil, err
	}
	verify, err := signing.Verifier(key.SPKI())
	if err != nil {
		return nil, err
	}
	return policydata.Load(signed, verify)
}

// build returns a snapshot that is signed by a key of its own.
func build(source policydata.Source) ([]byte, *signing.Key, error) {
	body, err := policydata.Build(source)
	if err != nil {
		return nil, nil, err
	}
	key, err := signing.NewKey()
	if err != nil {
		return nil, nil, err
	}
	signed, err := key.Sign(body)
	if err != nil {
		return nil, nil, fmt.Errorf("sign snapshot: %w", err)
	}
	return signed, key, nil
}
