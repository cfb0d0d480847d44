package directory_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
)

func TestCredentials(t *testing.T) {
	d, s := newDirectory(t)
	apply(t, d, library)
	before := load(t, d).Generation
	creds, err := d.CreateCredentials(t.Context(), model.Key{Kind: model.KindUser, Name: "eric"}, directory.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^SP[A-Z2-7]{18}$`).MatchString(creds.AccessKeyID) || len(creds.Secret.Reveal()) != 43 {
		t.Errorf("access key %q, secret of %d characters", creds.AccessKeyID, len(creds.Secret.Reveal()))
	}
	if got := load(t, d).Generation; got != before+1 {
		t.Errorf("generation %d, want %d", got, before+1)
	}
	other, err := d.CreateCredentials(t.Context(), model.Key{Kind: model.KindUser, Name: "sean"}, directory.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		id, secret, user string
	}{
		"right":                   {creds.AccessKeyID, creds.Secret.Reveal(), "eric"},
		"another user's":          {other.AccessKeyID, other.Secret.Reveal(), "sean"},
		"wrong secret":            {creds.AccessKeyID, "*" + creds.Secret.Reveal()[1:], ""},
		"another key's secret":    {creds.AccessKeyID, other.Secret.Reveal(), ""},
		"empty secret":            {creds.AccessKeyID, "", ""},
		"unknown key":             {"SPAAAAAAAAAAAAAAAAAA", creds.Secret.Reveal(), ""},
		"empty key":               {"", "", ""},
		"the secret's hash":       {creds.AccessKeyID, strings.Repeat("0", 64), ""},
		"a secret that is no end": {creds.AccessKeyID, strings.Repeat("x", 1<<20), ""},
	} {
		for _, dir := range []*directory.Directory{d, reopen(s)} {
			user, err := dir.Authenticate(t.Context(), tt.id, tt.secret)
			if user.Name != tt.user || (tt.user == "") != errors.Is(err, directory.ErrBadCredentials) {
				t.Errorf("%s: got %q and %v, want %q", name, user, err, tt.user)
			}
		}
	}
	if _, err := d.CreateCredentials(t.Context(), model.Key{Kind: model.KindUser, Name: "nobody"}, directory.Options{}); !errors.Is(err, directory.ErrNotFound) {
		t.Errorf("unknown user: got %v, want ErrNotFound", err)
	}
}

func TestSecretsAreNeitherStoredNorPrinted(t *testing.T) {
	d, s := newDirectory(t)
	creds, err := d.EnsureAdmin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range dump(t, s) {
		if strings.Contains(key+value, creds.Secret.Reveal()) {
			t.Errorf("key %q holds the secret", key)
		}
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(format, *creds); strings.Contains(got, creds.Secret.Reveal()) {
			t.Errorf("%s prints the secret", format)
		}
	}
	if got, err := json.Marshal(creds); err != nil || strings.Contains(string(got), creds.Secret.Reveal()) {
		t.Errorf("as JSON it shows the secret (%v)", err)
	}
}

func TestDeletingAUserDeletesItsCredentials(t *testing.T) {
	d, s := newDirectory(t)
	apply(t, d, library)
	creds, err := d.CreateCredentials(t.Context(), model.Key{Kind: model.KindUser, Name: "eric"}, directory.Options{})
	if err != nil {
		t.Fatal(err)
	}
	old := dump(t, s)
	if _, err := d.Delete(t.Context(), model.Key{Kind: model.KindUser, Name: "eric"}, directory.Options{}); err != nil {
		t.Fatal(err)
	}
	if keys := keysBelow(t, s, "auth/users/eric"); keys != nil {
		t.Errorf("left: %q", keys)
	}
	apply(t, d, "kind: User\nmetadata: {name: eric}")
	for key, value := range old { // as if a race had kept it
		if strings.Contains(key, "credentials") {
			put(t, s, key, value)
		}
	}
	for _, dir := range []*directory.Directory{d, reopen(s)} {
		if _, err := dir.Authenticate(t.Context(), creds.AccessKeyID, creds.Secret.Reveal()); !errors.Is(err, directory.ErrBadCredentials) {
			t.Errorf("got %v, want ErrBadCredentials", err)
		}
	}
}

func TestEnsureAdminMakesTheFirstUserOnce(t *testing.T) {
	d, s := newDirectory(t)
	creds, err := d.EnsureAdmin(t.Context())
	if err != nil || creds == nil {
		t.Fatalf("got %v and %v", creds, err)
	}
	if user, err := d.Authenticate(t.Context(), creds.AccessKeyID, creds.Secret.Reveal()); user.Name != directory.AdminName || err != nil {
		t.Errorf("got %q and %v", user, err)
	}
	rule := load(t, d).State.Policies[0].Rules[0]
	if rule.Effect != model.Allow || rule.Hosts[0] != "system:api" || len(rule.Hosts) != 1 {
		t.Errorf("got %+v", rule)
	}
	for range 2 {
		if again, err := reopen(s).EnsureAdmin(t.Context()); again != nil || err != nil {
			t.Errorf("again: got %v and %v", again, err)
		}
	}
	if _, err := d.Delete(t.Context(), model.Key{Kind: model.KindUser, Name: directory.AdminName}, directory.Options{Force: true}); err != nil {
		t.Fatal(err)
	}
	if again, err := d.EnsureAdmin(t.Context()); again != nil || err != nil {
		t.Errorf("after its deletion: got %v and %v", again, err)
	}
}

func TestEnsureAdminDoesNotTakeOverAUser(t *testing.T) {
	d, _ := newDirectory(t)
	apply(t, d, "kind: User\nmetadata: {name: admin}")
	creds, err := d.EnsureAdmin(t.Context())
	if creds != nil || err == nil || !strings.Contains(err.Error(), `User "admin" exists`) {
		t.Errorf("got %v and %v", creds, err)
	}
}
