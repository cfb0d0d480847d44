package token_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/policydata"
	"sallyport/policydata/token"
)

func TestMap(t *testing.T) {
	many := func(n int) string {
		names := make([]string, n)
		for i := range names {
			names[i] = fmt.Sprintf(`"g%d"`, i)
		}
		return "[" + strings.Join(names, ",") + "]"
	}
	tests := []struct {
		name   string
		change func(*policydata.Issuer)
		claims string                     // beside "sub":"eric"
		want   func(*policydata.Identity) // nil: bad_token
	}{
		{"groups: an array", nil, `"groups":["a","b"]`, groups("a", "b")},
		{"groups: separated by spaces", nil, `"groups":" a  b "`, groups("a", "b")},
		{"groups: repeated ones count once", nil, `"groups":["a","b","a"]`, groups("a", "b")},
		{"groups: absent", nil, `"x":1`, groups()},
		{"groups: null", nil, `"groups":null`, groups()},
		{"groups: number, object, bool are ignored", nil, `"groups":{"a":"b"}`, groups()},
		{"groups: entries that are no strings are ignored", nil, `"groups":[1,null,"a",["b"],{"c":"d"},true]`, groups("a")},
		{"groups: empty and star are ignored", nil, `"groups":["","*","a"]`, groups("a")},
		{"groups: of the system are ignored", nil, `"groups":["system:authenticated","system:","a"]`, groups("a")},
		{"groups: of the system, escaped, are ignored", nil, `"groups":["\u0073ystem:authenticated"]`, groups()},
		{"groups: no valid names stay", nil, `"groups":["a/b","..","*a"]`, groups("a/b", "..", "*a")},
		{"groups: a space in an array entry stays", nil, `"groups":["a b"]`, groups("a b")},
		{"groups: as many as allowed", nil, `"groups":` + many(token.MaxMapped), func(i *policydata.Identity) {
			for n := range token.MaxMapped {
				i.Groups = append(i.Groups, fmt.Sprintf("g%d", n))
			}
		}},
		{"groups: too many", nil, `"groups":` + many(token.MaxMapped+1), nil},
		{"groups: union over the paths", func(i *policydata.Issuer) {
			i.GroupsClaims = [][]string{{"groups"}, {"x"}, {"y", "z"}}
		}, `"groups":["a"],"x":"b a","y":{"z":["c"]}`, groups("a", "b", "c")},
		{"groups: prefix", func(i *policydata.Issuer) { i.GroupsPrefix = "kc:" }, `"groups":["a","system:a","","*"]`, groups("kc:a")},
		{"groups: trim once, before the prefix", func(i *policydata.Issuer) {
			i.TrimGroup, i.GroupsPrefix = "/", "kc:"
		}, `"groups":["/a","//b","c","/","/*","/system:d","/bar/foo"]`, groups("kc:a", "kc:/b", "kc:c", "kc:bar/foo")},
		{"groups: the prefix can't make a system name", func(i *policydata.Issuer) { i.GroupsPrefix = "sys" }, `"groups":["tem:a"]`, groups()},

		{"jti: a string", nil, `"jti":"t-1"`, func(i *policydata.Identity) { i.TokenID = "t-1" }},
		{"jti: null is absent", nil, `"jti":null`, groups()},
		{"jti: by a number no token could be revoked", nil, `"jti":1`, nil},

		{"roles: a nested path", nil, `"realm_access":{"roles":["r","system:r"]}`, func(i *policydata.Identity) { i.Roles = []string{"r"} }},
		{"roles: a path through no object", nil, `"realm_access":["roles"]`, groups()},
		{"roles: too many", nil, `"realm_access":{"roles":` + many(token.MaxMapped+1) + `}`, nil},

		{"names with dots, stars and pipes are plain", func(i *policydata.Issuer) {
			i.GroupsClaims = [][]string{{"https://x.example/groups"}, {"a.b", "*"}, {"#|@this"}}
		}, `"https://x.example/groups":["a"],"a.b":{"*":["b"]},"#|@this":["c"],"a":{"b":{"*":["d"]}}`, groups("a", "b", "c")},
		{"names are compared unescaped", nil, `"gr\u006fups":["a"]`, groups("a")},
		{"names are compared in their case", nil, `"Groups":["a"]`, groups()},

		{"user: the first path that is present", func(i *policydata.Issuer) {
			i.UsernameClaims = [][]string{{"x"}, {"preferred_username"}, {"sub"}}
		}, `"x":null,"preferred_username":"bob"`, func(i *policydata.Identity) { i.User = "bob" }},
		{"user: a wrong type does not fall to the next path", func(i *policydata.Issuer) {
			i.UsernameClaims = [][]string{{"x"}, {"sub"}}
		}, `"x":1`, nil},
		{"user: empty does not fall to the next path", func(i *policydata.Issuer) {
			i.UsernameClaims = [][]string{{"x"}, {"sub"}}
		}, `"x":""`, nil},
		{"user: prefix", func(i *policydata.Issuer) { i.UsernamePrefix = "kc:" }, `"x":1`, func(i *policydata.Identity) { i.User = "kc:eric" }},
		{"user: star", user, `"x":"*"`, nil},
		{"user: slash", user, `"x":"a/b"`, nil},
		{"user: two dots", user, `"x":".."`, nil},
		{"user: control character", user, `"x":"a\u0000"`, nil},
		{"user: of the system", user, `"x":"system:a"`, nil},
		{"user: of the system behind a prefix", func(i *policydata.Issuer) {
			user(i)
			i.UsernamePrefix = "k8s:"
		}, `"x":"system:serviceaccount:a:b"`, nil},
		{"user: the prefix can't make a system name", func(i *policydata.Issuer) {
			user(i)
			i.UsernamePrefix = "sys"
		}, `"x":"tem:a"`, nil},
		{"user: too long", user, `"x":"` + strings.Repeat("a", 257) + `"`, nil},

		{"client: the first path that is present", nil, `"client_id":"b","azp":"a"`, func(i *policydata.Identity) { i.Client = "a" }},
		{"client: the next path", nil, `"client_id":"b","azp":null`, func(i *policydata.Identity) { i.Client = "b" }},
		{"client: a wrong type", nil, `"azp":["a"]`, nil},

		{"act: with sub", nil, `"act":{"sub":"svc"}`, actor("svc")},
		{"act: the outermost actor only", nil, `"act":{"sub":"svc","act":{"sub":"x"}}`, actor("svc")},
		{"act: without sub", nil, `"act":{}`, actor("")},
		{"act: a wrong sub", nil, `"act":{"sub":["svc"]}`, actor("")},
		{"act: a string", nil, `"act":"svc"`, actor("")},
		{"act: null", nil, `"act":null`, actor("")},

		{"settings of the issuer", func(i *policydata.Issuer) { i.Own, i.RequireKnownUser = true, true }, `"iat":7.9`, func(i *policydata.Identity) {
			i.Own, i.RequireKnownUser, i.IssuedAt = true, true, 7
		}},
		{"no token checks", nil, `"iss":"x","exp":0,"nbf":"x","aud":{}`, groups()},
		{"a name twice", nil, `"groups":["a"],"groups":["b"]`, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			issuer := testIssuer()
			if test.change != nil {
				test.change(&issuer)
			}
			got, reason := token.Map(&issuer, `{"sub":"eric",`+test.claims+`}`)
			want, wantReason := policydata.Identity{}, policydata.ReasonBadToken
			if test.want != nil {
				wantReason = policydata.ReasonAllowed
				want = policydata.Identity{Authenticated: true, Issuer: "idp", Iss: issuer.Issuer, Subject: "eric", User: "eric"}
				test.want(&want)
			}
			if reason != wantReason {
				t.Errorf("got %v, want %v", reason, wantReason)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func groups(names ...string) func(*policydata.Identity) {
	return func(i *policydata.Identity) { i.Groups = names }
}

func actor(name string) func(*policydata.Identity) {
	return func(i *policydata.Identity) { i.HasActor, i.Actor = true, name }
}

// user takes the user name from the claim "x".
func user(i *policydata.Issuer) { i.UsernameClaims = [][]string{{"x"}} }

func TestMapRefusesWhatIsNoObject(t *testing.T) {
	issuer := testIssuer()
	for _, payload := range []string{"", "null", `"x"`, "[]", "{", `{"sub":1}`, `{"sub":["eric"]}`, `{"sub":null}`} {
		if _, reason := token.Map(&issuer, payload); reason != policydata.ReasonBadToken {
			t.Errorf("%s: %v", payload, reason)
		}
	}
}
