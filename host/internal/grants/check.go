package grants

import (
	"fmt"
	"reflect"
	"slices"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
)

// Check returns what a write that makes after of before gives away that the
// writer, who is not unrestricted, can't give.
func Check(before, after *model.State, w Writer) model.Problems {
	c := &checker{before: before, after: after, held: holdingsOf(before, w)}
	directory.EachDifference(before, after, c.difference)
	return c.problems
}

type checker struct {
	before, after *model.State
	held          holdings
	at            model.Key
	problems      model.Problems
	attached      map[string]bool // policies that anything has, before or after; nil: not asked yet
}

func (c *checker) refuse(field, format string, args ...any) {
	c.problems = append(c.problems, model.Problem{Kind: c.at.Kind, Name: c.at.Name, Field: field, Text: fmt.Sprintf(format, args...)})
}

// difference judges what became of one entity; old is nil for a new one, and new
// for one that is gone.
func (c *checker) difference(old, new model.Entity) {
	if c.at = keyOf(old, new); c.at.Kind == "" {
		return
	}
	if old != nil && old.Meta().Reserved {
		c.refuse("metadata.reserved", "is reserved, and changed only by who may grant everything")
		return
	}
	switch c.at.Kind {
	case model.KindUser:
		c.user(typed[model.User](old), typed[model.User](new))
	case model.KindGroup:
		c.group(typed[model.Group](old), typed[model.Group](new))
	case model.KindPolicy:
		c.policy(typed[model.Policy](old), typed[model.Policy](new))
	case model.KindRole:
		c.role(typed[model.Role](old), typed[model.Role](new))
	case model.KindServiceAccount:
		c.service(typed[model.ServiceAccount](old), typed[model.ServiceAccount](new))
	case model.KindIssuer:
		c.issuer(typed[model.Issuer](old), typed[model.Issuer](new))
	}
}

func keyOf(entities ...model.Entity) model.Key {
	for _, e := range entities {
		if e != nil {
			return model.KeyOf(e)
		}
	}
	return model.Key{}
}

// typed returns what an entity says; one that there is not says nothing.
func typed[T any](e model.Entity) T {
	if p, ok := any(e).(*T); ok {
		return *p
	}
	var zero T
	return zero
}

func (c *checker) user(old, new model.User) {
	c.policies(old.Policies, new.Policies)
	if old.Disabled && !new.Disabled {
		c.refuse("spec.disabled", "the user is disabled, and would not be any more")
	}
	if new.TokensNotBefore.Before(old.TokensNotBefore) {
		c.refuse("spec.tokensNotBefore", "tokens that are revoked would count again")
	}
}

func (c *checker) group(old, new model.Group) {
	c.policies(old.Policies, new.Policies)
	if added, _ := compare(old.Members, new.Members); len(added) > 0 && !c.held.groups[c.at.Name] {
		c.refuse("spec.members", "%q would be in a group that you are not in", added[0])
	}
	_, removed := compare(old.Members, new.Members)
	if p := c.denyOfGroup(c.at.Name); len(removed) > 0 && p != "" {
		c.refuse("spec.members", "%q would no longer be denied what Policy %q denies", removed[0], p)
	}
}

func (c *checker) policy(old, new model.Policy) {
	if len(old.Rules) == 0 || len(new.Rules) == 0 || reflect.DeepEqual(old.Rules, new.Rules) {
		return // what it is attached to, and was, tells
	}
	if c.isAttached(c.at.Name) {
		c.refuse("spec.rules", "the policy is attached: its rules would change for whoever has it")
	}
}

func (c *checker) role(old, new model.Role) {
	if old.Governing || new.Governing {
		old.Metadata, new.Metadata = model.Metadata{}, model.Metadata{}
		if !reflect.DeepEqual(old, new) {
			c.refuse("spec", "a governing role says what services may do in users' names")
		}
		return
	}
	c.policies(old.Policies, new.Policies)
	for _, list := range []struct {
		field    string
		old, new []string
	}{{"spec.users", old.Users, new.Users}, {"spec.groups", old.Groups, new.Groups}, {"spec.claims", old.Claims, new.Claims}} {
		added, removed := compare(list.old, list.new)
		if len(added) > 0 && !c.held.roles[c.at.Name] {
			c.refuse(list.field, "%q would get a role that you don't have", added[0])
		}
		if p := c.denyOfRole(c.at.Name); len(removed) > 0 && p != "" {
			c.refuse(list.field, "%q would no longer be denied what Policy %q denies", removed[0], p)
		}
	}
}

func (c *checker) service(old, new model.ServiceAccount) {
	enabled := old.Disabled && !new.Disabled
	old.Metadata, new.Metadata, old.Disabled, new.Disabled = model.Metadata{}, model.Metadata{}, false, false
	if enabled || !reflect.DeepEqual(old, new) {
		c.refuse("spec", "a service says who acts in users' names: it can be disabled, and not be changed otherwise")
	}
}

func (c *checker) issuer(old, new model.Issuer) {
	old.Metadata, new.Metadata = model.Metadata{}, model.Metadata{}
	if !reflect.DeepEqual(old, new) {
		c.refuse("spec", "an issuer says who anybody is")
	}
}

// policies judges a list of attached policies.
func (c *checker) policies(old, new []string) {
	added, removed := compare(old, new)
	for _, p := range added {
		if !c.held.policies[p] {
			c.refuse("spec.policies", "you don't hold Policy %q", p)
		}
	}
	for _, p := range removed {
		if c.denies(p) {
			c.refuse("spec.policies", "Policy %q has a deny rule, which would no longer count", p)
		}
	}
}

// compare returns what is only in new, and what is only in old.
func compare(old, new []string) (added, removed []string) {
	return without(new, old), without(old, new)
}

// without returns the entries of a sorted list that another does not have.
func without(list, other []string) (rest []string) {
	for _, s := range list {
		if _, ok := slices.BinarySearch(other, s); !ok {
			rest = append(rest, s)
		}
	}
	return rest
}

// denies reports whether a policy has a deny rule before the write.
func (c *checker) denies(policy string) bool {
	e, ok := c.before.Get(model.Key{Kind: model.KindPolicy, Name: policy})
	return ok && slices.ContainsFunc(e.(*model.Policy).Rules, func(r model.Rule) bool { return r.Effect != model.Allow })
}

func (c *checker) firstDeny(policies []string) string {
	if i := slices.IndexFunc(policies, c.denies); i >= 0 {
		return policies[i]
	}
	return ""
}

// denyOfRole returns a policy with a deny rule that a role gives, "" for none.
func (c *checker) denyOfRole(name string) string {
	return c.firstDeny(typed[model.Role](entity(c.before, model.KindRole, name)).Policies)
}

// denyOfGroup returns a policy with a deny rule that a group leads to.
func (c *checker) denyOfGroup(name string) string {
	if p := c.firstDeny(typed[model.Group](entity(c.before, model.KindGroup, name)).Policies); p != "" {
		return p
	}
	for _, r := range c.before.Roles {
		if slices.Contains(r.Groups, name) {
			if p := c.firstDeny(r.Policies); p != "" {
				return p
			}
		}
	}
	return ""
}

func entity(s *model.State, k model.Kind, name string) model.Entity {
	if e, ok := s.Get(model.Key{Kind: k, Name: name}); ok {
		return e
	}
	return nil
}

// isAttached reports whether anything has the policy, before or after.
func (c *checker) isAttached(policy string) bool {
	if c.attached == nil {
		c.attached = map[string]bool{}
		for _, s := range []*model.State{c.before, c.after} {
			for _, e := range s.Entities() {
				list, _ := directory.Related(e, model.KindPolicy)
				for _, p := range list {
					c.attached[p] = true
				}
			}
		}
	}
	return c.attached[policy]
}
