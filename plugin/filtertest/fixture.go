package filtertest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"sallyport/policydata"
	"sallyport/policydata/delta"
	"sallyport/policydata/pluginconfig"
)

const (
	issuerURL = "https://idp.example.com"
	audience  = "workspace-api"
)

// Fixture is a host's side: keys, policies, tokens. Everything that a token or
// a policy is called is unusual enough to be looked for where it must not be.
type Fixture struct {
	signer, stranger *ecdsa.PrivateKey // of snapshots; the stranger is not trusted
	rsa, forger      *rsa.PrivateKey   // of tokens; the forger is not known
	ec               *ecdsa.PrivateKey
	tokens           *strings.Replacer
	raw              map[string]string
}

// NewFixture makes keys and mints the tokens of the table.
func NewFixture(t testing.TB) *Fixture {
	t.Helper()
	f := &Fixture{signer: newEC(t), stranger: newEC(t), ec: newEC(t), rsa: newRSA(t), forger: newRSA(t)}
	f.mint(t)
	return f
}

func newEC(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newRSA(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func spki(t testing.TB, public crypto.PublicKey) []byte {
	t.Helper()
	b, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// mint makes the tokens that requests name, such as {eric}.
func (f *Fixture) mint(t testing.TB) {
	now := time.Now().Unix()
	claims := func(user, group string, change ...any) jwt.MapClaims {
		c := jwt.MapClaims{"iss": issuerURL, "aud": audience, "sub": user, "groups": []string{group}, "iat": now - 60, "exp": now + 3600}
		for i := 0; i < len(change); i += 2 {
			c[change[i].(string)] = change[i+1]
		}
		return c
	}
	f.raw = map[string]string{
		"eric":           sign(t, jwt.SigningMethodRS256, f.rsa, claims("eric", "foo")),
		"eric-es256":     sign(t, jwt.SigningMethodES256, f.ec, claims("eric", "foo")),
		"odd":            sign(t, jwt.SigningMethodES256, f.ec, claims("o'dd, \"ü\" 100%", "a,b", "groups", []string{"a,b", "foo", "x\r\ny"})),
		"bob":            sign(t, jwt.SigningMethodRS256, f.rsa, claims("bob", "bar")),
		"mallory":        sign(t, jwt.SigningMethodRS256, f.rsa, claims("mallory", "foo")),
		"rita":           sign(t, jwt.SigningMethodRS256, f.rsa, claims("rita", "foo")),
		"stolen":         sign(t, jwt.SigningMethodRS256, f.rsa, claims("eric", "foo", "jti", "t-1")),
		"not-stolen":     sign(t, jwt.SigningMethodRS256, f.rsa, claims("eric", "foo", "jti", "t-2")),
		"tenant":         sign(t, jwt.SigningMethodES256, f.ec, claims("eric", "foo", "tenant", map[string]any{"id": "a, b\r\nx-admin: 1"}, "email", "eric@example.org", "plans", []any{"x", 2, true})),
		"no-tenant":      sign(t, jwt.SigningMethodES256, f.ec, claims("eric", "foo", "tenant", "a", "plans", []any{map[string]int{"x": 1}}, "email", nil)),
		"expired":        sign(t, jwt.SigningMethodRS256, f.rsa, claims("eric", "foo", "exp", now-600)),
		"early":          sign(t, jwt.SigningMethodRS256, f.rsa, claims("eric", "foo", "nbf", now+600)),
		"other-audience": sign(t, jwt.SigningMethodRS256, f.rsa, claims("eric", "foo", "aud", "other")),
		"other-issuer":   sign(t, jwt.SigningMethodRS256, f.rsa, claims("eric", "foo", "iss", "https://evil.example")),
		"forged":         sign(t, jwt.SigningMethodRS256, f.forger, claims("eric", "foo")),
		"null-exp":       sign(t, jwt.SigningMethodRS256, f.rsa, claims("eric", "foo", "exp", nil)),
		"stranger-act":   sign(t, jwt.SigningMethodRS256, f.rsa, claims("eric", "foo", "act", map[string]string{"sub": "nobody"})),
		"huge":           "eyJ" + strings.Repeat("h", 1<<19),
	}
	var pairs []string
	for name, raw := range f.raw {
		pairs = append(pairs, "{"+name+"}", raw)
	}
	f.tokens = strings.NewReplacer(pairs...)
}

func sign(t testing.TB, method jwt.SigningMethod, key any, claims jwt.MapClaims) string {
	t.Helper()
	return signAs(t, method, method.Alg(), key, claims)
}

func signAs(t testing.TB, method jwt.SigningMethod, kid string, key any, claims jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	token.Header["kid"] = kid
	raw, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TokenIn returns the name of a token of which a part shows in text: of its
// payload or its signature, which no log may hold. It returns "" if there is
// none.
func (f *Fixture) TokenIn(text string) string {
	const size, step, limit = 24, 12, 4096
	for name, raw := range f.raw {
		_, secret, ok := strings.Cut(raw, ".")
		if !ok {
			secret = raw
		}
		for at := 0; at+size <= min(len(secret), limit); at += step {
			if strings.Contains(text, secret[at:at+size]) {
				return name
			}
		}
	}
	return ""
}

// CheckNoToken fails where a part of a token shows in text.
func (f *Fixture) CheckNoToken(t testing.TB, text string) {
	t.Helper()
	if name := f.TokenIn(text); name != "" {
		t.Errorf("a part of token %q shows in: %.200q", name, text)
	}
}

// Source is the story's policies with what the table needs beside.
func (f *Fixture) Source(t testing.TB) policydata.Source {
	rule := func(effect policydata.Effect, when *policydata.Expr, paths ...string) []policydata.Rule {
		return []policydata.Rule{{Effect: effect, Methods: []string{"*"}, Paths: paths, When: when}}
	}
	inGroups := &policydata.Expr{Op: policydata.OpIn, Args: []*policydata.Expr{
		{Op: policydata.OpPathVar, Str: "team"},
		{Op: policydata.OpVar, Int: int64(policydata.VarTokenGroups)},
	}}
	return policydata.Source{
		Epoch: 1, Generation: 7, Created: time.Now().Unix(),
		Policies: []policydata.Policy{
			{Name: "zz-public", Rules: rule(policydata.EffectAllow, nil, "/healthz")},
			{Name: "zz-own-workspace", Rules: rule(policydata.EffectAllow, inGroups, "/workspaces/{team}/**")},
			{Name: "zz-locked", Rules: rule(policydata.EffectDeny, nil, "/workspaces/*/locked")},
		},
		Users: []policydata.User{
			{Name: "eric"},
			{Name: "mallory", Disabled: true},
			{Name: "rita", TokensNotBefore: time.Now().Unix()},
		},
		Groups: []policydata.Group{
			{Name: policydata.GroupAuthenticated, Policies: []string{"zz-public", "zz-own-workspace", "zz-locked"}},
			{Name: policydata.GroupUnauthenticated, Policies: []string{"zz-public"}},
		},
		Issuers: []policydata.Issuer{{
			Name: "idp", Issuer: issuerURL, Audiences: []string{audience}, Algorithms: []string{"RS256", "ES256"},
			Keys: []policydata.Key{
				{ID: "RS256", SPKI: spki(t, &f.rsa.PublicKey)},
				{ID: "ES256", SPKI: spki(t, &f.ec.PublicKey)},
			},
			UsernameClaims: [][]string{{"sub"}}, GroupsClaims: [][]string{{"groups"}},
			ClockSkew: 30, MaxTokenLifetime: 24 * 3600,
		}},
		Revoked: []policydata.RevokedToken{{Issuer: "idp", ID: "t-1", Expires: time.Now().Unix() + 3600}},
	}
}

// Config is a configuration with the snapshot of a source that change has
// changed; nil changes nothing.
func (f *Fixture) Config(t testing.TB, change func(*policydata.Source)) pluginconfig.Config {
	t.Helper()
	src := f.Source(t)
	if change != nil {
		change(&src)
	}
	return pluginconfig.Config{
		TrustedKeys: [][]byte{spki(t, &f.signer.PublicKey)},
		Snapshot:    snapshot(t, f.signer, src),
	}
}

// ForeignConfig is a configuration whose snapshot the stranger signed. The
// stranger is trusted only where own is true, and then nobody else is.
func (f *Fixture) ForeignConfig(t testing.TB, own bool, change func(*policydata.Source)) pluginconfig.Config {
	t.Helper()
	src := f.Source(t)
	if change != nil {
		change(&src)
	}
	trusted := f.signer
	if own {
		trusted = f.stranger
	}
	return pluginconfig.Config{
		TrustedKeys: [][]byte{spki(t, &trusted.PublicKey)},
		Snapshot:    snapshot(t, f.stranger, src),
	}
}

func snapshot(t testing.TB, key *ecdsa.PrivateKey, src policydata.Source) []byte {
	t.Helper()
	body, err := policydata.Build(src)
	if err != nil {
		t.Fatal(err)
	}
	return Sign(t, key, body)
}

// Sign completes a snapshot's body.
func Sign(t testing.TB, key *ecdsa.PrivateKey, body []byte) []byte {
	t.Helper()
	digest := sha256.Sum256(body)
	sig, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return policydata.AppendSignature(body, "test", sig)
}

// Resign signs a snapshot again whose body change has changed.
func (f *Fixture) Resign(t testing.TB, src policydata.Source, change func(body []byte)) []byte {
	t.Helper()
	body, err := policydata.Build(src)
	if err != nil {
		t.Fatal(err)
	}
	change(body)
	return Sign(t, f.signer, body)
}

// fill puts tokens in the place of their names.
func (f *Fixture) fill(headers [][2]string) [][2]string {
	out := make([][2]string, len(headers))
	for i, h := range headers {
		out[i] = [2]string{h[0], f.tokens.Replace(h[1])}
	}
	return out
}

// Request returns the headers of a request, pseudo-headers first, with {name}
// in a value standing for the token of that name.
func (f *Fixture) Request(method, target string, headers ...[2]string) [][2]string {
	pseudo := [][2]string{{":method", method}, {":path", target}, {":scheme", "https"}, {":authority", "api.example.com"}}
	return append(pseudo, f.fill(headers)...)
}

// bearer is an Authorization header.
func bearer(token string) [2]string {
	return [2]string{"authorization", fmt.Sprintf("Bearer {%s}", token)}
}

// Delta is the signed delta between two snapshots; of the stranger's signature
// where own is false.
func (f *Fixture) Delta(t testing.TB, own bool, base, target []byte) []byte {
	t.Helper()
	body, err := delta.Make(base, target)
	if err != nil {
		t.Fatal(err)
	}
	if own {
		return Sign(t, f.signer, body)
	}
	return Sign(t, f.stranger, body)
}
