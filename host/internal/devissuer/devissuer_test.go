package devissuer

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/policydata"
	"sallyport/policydata/token"
)

var now = time.Unix(1_800_000_000, 0)

func open(t testing.TB, dir string) *Issuer {
	t.Helper()
	issuer, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return issuer
}

func verifier(t testing.TB, issuer *Issuer) *token.Verifier {
	t.Helper()
	v, err := token.NewVerifier([]policydata.Issuer{issuer.Source()})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestMintedTokensVerify(t *testing.T) {
	issuer := open(t, t.TempDir())
	v := verifier(t, issuer)
	for _, alg := range []string{"RS256", "ES256"} {
		t.Run(alg, func(t *testing.T) {
			raw, err := issuer.Mint(MintRequest{
				User: "eric", Groups: []string{"foo"}, TTL: time.Hour, Alg: alg, Now: now,
				Claims: map[string]json.RawMessage{"azp": json.RawMessage(`"cli"`), "roles": json.RawMessage(`["r"]`), "jti": json.RawMessage(`"id"`)},
			})
			if err != nil {
				t.Fatal(err)
			}
			got, claims, reason := v.Verify(raw, now.Unix())
			want := policydata.Identity{
				Authenticated: true, Issuer: Name, Iss: Iss, Subject: "eric", User: "eric", Client: "cli",
				Groups: []string{"foo"}, Roles: []string{"r"}, IssuedAt: now.Unix(), TokenID: "id",
			}
			if diff := cmp.Diff(want, got); diff != "" || reason != policydata.ReasonAllowed {
				t.Errorf("%v\n%s", reason, diff)
			}
			if want := now.Unix() + 3600 + clockSkew; claims.Expires != want {
				t.Errorf("expires %d, want %d", claims.Expires, want)
			}
		})
	}
}

func TestMintClaimsReplace(t *testing.T) {
	issuer := open(t, t.TempDir())
	v := verifier(t, issuer)
	for claim, want := range map[string]policydata.Reason{
		`exp=1`:            policydata.ReasonExpired,
		`nbf=1900000000`:   policydata.ReasonNotYetValid,
		`aud="x"`:          policydata.ReasonBadAudience,
		`iss="x"`:          policydata.ReasonUnknownIssuer,
		`sub=null`:         policydata.ReasonBadToken,
		`sub="other"`:      policydata.ReasonAllowed,
		`a.b={"c":[1.50]}`: policydata.ReasonAllowed,
	} {
		name, value, _ := strings.Cut(claim, "=")
		raw, err := issuer.Mint(MintRequest{
			User: "eric", TTL: time.Minute, Alg: "ES256", Now: now,
			Claims: map[string]json.RawMessage{name: json.RawMessage(value)},
		})
		if err != nil {
			t.Fatal(err)
		}
		_, claims, reason := v.Verify(raw, now.Unix())
		if reason != want {
			t.Errorf("%s: got %v, want %v", claim, reason, want)
		}
		if reason == policydata.ReasonAllowed && !strings.Contains(claims.Payload, `"`+name+`":`+value) {
			t.Errorf("%s: not as it was given: %s", claim, claims.Payload)
		}
	}
}

func TestMintTokensDiffer(t *testing.T) {
	issuer := open(t, t.TempDir())
	r := MintRequest{User: "eric", TTL: time.Minute, Alg: "RS256", Now: now}
	first, err1 := issuer.Mint(r)
	second, err2 := issuer.Mint(r)
	if err1 != nil || err2 != nil || first == second {
		t.Errorf("two tokens with one jti: %v, %v", err1, err2)
	}
}

func TestMintRefuses(t *testing.T) {
	issuer := open(t, t.TempDir())
	tests := []struct {
		name   string
		change func(*MintRequest)
		want   string
	}{
		{"no user", func(r *MintRequest) { r.User = "" }, "must not be empty"},
		{"a user of the system", func(r *MintRequest) { r.User = "system:admin" }, `must not begin with "system:"`},
		{"no ttl", func(r *MintRequest) { r.TTL = 0 }, "ttl 0s"},
		{"a ttl that would be refused", func(r *MintRequest) { r.TTL = 25 * time.Hour }, "to 24h0m0s"},
		{"another algorithm", func(r *MintRequest) { r.Alg = "HS256" }, "RS256 and ES256"},
		{"a claim that is no JSON", func(r *MintRequest) { r.Claims["a"] = json.RawMessage("x") }, `claim "a": invalid JSON at byte 0`},
		{"a claim with a name twice", func(r *MintRequest) { r.Claims["a"] = json.RawMessage(`{"b":1,"b":2}`) }, "stands twice"},
		{"an empty claim", func(r *MintRequest) { r.Claims["a"] = nil }, `claim "a"`},
		{"too large", func(r *MintRequest) { r.Groups = []string{strings.Repeat("a", token.MaxTokenBytes)} }, "at most 16384"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := MintRequest{User: "eric", TTL: time.Hour, Alg: "ES256", Now: now, Claims: map[string]json.RawMessage{}}
			test.change(&r)
			if _, err := issuer.Mint(r); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestOpenKeepsItsKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first := open(t, dir)
	info, err := os.Stat(filepath.Join(dir, KeyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if diff := cmp.Diff(first.Keys(), open(t, dir).Keys()); diff != "" {
		t.Error(diff)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("files left behind: %v, %v", entries, err)
	}
}

// TestOpenAtOnce wants one set of keys, whoever comes first.
func TestOpenAtOnce(t *testing.T) {
	dir := t.TempDir()
	issuers := make([]*Issuer, 8)
	var group sync.WaitGroup
	for i := range issuers {
		group.Go(func() { issuers[i] = open(t, dir) })
	}
	group.Wait()
	for _, issuer := range issuers {
		if diff := cmp.Diff(issuers[0].Keys(), issuer.Keys()); diff != "" {
			t.Error(diff)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	good, err := newKeyFile()
	if err != nil {
		t.Fatal(err)
	}
	cut := strings.Index(string(good), "-----BEGIN PRIVATE KEY-----\n") + 1
	cut += strings.Index(string(good)[cut:], "-----BEGIN")
	tests := []struct {
		name, content string
		mode          os.FileMode
		want          string
	}{
		{"readable by others", string(good), 0o644, "mode 0644"},
		{"writable by the group", string(good), 0o620, "mode 0620"},
		{"empty", "", 0o600, "not two PKCS#8"},
		{"cut", string(good[:len(good)-40]), 0o600, "not two PKCS#8"},
		{"one key", string(good[:cut]), 0o600, "not two PKCS#8"},
		{"the keys in another order", string(good[cut:]) + string(good[:cut]), 0o600, "not two PKCS#8"},
		{"text in front", "x\n" + string(good), 0o600, "not two PKCS#8"},
		{"text behind", string(good) + "x", 0o600, "not two PKCS#8"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, KeyFile)
			if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, test.mode); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if content, err := os.ReadFile(path); err != nil || string(content) != test.content {
				t.Errorf("the file was changed: %v", err)
			}
		})
	}
	t.Run("a directory", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, KeyFile), 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("got %v", err)
		}
	})
}

func Example() {
	dir, err := os.MkdirTemp("", "devissuer")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	issuer, err := Open(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	raw, err := issuer.Mint(MintRequest{User: "eric", Groups: []string{"foo"}, TTL: time.Hour, Alg: "ES256", Now: now})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(token.VerifySignature(raw, issuer.Keys(), []string{"ES256"}))
	// Output: allowed
}
