package filtertest

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"sallyport/policydata"
	"sallyport/policydata/pluginconfig"
)

// Outcome is what became of a request.
type Outcome struct {
	Allowed     bool        // the filter let it go on
	Headers     [][2]string // what goes to the upstream then
	Status      int         // of the filter's own answer
	Answer      [][2]string // its headers
	Body        string
	FilterState string // the property "sallyport"
}

// header returns the values of a header, joined; ok is whether it is there.
func header(headers [][2]string, name string) (value string, ok bool) {
	var values []string
	for _, h := range headers {
		if strings.EqualFold(h[0], name) {
			values = append(values, h[1])
		}
	}
	return strings.Join(values, "|"), len(values) > 0
}

// Case is a request and what must become of it.
type Case struct {
	Name    string
	Method  string // GET if empty
	Target  string
	Headers [][2]string // {name} in a value stands for a token, see Fixture
	Setting string      // of settings; "" is the default

	Reason policydata.Reason
	// Upstream are headers as the upstream must get them, by name; absent ones
	// must not be there.
	Upstream map[string]string
}

const absent = "\x00"

// settings are the configurations that the cases use. Each begins as the
// default.
var settings = map[string]func(t testing.TB, f *Fixture, c *pluginconfig.Config){
	"": func(testing.TB, *Fixture, *pluginconfig.Config) {},
	"header": func(_ testing.TB, _ *Fixture, c *pluginconfig.Config) {
		c.TokenHeader = "x-token"
		c.RemoveToken = true
	},
	"cookie": func(_ testing.TB, _ *Fixture, c *pluginconfig.Config) {
		c.TokenCookie = "session"
		c.RemoveToken = true
	},
	"identity":  func(_ testing.TB, _ *Fixture, c *pluginconfig.Config) { c.IdentityHeaders = true; c.RemoveToken = true },
	"no policy": func(_ testing.TB, _ *Fixture, c *pluginconfig.Config) { c.Snapshot = nil },
	"claims": func(t testing.TB, f *Fixture, c *pluginconfig.Config) {
		c.Snapshot = f.Config(t, func(s *policydata.Source) {
			s.Issuers[0].ClaimHeaders = []policydata.ClaimHeader{
				{Header: "x-tenant", Claim: []string{"tenant", "id"}},
				{Header: "x-email", Claim: []string{"email"}},
				{Header: "x-plans", Claim: []string{"plans"}},
			}
		}).Snapshot
	},
	"stale": func(t testing.TB, f *Fixture, c *pluginconfig.Config) {
		c.Snapshot = f.Config(t, func(s *policydata.Source) { s.Expires = s.Created - 1 }).Snapshot
	},
}

// Setting returns the configuration of a setting.
func (f *Fixture) Setting(t testing.TB, name string) []byte {
	t.Helper()
	set, ok := settings[name]
	if !ok {
		t.Fatalf("no setting %q", name)
	}
	c := f.Config(t, nil)
	set(t, f, &c)
	return c.AppendBinary(nil)
}

const workspace = "/workspaces/foo/x"

var cases = []Case{
	// The story.
	{Name: "own workspace", Target: workspace, Headers: [][2]string{bearer("eric")}, Reason: policydata.ReasonAllowed},
	{Name: "own workspace, ES256", Target: workspace, Headers: [][2]string{bearer("eric-es256")}, Reason: policydata.ReasonAllowed},
	{Name: "own workspace, any method", Method: "DELETE", Target: workspace, Headers: [][2]string{bearer("eric")}, Reason: policydata.ReasonAllowed},
	{Name: "own workspace, decoded path", Target: "/workspaces/%66oo/x?a=/..", Headers: [][2]string{bearer("eric")}, Reason: policydata.ReasonAllowed},
	{Name: "another's workspace", Target: workspace, Headers: [][2]string{bearer("bob")}, Reason: policydata.ReasonNoMatchingRule},
	{Name: "all workspaces", Target: "/workspaces/", Headers: [][2]string{bearer("eric")}, Reason: policydata.ReasonNoMatchingRule},
	{Name: "deny wins over allow", Target: "/workspaces/foo/locked", Headers: [][2]string{bearer("eric")}, Reason: policydata.ReasonDeniedByRule},
	{Name: "public without a token", Target: "/healthz", Reason: policydata.ReasonAllowed},
	{Name: "private without a token", Target: workspace, Reason: policydata.ReasonNoToken},
	{Name: "disabled user", Target: workspace, Headers: [][2]string{bearer("mallory")}, Reason: policydata.ReasonUserDisabled},
	{Name: "revoked tokens", Target: workspace, Headers: [][2]string{bearer("rita")}, Reason: policydata.ReasonRevoked},
	{Name: "a token revoked by its id", Target: "/healthz", Headers: [][2]string{bearer("stolen")}, Reason: policydata.ReasonRevoked},
	{Name: "another token of the same user", Target: workspace, Headers: [][2]string{bearer("not-stolen")}, Reason: policydata.ReasonAllowed},
	{Name: "unknown actor", Target: workspace, Headers: [][2]string{bearer("stranger-act")}, Reason: policydata.ReasonServiceGate},

	// Tokens that are there and bad: also on a public route.
	{Name: "garbage for a token", Target: "/healthz", Headers: [][2]string{{"authorization", "Bearer garbage"}}, Reason: policydata.ReasonBadToken},
	{Name: "empty bearer", Target: "/healthz", Headers: [][2]string{{"authorization", "Bearer "}}, Reason: policydata.ReasonBadToken},
	{Name: "expired", Target: "/healthz", Headers: [][2]string{bearer("expired")}, Reason: policydata.ReasonExpired},
	{Name: "not yet valid", Target: "/healthz", Headers: [][2]string{bearer("early")}, Reason: policydata.ReasonNotYetValid},
	{Name: "exp that is no number", Target: "/healthz", Headers: [][2]string{bearer("null-exp")}, Reason: policydata.ReasonBadToken},
	{Name: "audience of another", Target: "/healthz", Headers: [][2]string{bearer("other-audience")}, Reason: policydata.ReasonBadAudience},
	{Name: "unknown issuer", Target: "/healthz", Headers: [][2]string{bearer("other-issuer")}, Reason: policydata.ReasonUnknownIssuer},
	{Name: "forged signature", Target: "/healthz", Headers: [][2]string{bearer("forged")}, Reason: policydata.ReasonBadSignature},
	{Name: "another scheme is no token", Target: "/healthz", Headers: [][2]string{{"authorization", "Basic Zm9vOmJhcg=="}}, Reason: policydata.ReasonAllowed},
	{Name: "scheme in any case", Target: workspace, Headers: [][2]string{{"authorization", "bEaReR {eric}"}}, Reason: policydata.ReasonAllowed},
	{Name: "two Authorization headers", Target: workspace, Headers: [][2]string{bearer("eric"), bearer("eric")}, Reason: policydata.ReasonBadToken},
	{Name: "Basic and Bearer", Target: workspace, Headers: [][2]string{{"authorization", "Basic Zm9vOmJhcg=="}, bearer("eric")}, Reason: policydata.ReasonBadToken},
	{Name: "tokens joined by a comma", Target: workspace, Headers: [][2]string{{"authorization", "Bearer {eric}, Bearer {bob}"}}, Reason: policydata.ReasonBadToken},

	// Paths.
	{Name: "dot segments", Target: "/workspaces/foo/../bar", Headers: [][2]string{bearer("eric")}, Reason: policydata.ReasonBadPath},
	{Name: "encoded slash", Target: "/workspaces/foo%2Fx", Headers: [][2]string{bearer("eric")}, Reason: policydata.ReasonBadPath},
	{Name: "empty segment", Target: "//healthz", Reason: policydata.ReasonBadPath},
	{Name: "no path at all", Target: "", Reason: policydata.ReasonBadPath},
	{Name: "a bad path is refused before a bad token", Target: "/%", Headers: [][2]string{bearer("forged")}, Reason: policydata.ReasonBadPath},

	// What only the filter may say to the upstream.
	{
		Name: "spoofed headers go, in every spelling", Target: workspace, Reason: policydata.ReasonAllowed,
		Headers: [][2]string{
			bearer("eric"),
			{"x-sallyport-user", "admin"},
			{"X-Sallyport-Groups", "admins"},
			{"x_sallyport_generation", "9"},
			{"x-sallyport_user", "admin"},
			{"x.sallyport.user", "admin"},
			{"X_SALLYPORT-anything", "1"},
			{"x-sallyport-user", "again"},
			{"x-http-method-override", "DELETE"},
			{"X-HTTP-Method", "DELETE"},
			{"x_method_override", "DELETE"},
			{"x-other", "stays"},
			{"x-sallyportal", "stays"},
		},
		Upstream: map[string]string{
			"x-sallyport-user": absent, "x-sallyport-groups": absent, "x_sallyport_generation": absent,
			"x-sallyport_user": absent, "x_sallyport-anything": absent, "x.sallyport.user": absent,
			"x-http-method-override": absent, "x-http-method": absent, "x_method_override": absent,
			"x-other": "stays", "x-sallyportal": "stays", "authorization": "Bearer {eric}",
		},
	},
	{
		Name: "identity headers replace spoofed ones", Setting: "identity", Target: workspace, Reason: policydata.ReasonAllowed,
		Headers: [][2]string{bearer("eric"), {"x-sallyport-user", "admin"}, {"x_sallyport_groups", "admins"}},
		Upstream: map[string]string{
			"x-sallyport-user": "eric", "x-sallyport-groups": "foo", "x-sallyport-generation": "7",
			"x_sallyport_groups": absent, "authorization": absent,
		},
	},
	{
		Name: "identity headers are percent-encoded", Setting: "identity", Target: workspace, Reason: policydata.ReasonAllowed,
		Headers: [][2]string{bearer("odd")},
		Upstream: map[string]string{
			"x-sallyport-user":   "o%27dd%2C%20%22%C3%BC%22%20100%25",
			"x-sallyport-groups": "a%2Cb,foo,x%0D%0Ay",
		},
	},
	{
		Name: "identity headers without a token are empty", Setting: "identity", Target: "/healthz", Reason: policydata.ReasonAllowed,
		Headers:  [][2]string{{"x-sallyport-user", "admin"}},
		Upstream: map[string]string{"x-sallyport-user": "", "x-sallyport-groups": "", "x-sallyport-generation": "7"},
	},

	// Claims as headers.
	{
		Name: "claims replace what a client sent", Setting: "claims", Target: workspace, Reason: policydata.ReasonAllowed,
		Headers: [][2]string{bearer("tenant"), {"x-tenant", "admin"}, {"X_Tenant", "admin"}, {"x.tenant", "admin"}, {"x-tenant", "again"}, {"x-tenants", "stays"}},
		Upstream: map[string]string{
			"x-tenant": "a%2C%20b%0D%0Ax-admin:%201", "x-email": "eric@example.org", "x-plans": "x,2,true",
			"x_tenant": absent, "x.tenant": absent, "x-admin": absent, "x-tenants": "stays",
		},
	},
	{
		Name: "no claim, no header", Setting: "claims", Target: workspace, Reason: policydata.ReasonAllowed,
		Headers:  [][2]string{bearer("no-tenant"), {"x-tenant", "admin"}, {"x-plans", "gold"}},
		Upstream: map[string]string{"x-tenant": absent, "x-email": absent, "x-plans": absent},
	},
	{
		Name: "no token, no header", Setting: "claims", Target: "/healthz", Reason: policydata.ReasonAllowed,
		Headers:  [][2]string{{"x-tenant", "admin"}, {"X-Email", "a@b"}},
		Upstream: map[string]string{"x-tenant": absent, "x-email": absent},
	},

	// Where the token is.
	{
		Name: "token in a header of its own", Setting: "header", Target: workspace, Reason: policydata.ReasonAllowed,
		Headers:  [][2]string{{"x-token", "{eric}"}, {"authorization", "Bearer garbage"}},
		Upstream: map[string]string{"x-token": absent, "authorization": "Bearer garbage"},
	},
	{Name: "token twice in a header of its own", Setting: "header", Target: workspace, Headers: [][2]string{{"x-token", "{eric}"}, {"x-token", "{eric}"}}, Reason: policydata.ReasonBadToken},
	{Name: "token in the wrong place", Setting: "header", Target: workspace, Headers: [][2]string{bearer("eric")}, Reason: policydata.ReasonNoToken},
	{
		Name: "token in a cookie", Setting: "cookie", Target: workspace, Reason: policydata.ReasonAllowed,
		Headers:  [][2]string{{"cookie", "a=1; session={eric}; b=2"}},
		Upstream: map[string]string{"cookie": "a=1; b=2"},
	},
	{
		Name: "token in the only cookie", Setting: "cookie", Target: workspace, Reason: policydata.ReasonAllowed,
		Headers:  [][2]string{{"cookie", "session={eric}"}},
		Upstream: map[string]string{"cookie": absent},
	},
	{
		Name: "another's cookies stay", Setting: "cookie", Target: "/healthz", Reason: policydata.ReasonAllowed,
		Headers:  [][2]string{{"cookie", "a=1; xsession=2"}},
		Upstream: map[string]string{"cookie": "a=1; xsession=2"},
	},
	{Name: "token twice in cookies", Setting: "cookie", Target: workspace, Headers: [][2]string{{"cookie", "session={eric}; session={bob}"}}, Reason: policydata.ReasonBadToken},

	// No policy.
	{Name: "no snapshot", Setting: "no policy", Target: "/healthz", Reason: policydata.ReasonNoSnapshot},
	{Name: "no snapshot, not even a path", Setting: "no policy", Target: "//", Reason: policydata.ReasonNoSnapshot},
	{Name: "stale snapshot", Setting: "stale", Target: "/healthz", Reason: policydata.ReasonStaleSnapshot},

	// Sizes.
	{Name: "huge token", Target: "/healthz", Headers: [][2]string{bearer("huge")}, Reason: policydata.ReasonBadToken},
	{Name: "huge path", Target: "/workspaces/foo/" + strings.Repeat("a/", 1<<17) + "b", Headers: [][2]string{bearer("eric")}, Reason: policydata.ReasonBadPath},
	{Name: "huge bad path", Target: "/" + strings.Repeat("%61", 1<<17) + "//", Reason: policydata.ReasonBadPath},
	{Name: "many headers", Target: "/healthz", Headers: manyHeaders(900), Reason: policydata.ReasonAllowed},
}

func manyHeaders(n int) [][2]string {
	headers := make([][2]string, n)
	for i := range headers {
		headers[i] = [2]string{"x-n-" + strconv.Itoa(i), strings.Repeat("v", 256)}
	}
	return headers
}

// Cases returns the table.
func Cases(t testing.TB) []Case {
	t.Helper()
	if len(cases) == 0 {
		t.Fatal("no cases")
	}
	return cases
}

// Headers returns the headers of the case's request.
func (f *Fixture) Headers(c *Case) [][2]string {
	method := c.Method
	if method == "" {
		method = "GET"
	}
	return f.Request(method, c.Target, c.Headers...)
}

// Check compares an outcome with what the case wants.
func (f *Fixture) Check(t testing.TB, c *Case, got Outcome) {
	t.Helper()
	want := c.Reason.Status()
	if got.Allowed != (want == 200) {
		t.Fatalf("allowed: %t, status %d, want %d; state %s", got.Allowed, got.Status, want, got.FilterState)
	}
	f.checkState(t, c, got)
	if want == 200 {
		f.checkUpstream(t, c, got.Headers)
		return
	}
	if got.Status != want {
		t.Errorf("status %d, want %d", got.Status, want)
	}
	checkAnswer(t, c.Reason, got)
}

func (f *Fixture) checkUpstream(t testing.TB, c *Case, headers [][2]string) {
	t.Helper()
	for name, want := range c.Upstream {
		value, ok := header(headers, name)
		switch {
		case want == absent && ok:
			t.Errorf("%s reached the upstream: %q", name, value)
		case want != absent && (!ok || value != f.tokens.Replace(want)):
			t.Errorf("%s at the upstream: %q (there: %t), want %q", name, value, ok, want)
		}
	}
	if target, _ := header(headers, ":path"); target != c.Target {
		t.Errorf("the path was changed to %q", target)
	}
}

// checkState wants the exact reason for the operator.
func (f *Fixture) checkState(t testing.TB, c *Case, got Outcome) {
	t.Helper()
	var state struct{ Decision, Reason, Generation string }
	if err := json.Unmarshal([]byte(got.FilterState), &state); err != nil {
		t.Fatalf("filter state %q: %v", got.FilterState, err)
	}
	decision := "deny"
	if c.Reason == policydata.ReasonAllowed {
		decision = "allow"
	}
	if state.Decision != decision || state.Reason != c.Reason.String() {
		t.Errorf("filter state %s, want %s, %s", got.FilterState, decision, c.Reason)
	}
	if c.Reason != policydata.ReasonNoSnapshot && state.Generation != "7" {
		t.Errorf("generation %q, want 7", state.Generation)
	}
	f.CheckNoToken(t, got.FilterState)
}

// checkAnswer wants an answer that says the status and nothing else.
func checkAnswer(t testing.TB, reason policydata.Reason, got Outcome) {
	t.Helper()
	status := reason.Status()
	if v, _ := header(got.Answer, "content-type"); v != "application/problem+json" {
		t.Errorf("content-type %q", v)
	}
	var problem map[string]any
	if err := json.Unmarshal([]byte(got.Body), &problem); err != nil {
		t.Fatalf("body %q: %v", got.Body, err)
	}
	if problem["status"] != float64(status) || problem["type"] != "about:blank" || len(problem) != 3 {
		t.Errorf("body %q", got.Body)
	}
	challenge, challenged := header(got.Answer, "www-authenticate")
	wanted := `Bearer realm="sallyport"`
	if reason != policydata.ReasonNoToken {
		wanted += `, error="invalid_token"`
	}
	if challenged != (status == 401) || challenged && challenge != wanted {
		t.Errorf("www-authenticate %q, want %q for 401 only", challenge, wanted)
	}
	if _, retry := header(got.Answer, "retry-after"); retry != (status == 503) {
		t.Errorf("retry-after: %t at %d", retry, status)
	}
	for _, h := range append(got.Answer, [2]string{"", got.Body}) {
		for _, secret := range []string{reason.String(), "zz-", "eric", "foo", "snapshot", "generation"} {
			if strings.Contains(h[1], secret) {
				t.Errorf("the answer says %q: %s: %s", secret, h[0], h[1])
			}
		}
	}
}
