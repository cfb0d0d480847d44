package directory_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
	"sallyport/host/internal/store"
	"sallyport/host/internal/store/mem"
	"sallyport/policydata"
)

// at opens a directory whose clock is later than testTime.
func at(s store.Store, later time.Duration) *directory.Directory {
	return directory.New(s, testChecks, func() time.Time { return testTime.Add(later) })
}

// expiring returns a token of the issuer idp that expires later than testTime.
func expiring(id string, later time.Duration) policydata.RevokedToken {
	return policydata.RevokedToken{Issuer: "idp", ID: id, Expires: testTime.Add(later).Unix()}
}

func revoke(t *testing.T, d *directory.Directory, r policydata.RevokedToken) directory.Result {
	t.Helper()
	result, err := d.Revoke(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func wantRevoked(t *testing.T, d *directory.Directory, want ...policydata.RevokedToken) {
	t.Helper()
	if diff := cmp.Diff(want, load(t, d).State.Revoked); diff != "" {
		t.Errorf("revoked (-want +got):\n%s", diff)
	}
}

func TestRevokeIsAGenerationAndIsThereAfterAStart(t *testing.T) {
	d, s := newDirectory(t)
	apply(t, d, library)
	odd := "a/b\x00\u00e4 " + strings.Repeat("x", 900)
	if r := revoke(t, d, expiring("t2", time.Hour)); r.Generation != 2 {
		t.Errorf("generation %d, want 2", r.Generation)
	}
	revoke(t, d, expiring("t1", time.Hour))
	revoke(t, d, expiring(odd, time.Hour))
	want := []policydata.RevokedToken{expiring(odd, time.Hour), expiring("t1", time.Hour), expiring("t2", time.Hour)}
	wantRevoked(t, d, want...)
	wantRevoked(t, reopen(s), want...)

	// Documents have no part in it.
	apply(t, d, "kind: User\nmetadata: {name: new}")
	wantRevoked(t, reopen(s), want...)
}

func TestRevokingAgainNeverEndsEarlier(t *testing.T) {
	d, s := newDirectory(t)
	apply(t, d, library)
	for i, tt := range []struct{ expires, want time.Duration }{
		{time.Hour, time.Hour},
		{time.Minute, time.Hour},
		{time.Hour, time.Hour},
		{2 * time.Hour, 2 * time.Hour},
	} {
		before := load(t, d).Generation
		r := revoke(t, d, expiring("t", tt.expires))
		if changes := i == 0 || i == 3; (r.Generation > before) != changes {
			t.Errorf("step %d: generation %d after %d", i, r.Generation, before)
		}
		wantRevoked(t, reopen(s), expiring("t", tt.want))
	}
}

func TestWhatCanNotBeRevoked(t *testing.T) {
	d, _ := newDirectory(t)
	apply(t, d, library)
	lifetime, skew := 24*time.Hour, 30*time.Second
	for name, tt := range map[string]struct {
		token policydata.RevokedToken
		field string
		want  string // "": it can
	}{
		"no jti":                           {expiring("", time.Hour), "jti", "spec.tokensNotBefore of the user ends all"},
		"a jti that is too long":           {expiring(strings.Repeat("x", 1025), time.Hour), "jti", "expected at most 1024 bytes, got 1025"},
		"expired, beyond the skew":         {expiring("t", -skew), "expires", "has expired at 2026-11-01T11:59:30Z"},
		"expired, within the skew":         {expiring("t", -skew+time.Second), "", ""},
		"no expiry":                        {policydata.RevokedToken{Issuer: "idp", ID: "t"}, "expires", "has expired at 1970"},
		"the longest that a good one has":  {expiring("t", lifetime+skew), "", ""},
		"longer than any good one has":     {expiring("t", lifetime+skew+time.Second), "expires", "outlives maxTokenLifetime (24h0m0s)"},
		"an expiry that the clock has not": {policydata.RevokedToken{Issuer: "idp", ID: "t", Expires: math.MaxInt64}, "expires", "outlives"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := d.Revoke(t.Context(), tt.token)
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var problems model.Problems
			if !errors.As(err, &problems) || len(problems) != 1 || problems[0].Field != tt.field || !strings.Contains(problems[0].Text, tt.want) {
				t.Errorf("got %v, want %s: %s", err, tt.field, tt.want)
			}
		})
	}
	if _, err := d.Revoke(t.Context(), policydata.RevokedToken{Issuer: "nobody", ID: "t", Expires: 1}); !errors.Is(err, directory.ErrNotFound) {
		t.Errorf("an unknown issuer: got %v, want ErrNotFound", err)
	}
}

func TestUnrevoke(t *testing.T) {
	d, s := newDirectory(t)
	apply(t, d, library)
	revoke(t, d, expiring("a", time.Hour))
	revoke(t, d, expiring("b", time.Hour))
	if r, err := d.Unrevoke(t.Context(), "idp", "a", directory.Options{}); err != nil || r.Generation != 4 {
		t.Errorf("got %+v, %v", r, err)
	}
	wantRevoked(t, reopen(s), expiring("b", time.Hour))
	for _, r := range [][2]string{{"idp", "a"}, {"idp", ""}, {"nobody", "b"}} {
		if _, err := d.Unrevoke(t.Context(), r[0], r[1], directory.Options{}); !errors.Is(err, directory.ErrNotFound) {
			t.Errorf("%q: got %v, want ErrNotFound", r, err)
		}
	}
	if _, err := d.Unrevoke(t.Context(), "idp", "b", directory.Options{}); err != nil {
		t.Fatal(err)
	}
	wantRevoked(t, d)
	if keys := keysBelow(t, s, "auth/issuers/idp/"); len(keys) > 0 {
		t.Errorf("left behind: %q", keys)
	}
}

func TestRevocationsAreCollectedOnceNoSkewKeepsTheTokenGood(t *testing.T) {
	_, s := newDirectory(t)
	apply(t, reopen(s), library)
	revoke(t, reopen(s), expiring("first", time.Minute))
	revoke(t, reopen(s), expiring("second", time.Hour))
	for _, tt := range []struct {
		later      time.Duration
		removed    int
		generation uint64
	}{
		{time.Minute, 0, 3},
		{time.Hour + time.Minute - time.Second, 0, 3},
		{time.Hour + time.Minute, 1, 4},
		{time.Hour + time.Minute, 0, 4},
		{24 * time.Hour, 1, 5},
	} {
		d := at(s, tt.later)
		removed, err := d.CollectRevoked(t.Context())
		if err != nil || removed != tt.removed || load(t, d).Generation != tt.generation {
			t.Errorf("after %s: removed %d, generation %d, %v; want %d, %d", tt.later, removed, load(t, d).Generation, err, tt.removed, tt.generation)
		}
	}
	wantRevoked(t, reopen(s))
}

func TestARecreatedIssuerGetsNoRevocationBack(t *testing.T) {
	d, s := newDirectory(t)
	const issuer = "kind: Issuer\nmetadata: {name: idp}\nspec: {issuer: \"https://idp\", audiences: [a], algorithms: [RS256], jwks: {inline: {keys: []}}}"
	apply(t, d, issuer)
	revoke(t, d, expiring("t", time.Hour))
	old := dump(t, s)
	if _, err := d.Delete(t.Context(), model.Key{Kind: model.KindIssuer, Name: "idp"}, directory.Options{}); err != nil {
		t.Fatal(err)
	}
	wantRevoked(t, d)
	if keys := keysBelow(t, s, "auth/"); len(keys) > 0 {
		t.Errorf("left behind: %q", keys)
	}
	plantRelations(t, s, old)
	d = reopen(s)
	apply(t, d, issuer)
	wantRevoked(t, reopen(s))
	if keys := keysBelow(t, s, "auth/issuers/idp/"); len(keys) > 0 {
		t.Errorf("not collected: %q", keys)
	}
}

func TestRevocationsAreBounded(t *testing.T) {
	s := mem.New()
	apply(t, reopen(s), library)
	var e struct{ ID string }
	if err := json.Unmarshal([]byte(dump(t, s)["auth/issuers/idp"]), &e); err != nil {
		t.Fatal(err)
	}
	fill(t, s, e.ID, policydata.MaxRevokedTokens, "")
	d := reopen(s)
	_, err := d.Revoke(t.Context(), expiring("one more", time.Hour))
	var problems model.Problems
	if !errors.As(err, &problems) || !strings.Contains(err.Error(), "100000 tokens are revoked, and there is no room for more") {
		t.Errorf("got %v", err)
	}
	revoke(t, d, expiring("t7", 2*time.Hour)) // one that is there
	removed, err := at(s, 26*time.Hour).CollectRevoked(t.Context())
	if err != nil || removed != 10_000 {
		t.Errorf("removed %d, %v; want 10000", removed, err)
	}
}

// Long ids of many tokens would be more than a snapshot can hold: no change could
// be published any more.
func TestTheIDsOfRevokedTokensAreBounded(t *testing.T) {
	s := mem.New()
	apply(t, reopen(s), library)
	var e struct{ ID string }
	if err := json.Unmarshal([]byte(dump(t, s)["auth/issuers/idp"]), &e); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", policydata.MaxTokenIDBytes-10)
	fill(t, s, e.ID, policydata.MaxSnapshotBytes/4/len(long), long)
	_, err := reopen(s).Revoke(t.Context(), expiring("one more", time.Hour))
	var problems model.Problems
	if !errors.As(err, &problems) || !strings.Contains(err.Error(), "there is no room for more") {
		t.Errorf("got %v", err)
	}
}

// fill plants n revoked tokens t0, t1, ... of idp, with more behind each.
func fill(t *testing.T, s store.Store, issuerID string, n int, more string) {
	t.Helper()
	err := s.Update(t.Context(), func(tx store.Tx) error {
		for i := range n {
			id := fmt.Sprint("t", i) + more
			value := fmt.Sprintf(`{"issuerId":%q,"jti":%q,"expires":%d}`, issuerID, id, testTime.Add(time.Hour).Unix())
			if err := tx.Put("auth/issuers/idp/revoked/"+digest(id), []byte(value)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func digest(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}
