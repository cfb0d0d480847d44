package model_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/host/internal/model"
)

var checks = model.Checks{
	Condition: func(string, []string, []string) error { return nil },
	Keys:      func([]byte) error { return nil },
}

func meta(name string) model.Metadata { return model.Metadata{Name: name} }

func issuer(name string, change func(*model.Issuer)) *model.Issuer {
	i := model.New(model.KindIssuer).(*model.Issuer)
	i.Metadata, i.Issuer = meta(name), "https://"+name
	i.Audiences, i.Algorithms = []string{"a"}, []string{"ES256"}
	i.JWKS.Inline = []byte(`{"keys":[]}`)
	change(i)
	return i
}

// stored is a valid state that documents are then put into.
func stored(t *testing.T) *model.State {
	t.Helper()
	docs := []model.Entity{
		&model.Role{Metadata: meta("runtime")},
		&model.Role{Metadata: meta("act"), Governing: true},
		&model.User{Metadata: meta("eric"), Email: "eric@example.org"},
		issuer("idp", func(*model.Issuer) {}),
		&model.ServiceAccount{
			Metadata: meta("mlops"), Role: "runtime",
			Identities: []model.Identity{{Issuer: "idp", Client: "c"}},
			Delegation: []model.Delegation{{Role: "act", Users: []string{model.AllUsers}}},
		},
	}
	s := (&model.State{}).With(docs)
	if err := s.Check(docs, checks); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestCheckSeesWhatADocumentBreaksElsewhere puts one document into a state that
// was valid before.
func TestCheckSeesWhatADocumentBreaksElsewhere(t *testing.T) {
	for name, tt := range map[string]struct {
		doc  model.Entity
		want string
	}{
		"a service's role becomes governing": {
			&model.Role{Metadata: meta("runtime"), Governing: true},
			`Role "runtime": spec.governing: Role "runtime" must not be governing: it is the role of ServiceAccount "mlops"`,
		},
		"a delegated role becomes not governing": {
			&model.Role{Metadata: meta("act")},
			`Role "act": spec.governing: Role "act" must be governing: it is delegated to ServiceAccount "mlops"`,
		},
		"an issuer with identities loses its client claim": {
			issuer("idp", func(i *model.Issuer) { i.Claims.Client = nil }),
			`Issuer "idp": spec.claims.client: ServiceAccount "mlops" has an identity of this issuer`,
		},
		"a client is of another service": {
			&model.ServiceAccount{Metadata: meta("a"), Role: "runtime", Identities: []model.Identity{{Issuer: "idp", Client: "c", Subject: "s"}}},
			`client "c" of Issuer "idp" is an identity of ServiceAccount "a"`,
		},
		"an email is another user's": {
			&model.User{Metadata: meta("adam"), Email: "eric@example.org"},
			`User "adam": spec.email: "eric@example.org" is taken by User "eric"`,
		},
		"a second issuer without prefixes": {
			issuer("b", func(*model.Issuer) {}),
			`Issuer "b": spec: Issuer "idp" could give out the same user and group names`,
		},
		"a second issuer with one prefix": {
			issuer("b", func(i *model.Issuer) { i.UsernamePrefix = "b:" }),
			`Issuer "b": spec: Issuer "idp" could give out the same user and group names`,
		},
		"a second issuer with prefixes":           {issuer("b", func(i *model.Issuer) { i.UsernamePrefix, i.GroupsPrefix = "b:", "b:" }), ""},
		"a second issuer with shared names":       {issuer("b", func(i *model.Issuer) { i.ShareNames = true }), ""},
		"the first issuer may be changed later":   {issuer("idp", func(i *model.Issuer) { i.UsernamePrefix = "x" }), ""},
		"the iss of another issuer":               {issuer("b", func(i *model.Issuer) { i.ShareNames, i.Issuer = true, "https://idp" }), `"https://idp" is the issuer of Issuer "idp"`},
		"an old user without what was taken":      {&model.User{Metadata: meta("eric")}, ""},
		"a delegation to an unknown user":         {&model.ServiceAccount{Metadata: meta("b"), Role: "runtime", Delegation: []model.Delegation{{Role: "act", Users: []string{"x"}}}}, `unknown User "x"`},
		"a service without role":                  {&model.ServiceAccount{Metadata: meta("b")}, "spec.role: must not be empty"},
		"a condition that can't be checked":       {&model.Policy{Metadata: meta("p")}, "spec.rules: expected at least one rule"},
		"a name that is not that of its kind":     {&model.User{Metadata: meta("system:authenticated")}, "metadata.name"},
		"a built-in group may exist":              {&model.Group{Metadata: meta("system:unauthenticated")}, ""},
		"a description in another encoding":       {&model.User{Metadata: model.Metadata{Name: "b", Description: "\xff"}}, "metadata.description: is not valid UTF-8"},
		"a description that is a book":            {&model.User{Metadata: model.Metadata{Name: "b", Description: strings.Repeat("x", 5000)}}, "expected at most 4096 bytes"},
		"an issuer that uses a system user name":  {issuer("idp", func(i *model.Issuer) { i.UsernamePrefix = "system:" }), `must not begin with "system:"`},
		"an issuer whose tokens never expire":     {issuer("idp", func(i *model.Issuer) { i.MaxTokenLifetime = 0 }), "spec.maxTokenLifetime"},
		"an issuer that does not check audiences": {issuer("idp", func(i *model.Issuer) { i.Audiences = nil }), "spec.audiences"},
	} {
		t.Run(name, func(t *testing.T) {
			docs := []model.Entity{tt.doc}
			err := stored(t).With(docs).Check(docs, checks)
			if tt.want == "" {
				if err != nil {
					t.Errorf("got %v, want no error", err)
				}
				return
			}
			var problems model.Problems
			if !errors.As(err, &problems) || len(problems) != 1 || !strings.Contains(problems[0].String(), tt.want) {
				t.Errorf("got %v, want one problem with %q", err, tt.want)
			}
		})
	}
}

func TestCheckRefusesWhatItCanNotCheck(t *testing.T) {
	docs := []model.Entity{
		&model.Policy{Metadata: meta("p"), Rules: []model.Rule{{Effect: model.Deny, Methods: []string{"*"}, Paths: []string{"/**"}, When: "true"}}},
		issuer("idp", func(*model.Issuer) {}),
	}
	err := (&model.State{}).With(docs).Check(docs, model.Checks{})
	for _, want := range []string{"spec.rules[0].when: conditions can't be checked here", "spec.jwks.inline: keys can't be checked here"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}

func TestConditionsGetWhatAllPatternsCapture(t *testing.T) {
	var paths, hosts []string
	c := model.Checks{Condition: func(_ string, p, h []string) error { paths, hosts = p, h; return nil }}
	docs := []model.Entity{&model.Policy{Metadata: meta("p"), Rules: []model.Rule{{
		Effect: model.Allow, Methods: []string{"*"}, When: "true",
		Paths: []string{"/{a}/{b}/{c}", "/x/{c}/{a}"}, Hosts: []string{"{t}.example.org"},
	}}}}
	if err := (&model.State{}).With(docs).Check(docs, c); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]string{{"a", "c"}, {"t"}}, [][]string{paths, hosts}); diff != "" {
		t.Errorf("captures (-want +got):\n%s", diff)
	}
}

func TestWithSharesWhatDidNotChange(t *testing.T) {
	s := stored(t)
	same := &model.User{Metadata: meta("eric"), Email: "eric@example.org", Policies: []string{}}
	other := &model.Role{Metadata: meta("runtime"), Claims: []string{"b", "a"}}
	next := s.With([]model.Entity{same, other})
	if next.Users[0] != s.Users[0] {
		t.Error("an equal document took the place of what was there")
	}
	if next.Roles[1] == s.Roles[1] || s.Roles[1].Claims != nil {
		t.Error("a changed document changed what was there in place")
	}
	if diff := cmp.Diff([]string{"a", "b"}, next.Roles[1].Claims); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	if other.Claims[0] != "b" {
		t.Error("the document was changed")
	}
}
