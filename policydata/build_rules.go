package policydata

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"
)

func (b *Builder) addPolicy(p *Policy) error {
	if err := CheckName(p.Name); err != nil {
		return err
	}
	id, name := b.count(secPolicies), b.str(p.Name)
	if !b.policies.add(name) {
		return errors.New("stands twice")
	}
	if len(p.Rules) > MaxRulesPerPolicy {
		return fmt.Errorf("has more than %d rules", MaxRulesPerPolicy)
	}
	b.put(secPolicies, name, b.count(secRules), uint32(len(p.Rules)))
	for i := range p.Rules {
		if err := b.addRule(id, uint32(i), &p.Rules[i]); err != nil {
			return fmt.Errorf("rule %d: %w", i, err)
		}
	}
	return nil
}

func (b *Builder) addRule(policy, index uint32, r *Rule) error {
	var flags uint32
	if r.Effect == EffectAllow {
		flags |= rfAllow
	}
	if len(r.Hosts) == 0 {
		flags |= rfAnyHost
	}
	name, err := ruleNameOf(index, r.Name)
	if err != nil {
		return err
	}
	bits, methodFirst, methodCount, err := b.addMethods(r.Methods)
	if err != nil {
		return err
	}
	hostFirst, hostCaptures, err := b.addHosts(r.Hosts)
	if err != nil {
		return err
	}
	pathCaptures, err := b.addPaths(b.count(secRules), r.Paths)
	if err != nil {
		return err
	}
	exprFirst := b.count(secExprs)
	when := uint32(none)
	if r.When != nil {
		if len(r.Text) > MaxConditionBytes {
			return fmt.Errorf("condition: has more than %d bytes", MaxConditionBytes)
		}
		c := conditionCheck{textBytes: len(r.Text), pathCaptures: pathCaptures, hostCaptures: hostCaptures}
		if err := c.expr(r.When, 1, 0); err != nil {
			return fmt.Errorf("condition: %w", err)
		}
		b.addExpr(r.When)
		when = b.str(r.Text)
	}
	b.put(
		secRules, b.str(name), policy, index, flags, bits, methodFirst, methodCount,
		hostFirst, uint32(len(r.Hosts)), exprFirst, b.count(secExprs)-exprFirst, when,
	)
	return nil
}

// ruleNameOf returns the name that decisions report: the rule's own, or "#" and
// its index.
func ruleNameOf(index uint32, name string) (string, error) {
	if name == "" {
		return "#" + strconv.FormatUint(uint64(index), 10), nil
	}
	if len(name) > MaxNameBytes || !utf8.ValidString(name) || name[0] == '#' {
		return "", fmt.Errorf("name %q: at most %d bytes of UTF-8, not beginning with #", name, MaxNameBytes)
	}
	return name, nil
}

func (b *Builder) addMethods(methods []string) (bits, first, count uint32, err error) {
	if len(methods) == 0 {
		return 0, 0, 0, errors.New("has no methods")
	}
	first = b.count(secMethods)
	for _, m := range methods {
		if err := CheckMethod(m); err != nil {
			return 0, 0, 0, err
		}
		switch m {
		case "*":
			bits |= mbAny
		case MethodsRead:
			bits |= mbGet | mbHead | mbOptions
		case MethodsWrite:
			bits |= mbPost | mbPut | mbPatch | mbDelete
		case MethodsPreflight:
			bits |= mbPreflight
		default:
			if bit := methodBit(m); bit != 0 {
				bits |= bit
				continue
			}
			b.put(secMethods, b.str(m))
		}
	}
	return bits, first, b.count(secMethods) - first, nil
}

// addHosts appends the host patterns and returns, by pattern, what each
// captures.
func (b *Builder) addHosts(patterns []string) (first uint32, captures [][]string, err error) {
	if len(patterns) > MaxHostsPerRule {
		return 0, nil, fmt.Errorf("has more than %d hosts", MaxHostsPerRule)
	}
	first = b.count(secHosts)
	for _, p := range patterns {
		labels, err := parseHostPattern(p)
		if err != nil {
			return 0, nil, fmt.Errorf("host %q: %w", p, err)
		}
		captures = append(captures, captureNames(labels))
		var flags uint32
		switch {
		case p == HostAPI:
			flags = hfAPI
		case labels[0].kind == segAny:
			flags, labels = hfWild, labels[1:]
		}
		b.put(secHosts, flags, b.count(secLabels), uint32(len(labels)))
		for _, l := range slices.Backward(labels) {
			b.put(secLabels, uint32(l.kind), b.str(l.text))
		}
	}
	return first, captures, nil
}

// addPaths puts the path patterns of a rule into the trie and returns, by
// pattern, what each captures.
func (b *Builder) addPaths(rule uint32, patterns []string) (captures [][]string, err error) {
	if len(patterns) == 0 || len(patterns) > MaxPathsPerRule {
		return nil, fmt.Errorf("has %d paths; it needs 1 to %d", len(patterns), MaxPathsPerRule)
	}
	for i, p := range patterns {
		segs, err := parsePathPattern(p)
		if err != nil {
			return nil, fmt.Errorf("path %q: %w", p, err)
		}
		captures = append(captures, captureNames(segs))
		b.addPattern(segs, trieTerminal{rule: rule, path: uint32(i), pattern: b.str(p)})
	}
	return captures, nil
}
