package policytest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"sallyport/host/internal/manifest"
	"sallyport/policydata"
)

// standIn is the issuer by which user, groups and roles are read where the
// policies have none: they are often kept apart from what differs between a test
// and a real installation.
func standIn() policydata.Issuer {
	return policydata.Issuer{
		Name: "stand-in", Issuer: "https://stand-in.invalid", Audiences: []string{"test"}, Algorithms: []string{"ES256"},
		UsernameClaims: [][]string{{"sub"}}, GroupsClaims: [][]string{{"groups"}}, RolesClaims: [][]string{{"roles"}},
		ClientClaims: [][]string{{"azp"}}, ClockSkew: 30, MaxTokenLifetime: 24 * 3600,
	}
}

// claimsOf returns the claims of a principal's token; nil: it has none.
func claimsOf(source *policydata.Source, p *manifest.TestPrincipal) (json.RawMessage, error) {
	if len(p.Claims) == 0 && p.User == "" && p.Service == "" {
		return nil, nil
	}
	issuer, err := issuerOf(source, p)
	if err != nil {
		return nil, err
	}
	claims := map[string]any{}
	if len(p.Claims) > 0 {
		if p.Issuer == "" {
			return p.Claims, nil
		}
		if err := json.Unmarshal(p.Claims, &claims); err != nil {
			return nil, err
		}
	} else if err := inShort(source, issuer, p, claims); err != nil {
		return nil, err
	}
	claims["iss"] = issuer.Issuer
	return json.Marshal(claims)
}

func issuerOf(source *policydata.Source, p *manifest.TestPrincipal) (*policydata.Issuer, error) {
	for i := range source.Issuers {
		if source.Issuers[i].Name == p.Issuer || p.Issuer == "" && len(source.Issuers) == 1 {
			return &source.Issuers[i], nil
		}
	}
	switch {
	case p.Issuer != "":
		return nil, fmt.Errorf("issuer: there is no Issuer %q", p.Issuer)
	case len(p.Claims) > 0:
		return nil, nil // "iss" in the claims picks one, or is wrong
	}
	return nil, errors.New("issuer: there are several Issuers: name one")
}

// inShort writes the claims that the issuer's settings map to what is given in
// short.
func inShort(source *policydata.Source, issuer *policydata.Issuer, p *manifest.TestPrincipal, claims map[string]any) error {
	if p.Service != "" {
		if err := serviceClaims(source, issuer, p, claims); err != nil {
			return err
		}
	}
	if p.User != "" {
		user, err := withoutPrefix("user", p.User, issuer.UsernamePrefix)
		if err != nil {
			return err
		}
		claims["sub"] = user
		set(claims, issuer.UsernameClaims, user)
	}
	groups := []string{}
	for _, g := range p.Groups {
		name, err := withoutPrefix("group", g, issuer.GroupsPrefix)
		if err != nil {
			return err
		}
		groups = append(groups, issuer.TrimGroup+name)
	}
	set(claims, issuer.GroupsClaims, groups)
	if len(p.Roles) > 0 {
		if len(issuer.RolesClaims) == 0 {
			return fmt.Errorf("roles: Issuer %q reads no role claim", issuer.Name)
		}
		set(claims, issuer.RolesClaims, p.Roles)
	}
	return nil
}

// serviceClaims writes the claims by which the issuer's tokens name a service:
// with a user one on its behalf, else the service's own.
func serviceClaims(source *policydata.Source, issuer *policydata.Issuer, p *manifest.TestPrincipal, claims map[string]any) error {
	for i := range source.Services {
		s := &source.Services[i]
		if s.Name != p.Service {
			continue
		}
		for _, id := range s.Identities {
			if id.Issuer != issuer.Name || p.User == "" && id.Subject == "" {
				continue
			}
			claims["sub"] = id.Subject
			set(claims, issuer.UsernameClaims, id.Subject)
			set(claims, issuer.ClientClaims, id.Client)
			return nil
		}
		return fmt.Errorf("service: %q has no identity that fits of Issuer %q; write claims instead", p.Service, issuer.Name)
	}
	return fmt.Errorf("service: there is no ServiceAccount %q", p.Service)
}

func withoutPrefix(what, name, prefix string) (string, error) {
	cut, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return "", fmt.Errorf("%s: names of this issuer begin with %q", what, prefix)
	}
	return cut, nil
}

// set puts a value where the first of some claim paths leads.
func set(claims map[string]any, paths [][]string, value any) {
	if len(paths) == 0 {
		return
	}
	at, path := claims, paths[0]
	for _, key := range path[:len(path)-1] {
		next, ok := at[key].(map[string]any)
		if !ok {
			next = map[string]any{}
			at[key] = next
		}
		at = next
	}
	at[path[len(path)-1]] = value
}
