package authorize_test

import (
	"fmt"
	"testing"

	"sallyport/policydata"
	"sallyport/policydata/authorize"
)

// A token is revoked by its issuer and its id, whether it was seen before or
// not, and on public paths, too.
func TestRevokedTokens(t *testing.T) {
	src := source()
	src.Revoked = []policydata.RevokedToken{
		{Issuer: "kc", ID: "stolen", Expires: now + 300},
		{Issuer: "kc", ID: "long ago", Expires: 1},
	}
	tests := []struct {
		name, issuer string
		jti          any
		want         policydata.Reason
	}{
		{"revoked", "kc", "stolen", policydata.ReasonRevoked},
		{"revoked with an expiry that was too early", "kc", "long ago", policydata.ReasonRevoked},
		{"another id", "kc", "stolen2", policydata.ReasonAllowed},
		{"in another case", "kc", "Stolen", policydata.ReasonAllowed},
		{"the same id of another issuer", "other", "stolen", policydata.ReasonAllowed},
		{"no id", "kc", nil, policydata.ReasonAllowed},
		{"an empty id", "kc", "", policydata.ReasonAllowed},
		{"an id that is a number", "kc", 12, policydata.ReasonBadToken},
		{"an id that is an array", "kc", []string{"stolen"}, policydata.ReasonBadToken},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := get("/public", bearer(sign(t, tt.issuer, claims{"jti": tt.jti})))
			before, after := engine(t, source(), authorize.TokenSource{}), engine(t, src, authorize.TokenSource{})
			before.CacheTokens(nil)
			first := before.Authorize(r, now).Reason
			after.CacheTokens(before)
			for range 2 {
				if got := after.Authorize(r, now).Reason; got != tt.want || first == policydata.ReasonRevoked {
					t.Errorf("got %v behind %v, want %v", got, first, tt.want)
				}
			}
		})
	}
	t.Run("asking for claims skips it", func(t *testing.T) {
		e := engine(t, src, authorize.TokenSource{})
		if d := e.AuthorizeClaims(get("/private"), `{"iss":"https://kc","sub":"eric","jti":"stolen"}`, now); !d.Allowed() {
			t.Errorf("got %v", d.Reason)
		}
	})
}

func TestMissingKey(t *testing.T) {
	src := source()
	for i := range src.Issuers {
		src.Issuers[i].FetchedKeys = true
		src.Issuers[i].Keys[0].ID = "old"
	}
	e := engine(t, src, authorize.TokenSource{})
	e.CacheTokens(nil)
	missing := func(want string) {
		t.Helper()
		iss, kid, ok := e.MissingKey()
		if got := fmt.Sprint(iss, " ", kid); ok != (want != "") || ok && got != want {
			t.Errorf("got %q, %t; want %q", got, ok, want)
		}
	}
	missing("")
	unknown := get("/public", bearer(signWith(t, "kc", "new", nil)))
	if d := e.Authorize(unknown, now); d.Reason != policydata.ReasonBadToken {
		t.Errorf("got %v", d.Reason)
	}
	missing("https://kc new")
	for name, r := range map[string]*authorize.Request{
		"a known key":            get("/public", bearer(signWith(t, "kc", "old", nil))),
		"no token":               get("/public"),
		"a path that is refused": get("//", unknown.Headers...),
		"two tokens":             get("/public", unknown.Headers[0], unknown.Headers[0]),
		"an expired token":       get("/public", bearer(signWith(t, "kc", "new", claims{"exp": now - 100}))),
	} {
		t.Run(name, func(t *testing.T) {
			e.Authorize(unknown, now)
			e.Authorize(r, now)
			missing("")
		})
	}
	e.Authorize(unknown, now)
	e.AuthorizeClaims(unknown, `{"iss":"https://kc"}`, now)
	missing("")
}

func TestClaimHeaders(t *testing.T) {
	src := source()
	src.Issuers[0].ClaimHeaders = []policydata.ClaimHeader{
		{Header: "x-tenant", Claim: []string{"tenant", "id"}}, {Header: "x-mail", Claim: []string{"email"}},
	}
	src.Issuers[1].ClaimHeaders = []policydata.ClaimHeader{{Header: "x-other", Claim: []string{"email"}}}
	e := engine(t, src, authorize.TokenSource{})
	for name, want := range map[string]bool{
		"x-tenant": true, "X-Tenant": true, "x_tenant": true, "x.mail": true, "x-other": true, "x-tenants": false, "tenant": false, ":path": false,
	} {
		if got := e.ClaimHeaders().Has(name); got != want {
			t.Errorf("%s: %t", name, got)
		}
	}
	all := claims{"tenant": claims{"id": "a b"}, "email": "eric@example.org"}
	for _, tt := range []struct{ name, want string }{
		{"kc", "[[x-tenant a%20b] [x-mail eric@example.org]]"},
		{"other", "[[x-other eric@example.org]]"},
	} {
		if d := e.Authorize(get("/private", bearer(sign(t, tt.name, all))), now); !d.Allowed() {
			t.Fatal(d.Reason)
		}
		if got := fmt.Sprint(e.AppendClaimHeaders(nil)); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
	e.AuthorizeClaims(get("/private"), `{"iss":"https://kc","sub":"eric","email":1}`, now)
	if got := fmt.Sprint(e.AppendClaimHeaders(nil)); got != "[[x-mail 1]]" {
		t.Errorf("for claims: %s", got)
	}
	e.Authorize(get("/public"), now)
	if got := e.AppendClaimHeaders(nil); got != nil {
		t.Errorf("without a token: %s", got)
	}
	e.AuthorizeIdentity(get("/private"), &policydata.Identity{Authenticated: true, Issuer: "kc", User: "eric"}, now)
	if got := e.AppendClaimHeaders(nil); got != nil {
		t.Errorf("for an identity without claims: %s", got)
	}
}
