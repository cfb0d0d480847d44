package lint_test

import (
	"strings"
	"testing"

	"sallyport/host/internal/lint"
	"sallyport/host/internal/manifest"
)

func TestCheck(t *testing.T) {
	const attach = "---\nkind: User\nmetadata: {name: u}\nspec: {policies: [p]}\n"
	policy := func(rules string) string {
		return "kind: Policy\nmetadata: {name: p}\nspec: {rules: [" + rules + "]}\n" + attach
	}
	rule := func(effect, rest string) string { return "{effect: " + effect + ", " + rest + "}" }
	issuer := func(n string) string {
		return "---\nkind: Issuer\nmetadata: {name: " + n + "}\nspec: {issuer: 'https://" + n + "', audiences: [a], algorithms: [ES256], shareNames: true, jwks: {inline: {keys: []}}}\n"
	}
	everybody := "kind: Group\nmetadata: {name: 'system:authenticated'}\nspec: {policies: [p]}\n"
	allow, get := rule("allow", "methods: [GET], paths: [/a]"), "methods: [GET], paths: [/a]"
	tests := map[string]struct{ docs, want string }{
		"nothing to find":                    {policy(allow), ""},
		"a policy that nobody has":           {strings.TrimSuffix(policy(allow), attach), `Policy "p": metadata.name: no User, Group or Role`},
		"a method in lower case":             {policy(rule("allow", "methods: [get], paths: [/a]")), `spec.rules[0].methods: "get" never matches "GET"`},
		"a method of one's own":              {policy(rule("allow", "methods: [mkCol], paths: [/a]")), ""},
		"an allow that the same deny covers": {policy(allow + "," + rule("deny", get)), "spec.rules[0]: never allows anything: rules[1]"},
		"one that a wider deny covers":       {policy(rule("deny", "methods: ['*'], paths: ['/**']") + "," + allow), "spec.rules[1]: never allows anything"},
		"a deny with a condition":            {policy(allow + "," + rule("deny", get+", when: \"user.name == 'x'\"")), ""},
		"a deny of other methods":            {policy(allow + "," + rule("deny", "methods: [PUT], paths: ['/**']")), ""},
		"a deny of other hosts":              {policy(allow + "," + rule("deny", get+", hosts: [x.example]")), ""},
		"a deny of one of the hosts":         {policy(rule("allow", get+", hosts: [x.example, y.example]") + "," + rule("deny", get+", hosts: [x.example]")), ""},
		"a deny of any host":                 {policy(rule("allow", get+", hosts: [x.example]") + "," + rule("deny", get)), "never allows"},
		"a deny of proxies, for the API":     {policy(rule("allow", get+", hosts: ['system:api']") + "," + rule("deny", get)), ""},
		"a role that nobody has":             {"kind: Role\nmetadata: {name: r}\n", `Role "r": metadata.name: nobody has this role`},
		"a role of a claim":                  {"kind: Role\nmetadata: {name: r}\nspec: {claims: [x]}\n", ""},
		"a governing role without use":       {"kind: Role\nmetadata: {name: r}\nspec: {governing: true}\n", "no delegation"},
		"a service's roles": {
			"kind: Role\nmetadata: {name: r}\n---\nkind: Role\nmetadata: {name: g}\nspec: {governing: true}\n" +
				"---\nkind: ServiceAccount\nmetadata: {name: s}\nspec: {role: r, delegation: [{role: g, users: ['*']}]}\n", "",
		},
		"everybody of one issuer":  {everybody + "---\n" + policy(allow) + issuer("a"), ""},
		"everybody of two issuers": {everybody + "---\n" + policy(allow) + issuer("a") + issuer("b"), "any of the 2 issuers"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			text := "apiVersion: sallyport/v1\n" + strings.ReplaceAll(tt.docs, "---\n", "---\napiVersion: sallyport/v1\n")
			docs, err := manifest.Parse("x.yaml", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			problems := lint.Check(manifest.Entities(docs))
			switch {
			case tt.want == "" && len(problems) > 0:
				t.Errorf("found %v", problems)
			case tt.want != "" && (len(problems) != 1 || !strings.Contains(problems.Error(), tt.want)):
				t.Errorf("found %v, want %q", problems, tt.want)
			}
		})
	}
}
