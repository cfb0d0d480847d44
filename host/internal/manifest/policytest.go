package manifest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"sallyport/host/internal/model"
	"sallyport/policydata"
)

// kindPolicyTest is the kind of suites of tests. They lie beside policies and are
// no entities: what applies documents passes over them.
const kindPolicyTest model.Kind = "PolicyTest"

// PolicyTest is what a suite of tests says.
type PolicyTest struct {
	Now        *time.Time      `json:"now"` // when the requests are made; nil: when the tests run
	Principals []TestPrincipal `json:"principals"`
	Requests   []TestRequest   `json:"requests"`
	Tests      []TestMatrix    `json:"tests"`
}

// TestPrincipal is who asks: by claims, or in short; with neither, nobody.
type TestPrincipal struct {
	Name    string          `json:"name"`
	Claims  json.RawMessage `json:"claims"`
	User    string          `json:"user"`
	Groups  []string        `json:"groups"`
	Roles   []string        `json:"roles"`
	Service string          `json:"service"`
	Issuer  string          `json:"issuer"` // name; "": the only one
}

// TestRequest is what is asked for.
type TestRequest struct {
	Name    string          `json:"name"`
	Method  string          `json:"method"` // "": GET
	Path    string          `json:"path"`
	Host    string          `json:"host"`
	Headers json.RawMessage `json:"headers"`
}

// TestMatrix has each of some principals make each of some requests. What no
// Expectation is for must be denied.
type TestMatrix struct {
	Name       string        `json:"name"`
	Now        *time.Time    `json:"now"`
	Principals []string      `json:"principals"` // empty: all of the suite
	Requests   []string      `json:"requests"`
	Expect     []Expectation `json:"expect"`
}

// Expectation is what some of the decisions must be. What is empty may be
// anything.
type Expectation struct {
	Principals []string `json:"principals"` // empty: all of the test
	Requests   []string `json:"requests"`
	Decision   string   `json:"decision"`
	Reason     string   `json:"reason"`
	Gate       string   `json:"gate"`
	Policy     string   `json:"policy"`
	Rule       string   `json:"rule"`
}

// Suite is a suite of tests as it was written, and where.
type Suite struct {
	Name string
	File string
	Test PolicyTest

	root *yaml.Node
}

// Place returns an Error at a field such as "spec.tests[0].expect[1]", without
// text.
func (s *Suite) Place(field string) Error { return Document{File: s.File, root: s.root}.place(field) }

var policyTest = object(
	field{"now", false, "when the requests are made; default: when the tests run", instant},
	field{"principals", true, "who asks", listOf(object(
		field{"name", true, "by which tests name it", text},
		field{"claims", false, "of its token; instead of user, groups, roles and service", anything},
		field{"user", false, "user name, with the issuer's prefix", text},
		field{"groups", false, "groups that its token names, with the issuer's prefix", texts},
		field{"roles", false, "values of its token's role claim", texts},
		field{"service", false, "ServiceAccount that asks: for the user, or for itself", text},
		field{"issuer", false, "name of the Issuer; default: the only one", text},
	))},
	field{"requests", true, "what is asked for", listOf(object(
		field{"name", true, "by which tests name it", text},
		field{"method", false, "default GET", text},
		field{"path", true, "raw path, with the query if there is one", text},
		field{"host", false, "host", text},
		field{"headers", false, "header fields by name: a text, or a list of texts", anything},
	))},
	field{"tests", true, "what must be decided; what is not listed must be denied", listOf(object(
		field{"name", false, "for reports", text},
		field{"now", false, "when these requests are made", instant},
		field{"principals", false, "names of principals; default all", texts},
		field{"requests", false, "names of requests; default all", texts},
		field{"expect", true, "decisions that are not just denials", listOf(object(
			field{"principals", false, "names of principals; default all of the test", texts},
			field{"requests", false, "names of requests; default all of the test", texts},
			field{"decision", true, "what must be decided", oneOf("allow", "deny")},
			field{"reason", false, "why", oneOf(reasons()...)},
			field{"gate", false, "which gate spoke last", oneOf("service", "user")},
			field{"policy", false, "by which policy", text},
			field{"rule", false, "by which rule: its name, or # and its index", text},
		))},
	))},
)

// policyTestDocument is the schema of suites.
var policyTestDocument = object(
	field{"apiVersion", true, "the version of this format", oneOf(model.APIVersion)},
	field{"kind", true, "what the document describes", oneOf(string(kindPolicyTest))},
	field{"metadata", true, "the suite's name", metadata},
	field{"spec", true, "what it says", policyTest},
)

func reasons() []string {
	var out []string
	for r := range policydata.NumReasons {
		out = append(out, r.String())
	}
	return out
}

// suite reads a suite of tests into d.suites.
func (d *decoder) suite(root *yaml.Node) {
	before := len(d.errs)
	value := d.value(root, policyTestDocument, "", 1)
	if len(d.errs) > before {
		return
	}
	var doc struct {
		Metadata model.Metadata
		Spec     PolicyTest
	}
	if err := convert(value, &doc); err != nil {
		d.errorf(root, "", "%s", err)
		return
	}
	s := Suite{Name: doc.Metadata.Name, File: d.file, Test: doc.Spec, root: root}
	d.errs = append(d.errs, s.check()...)
	d.suites = append(d.suites, s)
}

// check says what a suite's names refer to in vain, and what could never fail.
func (s *Suite) check() Errors {
	c := &suiteCheck{suite: s}
	principals := c.names("spec.principals", len(s.Test.Principals), func(i int) string { return s.Test.Principals[i].Name })
	requests := c.names("spec.requests", len(s.Test.Requests), func(i int) string { return s.Test.Requests[i].Name })
	for i, p := range s.Test.Principals {
		if len(p.Claims) > 0 && (p.User != "" || p.Service != "" || len(p.Groups)+len(p.Roles) > 0) {
			c.errorf(fmt.Sprintf("spec.principals[%d].claims", i), "stand instead of user, groups, roles and service: want one or the other")
		}
		if p.User == "" && len(p.Groups)+len(p.Roles) > 0 {
			c.errorf(fmt.Sprintf("spec.principals[%d]", i), "has groups or roles and no user")
		}
	}
	if len(s.Test.Tests) == 0 {
		c.errorf("spec.tests", "is empty: the suite tests nothing")
	}
	for i, t := range s.Test.Tests {
		path := fmt.Sprintf("spec.tests[%d]", i)
		c.refer(path+".principals", t.Principals, principals)
		c.refer(path+".requests", t.Requests, requests)
		c.expectations(path, &t, OrAll(t.Principals, principals), OrAll(t.Requests, requests))
	}
	return c.errs
}

// OrAll returns names, or all where there are none.
func OrAll(names, all []string) []string {
	if len(names) == 0 {
		return all
	}
	return names
}

type suiteCheck struct {
	suite *Suite
	errs  Errors
}

func (c *suiteCheck) errorf(path, format string, args ...any) {
	e := c.suite.Place(path)
	e.Text = fmt.Sprintf(format, args...)
	c.errs = append(c.errs, e)
}

// names returns the names of a list, each of which must be there once.
func (c *suiteCheck) names(path string, n int, name func(int) string) []string {
	if n == 0 {
		c.errorf(path, "is empty: the suite tests nothing")
	}
	var out []string
	for i := range n {
		if slices.Contains(out, name(i)) {
			c.errorf(fmt.Sprintf("%s[%d].name", path, i), "%q is there twice", name(i))
		}
		out = append(out, name(i))
	}
	return out
}

func (c *suiteCheck) refer(path string, names, known []string) {
	for i, n := range names {
		if !slices.Contains(known, n) {
			c.errorf(fmt.Sprintf("%s[%d]", path, i), "unknown %q%s", n, didYouMean(n, known))
		}
	}
}

// expectations checks that each decision is expected once, and that reasons fit
// decisions.
func (c *suiteCheck) expectations(path string, t *TestMatrix, principals, requests []string) {
	first := map[[2]string]int{}
	for i, x := range t.Expect {
		at := fmt.Sprintf("%s.expect[%d]", path, i)
		c.refer(at+".principals", x.Principals, principals)
		c.refer(at+".requests", x.Requests, requests)
		if x.Reason != "" && (x.Reason == policydata.ReasonAllowed.String()) != (x.Decision == "allow") {
			c.errorf(at+".reason", "%s is no reason to %s", x.Reason, x.Decision)
		}
		line := c.suite.Place(at).Line
		for _, p := range OrAll(x.Principals, principals) {
			for _, r := range OrAll(x.Requests, requests) {
				if before, twice := first[[2]string{p, r}]; twice {
					c.errorf(at, "%s and %s are expected twice, first in line %d", p, r, before)
					return
				}
				first[[2]string{p, r}] = line
			}
		}
	}
}

// ParseSuites reads the suites of tests in files, and passes over the other
// documents. That there is none is an error: it is never what was meant. Errors
// about what is in the files are of type Errors.
func ParseSuites(files []File) ([]Suite, error) {
	var suites []Suite
	var errs Errors
	names := make([]string, len(files))
	for i, f := range files {
		_, s, e := parseAll(f.Name, f.Data)
		suites, errs = append(suites, s...), append(errs, e...)
		names[i] = f.Name
	}
	if len(errs) > 0 {
		return nil, errs
	}
	if len(suites) == 0 {
		return nil, fmt.Errorf("no tests in %s: no document is of kind %s", strings.Join(names, ", "), kindPolicyTest)
	}
	return suites, nil
}
