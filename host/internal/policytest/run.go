package policytest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"sallyport/host/internal/check"
	"sallyport/host/internal/explain"
	"sallyport/host/internal/manifest"
	"sallyport/policydata"
)

// Want is what a decision must be; what is empty may be anything.
type Want struct {
	Listed   bool   `json:"listed"` // false: it must be denied because nothing is expected
	Decision string `json:"decision"`
	Reason   string `json:"reason,omitempty"`
	Gate     string `json:"gate,omitempty"`
	Policy   string `json:"policy,omitempty"`
	Rule     string `json:"rule,omitempty"`
}

// Result is what became of one decision.
type Result struct {
	Suite     string          `json:"suite"`
	Test      string          `json:"test,omitempty"`
	Principal string          `json:"principal"`
	Request   string          `json:"request"`
	File      string          `json:"file"`
	Line      int             `json:"line"` // of the expectation, or of the test that has none for it
	OK        bool            `json:"ok"`
	Want      Want            `json:"want"`
	Got       json.RawMessage `json:"got"`           // the decision
	Why       []string        `json:"why,omitempty"` // where it is not OK
}

// RuleName names a rule.
type RuleName struct {
	Policy string `json:"policy"`
	Rule   string `json:"rule"`
	Index  int    `json:"index"`
}

// Coverage says which rules matched in some decision, whether they decided it or
// another went before.
type Coverage struct {
	Rules     int        `json:"rules"`
	Reached   int        `json:"reached"`
	Unreached []RuleName `json:"unreached"`
}

// Percent returns the reached part of the rules; 100 if there are none.
func (c *Coverage) Percent() float64 {
	if c.Rules == 0 {
		return 100
	}
	return 100 * float64(c.Reached) / float64(c.Rules)
}

// Report is the outcome of suites. Its JSON form is part of the interface:
// members are added, never changed.
type Report struct {
	Passed   int      `json:"passed"`
	Failed   int      `json:"failed"`
	Results  []Result `json:"results"`
	Coverage Coverage `json:"coverage"`
}

// Failures returns the report with no results but failures, and not more than
// most of them: an answer to who only wants to know what is wrong.
func (r *Report) Failures(most int) *Report {
	out := *r
	out.Results = []Result{}
	for i := range r.Results {
		if !r.Results[i].OK && len(out.Results) < most {
			out.Results = append(out.Results, r.Results[i])
		}
	}
	return &out
}

// Options says how suites are run.
type Options struct {
	Now time.Time // of requests that say none
	// Engine makes another engine than the Go one to decide by, over a source
	// and with a clock; nil: none.
	Engine func(ctx context.Context, source policydata.Source, now func() time.Time) (check.Engine, error)
}

// Run runs suites against the policies of a source. The error is of type
// manifest.Errors where a suite does not fit them.
func Run(ctx context.Context, source policydata.Source, suites []manifest.Suite, o Options) (*Report, error) {
	if len(source.Issuers) == 0 {
		source.Issuers = []policydata.Issuer{standIn()}
	}
	all, err := cases(&source, suites, o.Now)
	if err != nil {
		return nil, err
	}
	r := &runner{report: &Report{Results: make([]Result, 0, len(all))}, reached: map[ruleKey]bool{}}
	clock := func() time.Time { return r.at }
	snapshot, err := check.Load(source)
	if err != nil {
		return nil, err
	}
	if r.explainer, err = check.NewGo(snapshot, clock); err != nil {
		return nil, err
	}
	if o.Engine != nil {
		if r.decider, err = o.Engine(ctx, source, clock); err != nil {
			return nil, err
		}
		defer r.decider.Close(context.WithoutCancel(ctx))
	}
	for i := range all {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := r.run(ctx, &all[i]); err != nil {
			return nil, fmt.Errorf("%s:%d: %s, %s: %w", all[i].result.File, all[i].result.Line, all[i].result.Principal, all[i].result.Request, err)
		}
	}
	r.report.Coverage = r.coverage(&source)
	return r.report, nil
}

type ruleKey struct {
	policy string
	index  int
}

type runner struct {
	explainer, decider check.Engine // decider: nil where the explainer's decision counts
	at                 time.Time
	reached            map[ruleKey]bool
	report             *Report
}

// explained is an explained decision as it is read back.
type explained struct {
	Reason      string              `json:"reason"`
	Status      int                 `json:"status"`
	Decision    string              `json:"decision"`
	Gate        string              `json:"gate"`
	Policy      string              `json:"policy"`
	Rule        string              `json:"rule"`
	Explanation explain.Explanation `json:"explanation"`
}

func (r *runner) run(ctx context.Context, c *testCase) error {
	r.at = c.at
	q := c.query
	q.Explain = true
	raw, err := r.explainer.Decide(ctx, &q)
	if err != nil {
		return err
	}
	var got explained
	if err := json.Unmarshal(raw, &got); err != nil {
		return err
	}
	for _, g := range got.Explanation.Gates {
		for _, v := range g.Rules {
			if v.Matches() || v.Outcome == policydata.OutcomeError {
				r.reached[ruleKey{v.Policy, v.Index}] = true
			}
		}
	}
	if c.result.Got, err = r.decision(ctx, c, &got); err != nil {
		return err
	}
	c.result.Why = differences(&c.result.Want, &got)
	c.result.OK = len(c.result.Why) == 0
	if c.result.OK {
		r.report.Passed++
	} else {
		c.result.Why = append(c.result.Why, got.Explanation.Summary...)
		r.report.Failed++
	}
	r.report.Results = append(r.report.Results, c.result)
	return nil
}

// decision returns the decision alone; where another engine decides, what it
// says replaces what got has of it.
func (r *runner) decision(ctx context.Context, c *testCase, got *explained) (json.RawMessage, error) {
	if r.decider == nil {
		return r.explainer.Decide(ctx, &c.query)
	}
	raw, err := r.decider.Decide(ctx, &c.query)
	if err != nil {
		return nil, err
	}
	*got = explained{Explanation: got.Explanation}
	return raw, json.Unmarshal(raw, got)
}

// differences says in what a decision is not as it is wanted.
func differences(want *Want, got *explained) []string {
	var out []string
	differ := func(what, want, got string) {
		if want != "" && want != got {
			if got == "" {
				got = "none"
			}
			out = append(out, fmt.Sprintf("%s is %s, not %s", what, got, want))
		}
	}
	if want.Decision != got.Decision {
		text := fmt.Sprintf("decision is %s (%s), not %s", got.Decision, got.Reason, want.Decision)
		if !want.Listed {
			text += ", which is wanted since nothing is expected"
		}
		return append(out, text)
	}
	differ("reason", want.Reason, got.Reason)
	differ("gate", want.Gate, got.Gate)
	differ("policy", want.Policy, got.Policy)
	differ("rule", want.Rule, got.Rule)
	if want.Reason == "" && beforeRules(got) {
		out = append(out, fmt.Sprintf("it was refused before any rule was asked (%s): expect reason: %s if that is meant", got.Reason, got.Reason))
	}
	return out
}

// beforeRules reports whether a denial says nothing about the policies.
func beforeRules(got *explained) bool {
	return got.Decision == "deny" && got.Status != http.StatusForbidden && got.Reason != policydata.ReasonNoToken.String()
}

// coverage says which rules of the source were reached.
func (r *runner) coverage(source *policydata.Source) Coverage {
	c := Coverage{Unreached: []RuleName{}}
	for _, p := range source.Policies {
		for i, rule := range p.Rules {
			if slices.Equal(rule.Hosts, []string{policydata.HostAPI}) {
				continue // counts at the host's API, which no test asks
			}
			c.Rules++
			if r.reached[ruleKey{p.Name, i}] {
				c.Reached++
				continue
			}
			name := rule.Name
			if name == "" {
				name = fmt.Sprintf("#%d", i)
			}
			c.Unreached = append(c.Unreached, RuleName{p.Name, name, i})
		}
	}
	slices.SortStableFunc(c.Unreached, func(x, y RuleName) int { return cmp.Compare(x.Policy, y.Policy) })
	return c
}
