package directory_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
	"sallyport/host/internal/store"
	"sallyport/host/internal/store/mem"
)

func proxyToken(t *testing.T, d *directory.Directory, n directory.NewProxyToken) (directory.ProxyToken, string) {
	t.Helper()
	made, text, err := d.CreateProxyToken(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return made, text.Reveal()
}

func TestProxyTokens(t *testing.T) {
	d, s := newDirectory(t)
	apply(t, d, library)
	one, text := proxyToken(t, d, directory.NewProxyToken{Name: "edge-1"})
	if !regexp.MustCompile(`^spx_[a-z2-7]{16}_[A-Za-z0-9_-]{43}$`).MatchString(text) || directory.ProxyTokenID(text) != one.ID {
		t.Errorf("the text's form is another; id %q", one.ID)
	}
	other, otherText := proxyToken(t, d, directory.NewProxyToken{Name: "prod", Fleet: true, TTL: time.Hour})
	if other.Expires.Sub(other.Created) != time.Hour || !one.Expires.IsZero() {
		t.Errorf("expire at %v and %v", one.Expires, other.Expires)
	}
	for name, tt := range map[string]struct{ text, id string }{
		"right":                  {text, one.ID},
		"a fleet's":              {otherText, other.ID},
		"another secret":         {text[:len(text)-1] + "*", ""},
		"another's secret":       {text[:21] + otherText[21:], ""},
		"no secret":              {text[:21], ""},
		"unknown":                {"spx_aaaaaaaaaaaaaaaa_" + text[21:], ""},
		"empty":                  {"", ""},
		"its hash":               {text[:21] + strings.Repeat("0", 64), ""},
		"a text without an end":  {text + strings.Repeat("x", 1<<20), ""},
		"another prefix":         {"SP" + text[2:], ""},
		"an access key's secret": {text[21:], ""},
	} {
		for _, dir := range []*directory.Directory{d, reopen(s)} {
			got, err := dir.AuthenticateProxy(t.Context(), tt.text)
			if got.ID != tt.id || (tt.id == "") != errors.Is(err, directory.ErrBadCredentials) {
				t.Errorf("%s: got %q and %v, want %q", name, got.ID, err, tt.id)
			}
		}
	}
	if list, err := reopen(s).ProxyTokens(t.Context()); err != nil || len(list) != 2 {
		t.Errorf("listed: %v, %v", list, err)
	}
	if _, err := d.RevokeProxyToken(t.Context(), one.ID); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []*directory.Directory{d, reopen(s)} {
		if _, err := dir.AuthenticateProxy(t.Context(), text); !errors.Is(err, directory.ErrBadCredentials) {
			t.Errorf("revoked: %v", err)
		}
		if good, err := dir.GoodProxyTokens(t.Context(), []string{one.ID, other.ID}); err != nil || good[one.ID] || !good[other.ID] {
			t.Errorf("good: %v, %v", good, err)
		}
	}
	if _, err := d.RevokeProxyToken(t.Context(), one.ID); !errors.Is(err, directory.ErrNotFound) {
		t.Errorf("revoked twice: %v", err)
	}
}

func TestWhatATokenIsNot(t *testing.T) {
	d, _ := newDirectory(t)
	for name, tt := range map[string]struct {
		n    directory.NewProxyToken
		want string
	}{
		"without a name":          {directory.NewProxyToken{}, "want 1 to 256 bytes"},
		"of a long name":          {directory.NewProxyToken{Name: strings.Repeat("x", 257)}, "want 1 to 256 bytes"},
		"of control characters":   {directory.NewProxyToken{Name: "a\x1b[2J"}, "control characters"},
		"of C1 characters":        {directory.NewProxyToken{Name: "a\u009b2J"}, "control characters"},
		"of no UTF-8":             {directory.NewProxyToken{Name: "a\xff"}, "want UTF-8"},
		"that has expired":        {directory.NewProxyToken{Name: "a", TTL: -time.Hour}, "want a time to live"},
		"that expires at once":    {directory.NewProxyToken{Name: "a", TTL: time.Millisecond}, "want a time to live"},
		"that outlives everybody": {directory.NewProxyToken{Name: "a", TTL: 100 * 366 * 24 * time.Hour}, "want a time to live"},
	} {
		_, _, err := d.CreateProxyToken(t.Context(), tt.n)
		if problems := model.Problems(nil); !errors.As(err, &problems) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

func TestExpiredProxyTokensAreListedForAWhile(t *testing.T) {
	now := time.Now()
	s := mem.New()
	d := directory.New(s, model.Checks{}, func() time.Time { return now })
	_, text := proxyToken(t, d, directory.NewProxyToken{Name: "a", TTL: time.Hour})
	proxyToken(t, d, directory.NewProxyToken{Name: "b"})
	now = now.Add(time.Hour)
	if _, err := d.AuthenticateProxy(t.Context(), text); !errors.Is(err, directory.ErrBadCredentials) {
		t.Errorf("expired: %v", err)
	}
	collect := func(want, left int) {
		t.Helper()
		before := load(t, d).Generation
		removed, err := d.CollectProxyTokens(t.Context())
		list, err2 := d.ProxyTokens(t.Context())
		if removed != want || len(list) != left || err != nil || err2 != nil || load(t, d).Generation != before+uint64(want) {
			t.Errorf("removed %d, left %d, %v, %v", removed, len(list), err, err2)
		}
	}
	collect(0, 2)
	now = now.Add(8 * 24 * time.Hour)
	collect(1, 1)
	collect(0, 1)
}

// A token is good before the second at which it expires, and not in it.
func TestATokenHasExpiredAtItsEnd(t *testing.T) {
	end := time.Unix(1_800_000_000, 0)
	token := directory.ProxyToken{Expires: end}
	if token.Expired(end.Add(-1)) || !token.Expired(end) || (directory.ProxyToken{}).Expired(end) {
		t.Error("another end")
	}
}

func TestProxyTokensAreBounded(t *testing.T) {
	const most = 10_000
	d, s := newDirectory(t)
	first, _ := proxyToken(t, d, directory.NewProxyToken{Name: "first"})
	ids := "abcdefghijklmnopqrstuvwxyz234567"
	err := s.Update(t.Context(), func(tx store.Tx) error {
		for i := range most - 1 {
			id := strings.Repeat("a", 13) + string([]byte{ids[i/32/32], ids[i/32%32], ids[i%32]})
			if err := tx.Put("auth/proxytokens/"+id, []byte(`{"name":"x","sha256":"","created":1}`)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	d = reopen(s)
	if _, _, err := d.CreateProxyToken(t.Context(), directory.NewProxyToken{Name: "x"}); err == nil || !strings.Contains(err.Error(), "there can't be more") {
		t.Errorf("one more than there can be: %v", err)
	}
	if _, err := d.RevokeProxyToken(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	proxyToken(t, d, directory.NewProxyToken{Name: "in its place"})
}

func TestProxyTokensAreAuditedWithoutTheirText(t *testing.T) {
	d, s := newDirectory(t)
	made, text := proxyToken(t, d, directory.NewProxyToken{Name: "edge-1", Fleet: true})
	if _, err := d.RevokeProxyToken(t.Context(), made.ID); err != nil {
		t.Fatal(err)
	}
	found, err := d.Audit(t.Context(), directory.AuditQuery{Amount: 10, Oldest: true})
	if err != nil || len(found.Records) != 2 {
		t.Fatalf("%+v, %v", found, err)
	}
	created, revoked := found.Records[0], found.Records[1]
	if created.Operation != directory.ProxyTokenCreated || created.Name != "edge-1" || !strings.Contains(string(created.After), `"id":"`+made.ID+`"`) ||
		revoked.Operation != directory.ProxyTokenRevoked || revoked.Name != "edge-1" || !strings.Contains(string(revoked.Before), made.ID) {
		t.Errorf("%+v\n%+v", created, revoked)
	}
	for _, r := range found.Records {
		if digest := sha256.Sum256([]byte(text)); strings.Contains(string(r.Before)+string(r.After), hex.EncodeToString(digest[:])) {
			t.Errorf("%s shows the hash", r.Operation)
		}
	}
	err = s.View(t.Context(), func(r store.Reader) error {
		pairs, err := r.Scan("", "", 0)
		for _, p := range pairs {
			if strings.Contains(p.Key+string(p.Value), text[21:]) {
				t.Errorf("%s has the secret", p.Key)
			}
		}
		if len(pairs) == 0 {
			t.Error("nothing is stored")
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
