package policytest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"sallyport/host/internal/check"
	"sallyport/host/internal/manifest"
	"sallyport/policydata"
)

// MaxCases bounds the decisions of all suites together.
const MaxCases = 200_000

// testCase is one decision that is wanted.
type testCase struct {
	result Result
	query  check.Query
	at     time.Time
}

// cases returns all decisions that suites want, in their order. The error is of
// type manifest.Errors where something in a suite does not fit the policies.
func cases(source *policydata.Source, suites []manifest.Suite, now time.Time) ([]testCase, error) {
	var out []testCase
	var errs manifest.Errors
	for i := range suites {
		b := &caseBuilder{source: source, suite: &suites[i], now: now}
		b.build()
		out, errs = append(out, b.cases...), append(errs, b.errs...)
		if len(out) > MaxCases {
			return nil, fmt.Errorf("the suites want more than %d decisions", MaxCases)
		}
	}
	if len(errs) > 0 {
		return nil, errs
	}
	return out, nil
}

type caseBuilder struct {
	source *policydata.Source
	suite  *manifest.Suite
	now    time.Time
	cases  []testCase
	errs   manifest.Errors
}

func (b *caseBuilder) errorf(path string, err error) {
	e := b.suite.Place(path)
	e.Text = err.Error()
	b.errs = append(b.errs, e)
}

func (b *caseBuilder) build() {
	claims := map[string]json.RawMessage{}
	var principals, requests []string
	for i := range b.suite.Test.Principals {
		p := &b.suite.Test.Principals[i]
		c, err := claimsOf(b.source, p)
		if err != nil {
			b.errorf(fmt.Sprintf("spec.principals[%d]", i), err)
		}
		claims[p.Name] = c
		principals = append(principals, p.Name)
	}
	queries := map[string]check.Query{}
	for i := range b.suite.Test.Requests {
		r := &b.suite.Test.Requests[i]
		q, err := queryOf(r)
		if err != nil {
			b.errorf(fmt.Sprintf("spec.requests[%d]", i), err)
		}
		queries[r.Name] = q
		requests = append(requests, r.Name)
	}
	if len(b.errs) > 0 {
		return
	}
	for i := range b.suite.Test.Tests {
		t := &b.suite.Test.Tests[i]
		for _, p := range manifest.OrAll(t.Principals, principals) {
			for _, r := range manifest.OrAll(t.Requests, requests) {
				q := queries[r]
				q.Claims = claims[p]
				b.add(i, t, p, r, q)
			}
			if len(b.cases) > MaxCases {
				return
			}
		}
	}
}

func (b *caseBuilder) add(i int, t *manifest.TestMatrix, principal, request string, q check.Query) {
	c := testCase{query: q, at: b.now, result: Result{
		Suite: b.suite.Name, Test: t.Name, Principal: principal, Request: request, File: b.suite.File,
		Line: b.suite.Place(fmt.Sprintf("spec.tests[%d]", i)).Line, Want: Want{Decision: "deny"},
	}}
	for k := range t.Expect {
		x := &t.Expect[k]
		if named(x.Principals, principal) && named(x.Requests, request) {
			c.result.Line = b.suite.Place(fmt.Sprintf("spec.tests[%d].expect[%d]", i, k)).Line
			c.result.Want = Want{Listed: true, Decision: x.Decision, Reason: x.Reason, Gate: x.Gate, Policy: x.Policy, Rule: x.Rule}
		}
	}
	switch {
	case t.Now != nil:
		c.at = *t.Now
	case b.suite.Test.Now != nil:
		c.at = *b.suite.Test.Now
	}
	b.cases = append(b.cases, c)
}

func named(names []string, name string) bool { return len(names) == 0 || slices.Contains(names, name) }

func queryOf(r *manifest.TestRequest) (check.Query, error) {
	q := check.Query{Method: r.Method, Path: r.Path, Host: r.Host}
	if q.Method == "" {
		q.Method = "GET"
	}
	if len(r.Headers) > 0 {
		if err := json.NewDecoder(bytes.NewReader(r.Headers)).Decode(&q.Headers); err != nil {
			return q, fmt.Errorf("headers: want texts, or lists of texts")
		}
	}
	return q, q.Check()
}
