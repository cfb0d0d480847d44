package model

import (
	"fmt"
	"strings"

	"sallyport/policydata"
)

func (c *checker) policy(p *Policy) {
	if len(p.Rules) == 0 {
		c.addf("spec.rules", "expected at least one rule")
	}
	if len(p.Rules) > policydata.MaxRulesPerPolicy {
		c.addf("spec.rules", "expected at most %d rules, got %d", policydata.MaxRulesPerPolicy, len(p.Rules))
		return
	}
	seen := map[string]int{}
	for i := range p.Rules {
		r, field := &p.Rules[i], index("spec.rules", i)
		if first, twice := seen[r.Name]; twice && r.Name != "" {
			c.addf(field+".name", "rule %d has this name, too", first)
		}
		seen[r.Name] = i
		c.rule(field, r)
	}
}

func (c *checker) rule(field string, r *Rule) {
	c.ruleName(field+".name", r.Name)
	if r.Effect != Allow && r.Effect != Deny {
		c.addf(field+".effect", "expected allow or deny, got %q", r.Effect)
	}
	if len(r.Methods) == 0 {
		c.addf(field+".methods", `expected at least one method, or "*"`)
	}
	for i, m := range r.Methods {
		c.add(index(field+".methods", i), policydata.CheckMethod(m))
	}
	c.size(field+".hosts", len(r.Hosts), 0, policydata.MaxHostsPerRule)
	c.size(field+".paths", len(r.Paths), 1, policydata.MaxPathsPerRule)
	before := len(c.problems)
	pathCaptures := c.patterns(field+".paths", r.Paths, policydata.CheckPathPattern)
	hostCaptures := c.patterns(field+".hosts", r.Hosts, policydata.CheckHostPattern)
	// With a wrong pattern its captures are not known, and an error about
	// them would lead the reader astray.
	if r.When != "" && len(c.problems) == before {
		c.condition(field+".when", r.When, pathCaptures, hostCaptures)
	}
}

// ruleName keeps apart names and the "#" and index that stand for no name.
func (c *checker) ruleName(field, name string) {
	c.text(field, name)
	if strings.HasPrefix(name, "#") {
		c.addf(field, `a rule's name must not begin with "#"`)
	}
	if len(name) > policydata.MaxNameBytes {
		c.addf(field, "expected at most %d bytes, got %d", policydata.MaxNameBytes, len(name))
	}
}

func (c *checker) size(field string, n, least, most int) {
	if n < least || n > most {
		c.addf(field, "expected %d to %d entries, got %d", least, most, n)
	}
}

func (c *checker) patterns(field string, patterns []string, check func(string) ([]string, error)) []string {
	captures := make([][]string, 0, len(patterns))
	for i, p := range patterns {
		names, err := check(p)
		if err != nil {
			c.addf(index(field, i), "%q: %s", p, err)
		}
		captures = append(captures, names)
	}
	return intersection(captures)
}

func (c *checker) condition(field, src string, pathCaptures, hostCaptures []string) {
	if c.checks.Condition == nil {
		c.addf(field, "conditions can't be checked here")
		return
	}
	if err := c.checks.Condition(src, pathCaptures, hostCaptures); err != nil {
		c.add(field, fmt.Errorf("condition: %w", err))
	}
}
