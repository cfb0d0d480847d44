package grants_test

import (
	"strings"
	"testing"

	"sallyport/host/internal/grants"
	"sallyport/host/internal/manifest"
	"sallyport/host/internal/model"
)

const before = `
kind: Policy
metadata: {name: read}
spec: {rules: [{effect: allow, methods: ["@read"], paths: ["/**"]}]}
---
kind: Policy
metadata: {name: write}
spec: {rules: [{effect: allow, methods: ["@write"], paths: ["/**"]}]}
---
kind: Policy
metadata: {name: all}
spec: {rules: [{effect: allow, methods: ["*"], paths: ["/**"]}]}
---
kind: Policy
metadata: {name: draft}
spec: {rules: [{effect: allow, methods: [GET], paths: ["/draft"]}]}
---
kind: Policy
metadata: {name: no-secrets}
spec: {rules: [{effect: deny, methods: ["*"], paths: ["/secrets/**"]}]}
---
kind: Policy
metadata: {name: everybody}
spec: {rules: [{effect: allow, methods: [GET], paths: ["/open"]}]}
---
kind: Policy
metadata: {name: shipped, reserved: true}
spec: {rules: [{effect: allow, methods: [GET], paths: ["/shipped"]}]}
---
kind: User
metadata: {name: wanda}
spec: {policies: [read, no-secrets]}
---
kind: User
metadata: {name: bob}
spec: {policies: [all], email: bob@example.org}
---
kind: User
metadata: {name: oscar}
spec: {disabled: true, tokensNotBefore: "2026-11-01T00:00:00Z"}
---
kind: Group
metadata: {name: staff}
spec: {members: [wanda], policies: [write]}
---
kind: Group
metadata: {name: admins}
spec: {members: [bob], policies: [all]}
---
kind: Group
metadata: {name: contractors}
spec: {members: [wanda, bob], policies: [no-secrets]}
---
kind: Group
metadata: {name: "system:authenticated"}
spec: {policies: [everybody]}
---
kind: Role
metadata: {name: editor}
spec: {policies: [read], groups: [staff]}
---
kind: Role
metadata: {name: boss}
spec: {policies: [all], users: [bob], claims: [boss]}
---
kind: Role
metadata: {name: kept-out}
spec: {policies: [no-secrets], groups: [staff], users: [bob]}
---
kind: Role
metadata: {name: act}
spec: {governing: true, policies: [read]}
---
kind: Role
metadata: {name: runtime}
---
kind: Issuer
metadata: {name: idp}
spec: {issuer: "https://idp", audiences: [a], algorithms: [RS256], jwks: {inline: {keys: []}}}
---
kind: ServiceAccount
metadata: {name: svc}
spec: {role: runtime, identities: [{issuer: idp, client: c}], delegation: [{role: act, users: [oscar, bob]}]}
---
kind: ServiceAccount
metadata: {name: idle}
spec: {role: runtime, disabled: true}
`

func parse(t *testing.T, text string) []model.Entity {
	t.Helper()
	var b strings.Builder
	for part := range strings.SplitSeq(text, "\n---\n") {
		b.WriteString("---\napiVersion: sallyport/v1\n" + strings.TrimSpace(part) + "\n")
	}
	docs, err := manifest.Parse("test.yaml", []byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	return manifest.Entities(docs)
}

// wanda holds read, no-secrets, write and everybody, is in staff and
// contractors, and has the roles editor and kept-out.
var wanda = grants.Writer{User: "wanda"}

func TestCheck(t *testing.T) {
	for name, tt := range map[string]struct {
		docs   string   // applied
		delete []string // "Kind name"
		writer *grants.Writer
		want   string // "": permitted
	}{
		"nothing": {},

		"attach what one holds":             {docs: "kind: User\nmetadata: {name: new}\nspec: {policies: [read]}"},
		"attach what one's group has":       {docs: "kind: User\nmetadata: {name: new}\nspec: {policies: [write]}"},
		"attach what everybody has":         {docs: "kind: User\nmetadata: {name: new}\nspec: {policies: [everybody]}"},
		"attach what one does not hold":     {docs: "kind: User\nmetadata: {name: wanda}\nspec: {policies: [all, no-secrets, read]}", want: `User "wanda": spec.policies: you don't hold Policy "all"`},
		"attach it to a new user":           {docs: "kind: User\nmetadata: {name: new}\nspec: {policies: [all]}", want: `you don't hold Policy "all"`},
		"attach it to one's group":          {docs: "kind: Group\nmetadata: {name: staff}\nspec: {members: [wanda], policies: [all, write]}", want: `Group "staff": spec.policies: you don't hold Policy "all"`},
		"attach it to everybody":            {docs: "kind: Group\nmetadata: {name: \"system:authenticated\"}\nspec: {policies: [all, everybody]}", want: `you don't hold Policy "all"`},
		"attach it to one's role":           {docs: "kind: Role\nmetadata: {name: editor}\nspec: {policies: [all, read], groups: [staff]}", want: `Role "editor": spec.policies: you don't hold Policy "all"`},
		"attach a policy made for that":     {docs: "kind: Policy\nmetadata: {name: mine}\nspec: {rules: [{effect: allow, methods: [\"*\"], paths: [\"/**\"]}]}\n---\nkind: User\nmetadata: {name: wanda}\nspec: {policies: [mine, no-secrets, read]}", want: `you don't hold Policy "mine"`},
		"attach what a claim's role gives":  {docs: "kind: User\nmetadata: {name: new}\nspec: {policies: [all]}", writer: &grants.Writer{User: "x", Roles: []string{"boss"}}},
		"attach what a token's group gives": {docs: "kind: User\nmetadata: {name: new}\nspec: {policies: [all]}", writer: &grants.Writer{User: "x", Groups: []string{"admins"}}},
		"a service holds nothing":           {docs: "kind: User\nmetadata: {name: new}\nspec: {policies: [everybody]}", writer: &grants.Writer{}, want: `you don't hold Policy "everybody"`},

		"change a reserved policy that nobody has": {docs: "kind: Policy\nmetadata: {name: shipped, reserved: true}\nspec: {rules: [{effect: allow, methods: [\"*\"], paths: [\"/**\"]}]}", want: `Policy "shipped": metadata.reserved: is reserved`},
		"describe it":              {docs: "kind: Policy\nmetadata: {name: shipped, description: x}\nspec: {rules: [{effect: allow, methods: [GET], paths: [\"/shipped\"]}]}", want: "is reserved"},
		"delete a reserved policy": {delete: []string{"Policy shipped"}, want: "is reserved"},
		"create a reserved policy": {docs: "kind: Policy\nmetadata: {name: mine, reserved: true}\nspec: {rules: [{effect: allow, methods: [GET], paths: [\"/\"]}]}"},

		"take away what allows":                  {docs: "kind: User\nmetadata: {name: bob}\nspec: {email: bob@example.org}"},
		"take away what denies":                  {docs: "kind: User\nmetadata: {name: wanda}\nspec: {policies: [read]}", want: `User "wanda": spec.policies: Policy "no-secrets" has a deny rule`},
		"take it from a group":                   {docs: "kind: Group\nmetadata: {name: contractors}\nspec: {members: [bob, wanda]}", want: `Group "contractors": spec.policies: Policy "no-secrets" has a deny rule`},
		"take it from a role":                    {docs: "kind: Role\nmetadata: {name: kept-out}\nspec: {groups: [staff], users: [bob]}", want: `Role "kept-out": spec.policies: Policy "no-secrets" has a deny rule`},
		"delete what denies":                     {delete: []string{"Policy no-secrets"}, want: `Policy "no-secrets" has a deny rule`},
		"delete what allows":                     {delete: []string{"Policy all"}},
		"delete a user with what denies":         {delete: []string{"User wanda"}, want: `Policy "no-secrets" has a deny rule`},
		"delete a user who is in a group":        {delete: []string{"User bob"}, want: `Group "contractors": spec.members: "bob" would no longer be denied what Policy "no-secrets" denies`},
		"leave a group that denies":              {docs: "kind: Group\nmetadata: {name: contractors}\nspec: {members: [bob], policies: [no-secrets]}", want: `"wanda" would no longer be denied`},
		"leave a group with a role that denies":  {docs: "kind: Group\nmetadata: {name: staff}\nspec: {policies: [write]}", want: `Group "staff": spec.members: "wanda" would no longer be denied`},
		"take a role that denies from a user":    {docs: "kind: Role\nmetadata: {name: kept-out}\nspec: {policies: [no-secrets], groups: [staff]}", want: `Role "kept-out": spec.users: "bob" would no longer be denied`},
		"take a role that denies from a group":   {docs: "kind: Role\nmetadata: {name: kept-out}\nspec: {policies: [no-secrets], users: [bob]}", want: `spec.groups: "staff" would no longer be denied`},
		"delete a role that denies":              {delete: []string{"Role kept-out"}, want: `would no longer be denied`},
		"take a member out of a group":           {docs: "kind: Group\nmetadata: {name: admins}\nspec: {policies: [all]}"},
		"take a role that allows from everybody": {docs: "kind: Role\nmetadata: {name: boss}\nspec: {policies: [all]}"},

		"a member to one's own group":     {docs: "kind: Group\nmetadata: {name: staff}\nspec: {members: [bob, wanda], policies: [write]}"},
		"a member to another group":       {docs: "kind: Group\nmetadata: {name: admins}\nspec: {members: [bob, wanda], policies: [all]}", want: `Group "admins": spec.members: "wanda" would be in a group that you are not in`},
		"a new group with oneself":        {docs: "kind: Group\nmetadata: {name: foo}\nspec: {members: [wanda]}", want: `"wanda" would be in a group that you are not in`},
		"a new group with nobody":         {docs: "kind: Group\nmetadata: {name: foo}"},
		"a member to a token's group":     {docs: "kind: Group\nmetadata: {name: foo}\nspec: {members: [oscar]}", writer: &grants.Writer{User: "x", Groups: []string{"foo"}}},
		"one's own role to a user":        {docs: "kind: Role\nmetadata: {name: editor}\nspec: {policies: [read], groups: [staff], users: [bob]}"},
		"another role to a user":          {docs: "kind: Role\nmetadata: {name: boss}\nspec: {policies: [all], users: [bob, wanda], claims: [boss]}", want: `Role "boss": spec.users: "wanda" would get a role that you don't have`},
		"another role to a group":         {docs: "kind: Role\nmetadata: {name: boss}\nspec: {policies: [all], users: [bob], groups: [staff], claims: [boss]}", want: `spec.groups: "staff" would get a role`},
		"another role to a claim":         {docs: "kind: Role\nmetadata: {name: boss}\nspec: {policies: [all], users: [bob], claims: [boss, any]}", want: `spec.claims: "any" would get a role`},
		"a new role with nobody":          {docs: "kind: Role\nmetadata: {name: empty}\nspec: {policies: [read]}"},
		"the rules of an attached policy": {docs: "kind: Policy\nmetadata: {name: read}\nspec: {rules: [{effect: allow, methods: [\"*\"], paths: [\"/**\"]}]}", want: `Policy "read": spec.rules: the policy is attached`},
		"the rules of a draft":            {docs: "kind: Policy\nmetadata: {name: draft}\nspec: {rules: [{effect: allow, methods: [\"*\"], paths: [\"/**\"]}]}"},
		"the description of a policy":     {docs: "kind: Policy\nmetadata: {name: read, description: reads}\nspec: {rules: [{effect: allow, methods: [\"@read\"], paths: [\"/**\"]}]}"},
		"disable a user":                  {docs: "kind: User\nmetadata: {name: bob}\nspec: {policies: [all], email: bob@example.org, disabled: true}"},
		"enable a user":                   {docs: "kind: User\nmetadata: {name: oscar}\nspec: {tokensNotBefore: \"2026-11-01T00:00:00Z\"}", want: `User "oscar": spec.disabled`},
		"delete a disabled user":          {delete: []string{"User oscar"}, want: `User "oscar": spec.disabled`},
		"revoke a user's tokens":          {docs: "kind: User\nmetadata: {name: oscar}\nspec: {disabled: true, tokensNotBefore: \"2026-11-02T00:00:00Z\"}"},
		"let revoked tokens count":        {docs: "kind: User\nmetadata: {name: oscar}\nspec: {disabled: true}", want: `User "oscar": spec.tokensNotBefore`},
		"a user's email":                  {docs: "kind: User\nmetadata: {name: bob}\nspec: {policies: [all], email: b@example.org}"},
		"a governing role":                {docs: "kind: Role\nmetadata: {name: act}\nspec: {governing: true}", want: `Role "act": spec: a governing role`},
		"a new governing role":            {docs: "kind: Role\nmetadata: {name: new}\nspec: {governing: true}", want: `Role "new": spec: a governing role`},
		"the description of a service":    {docs: "kind: ServiceAccount\nmetadata: {name: idle, description: x}\nspec: {role: runtime, disabled: true}"},
		"disable a service":               {docs: "kind: ServiceAccount\nmetadata: {name: svc}\nspec: {role: runtime, disabled: true, identities: [{issuer: idp, client: c}], delegation: [{role: act, users: [oscar, bob]}]}"},
		"enable a service":                {docs: "kind: ServiceAccount\nmetadata: {name: idle}\nspec: {role: runtime}", want: `ServiceAccount "idle": spec`},
		"an identity away from a service": {docs: "kind: ServiceAccount\nmetadata: {name: svc}\nspec: {role: runtime, delegation: [{role: act, users: [oscar, bob]}]}", want: `ServiceAccount "svc": spec`},
		"a new service":                   {docs: "kind: ServiceAccount\nmetadata: {name: new}\nspec: {role: runtime}", want: `ServiceAccount "new": spec`},
		"delete a service":                {delete: []string{"ServiceAccount svc"}, want: `ServiceAccount "svc": spec`},
		"the description of an issuer":    {docs: "kind: Issuer\nmetadata: {name: idp, description: x}\nspec: {issuer: \"https://idp\", audiences: [a], algorithms: [RS256], jwks: {inline: {keys: []}}}"},
		"an audience of an issuer":        {docs: "kind: Issuer\nmetadata: {name: idp}\nspec: {issuer: \"https://idp\", audiences: [a, b], algorithms: [RS256], jwks: {inline: {keys: []}}}", want: `Issuer "idp": spec: an issuer says who anybody is`},
		"a new issuer":                    {docs: "kind: Issuer\nmetadata: {name: new}\nspec: {issuer: \"https://new\", audiences: [a], algorithms: [RS256], jwks: {inline: {keys: []}}}", want: `Issuer "new": spec`},
	} {
		t.Run(name, func(t *testing.T) {
			s := (&model.State{}).With(parse(t, before))
			next := s
			if tt.docs != "" {
				next = s.With(parse(t, tt.docs))
			}
			for _, d := range tt.delete {
				kind, name, _ := strings.Cut(d, " ")
				next = next.Without([]model.Key{{Kind: model.Kind(kind), Name: name}})
			}
			writer := wanda
			if tt.writer != nil {
				writer = *tt.writer
			}
			problems := grants.Check(s, next, writer)
			if tt.want == "" && len(problems) > 0 || tt.want != "" && !strings.Contains(problems.Error(), tt.want) {
				t.Errorf("got %q, want %q", problems.Error(), tt.want)
			}
		})
	}
}
