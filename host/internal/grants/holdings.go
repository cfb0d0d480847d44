package grants

import (
	"slices"

	"sallyport/host/internal/model"
	"sallyport/policydata"
)

// Writer is who writes. The zero Writer holds nothing.
type Writer struct {
	User   string
	Groups []string // that the writer's token names
	Roles  []string // values of the token's role claims
}

// holdings are what is in force for a writer, by name.
type holdings struct{ policies, groups, roles map[string]bool }

func holdingsOf(s *model.State, w Writer) holdings {
	h := holdings{map[string]bool{}, map[string]bool{}, map[string]bool{}}
	if w.User == "" {
		return h
	}
	if e, ok := s.Get(model.Key{Kind: model.KindUser, Name: w.User}); ok {
		h.attach(e.(*model.User).Policies)
	}
	for _, g := range w.Groups {
		h.groups[g] = true
	}
	for _, g := range s.Groups {
		if slices.Contains(g.Members, w.User) {
			h.groups[g.Name] = true
		}
		if h.groups[g.Name] || g.Name == policydata.GroupAuthenticated {
			h.attach(g.Policies)
		}
	}
	for _, r := range s.Roles {
		if !r.Governing && h.has(r, w) {
			h.roles[r.Name] = true
			h.attach(r.Policies)
		}
	}
	return h
}

func (h holdings) attach(policies []string) {
	for _, p := range policies {
		h.policies[p] = true
	}
}

// has reports whether the writer has the role.
func (h holdings) has(r *model.Role, w Writer) bool {
	return slices.Contains(r.Users, w.User) ||
		slices.ContainsFunc(r.Groups, func(g string) bool { return h.groups[g] }) ||
		slices.ContainsFunc(r.Claims, func(c string) bool { return slices.Contains(w.Roles, c) })
}
