package policydata

import (
	"strings"
	"testing"
)

func TestClaimHeaderNames(t *testing.T) {
	check := func(name string) error {
		i := testIssuer("kc")
		i.ClaimHeaders = []ClaimHeader{{Header: name, Claim: []string{"a"}}}
		return i.Check()
	}
	for _, name := range []string{"x-tenant", "tenant", "x-auth-request-email", "x-http-methods", strings.Repeat("a", 64)} {
		if err := check(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for want, names := range map[string][]string{
		"1 to 64 bytes":      {"", strings.Repeat("a", 65)},
		"lower-case letters": {"X-Tenant", "x_tenant", "x.tenant", "x tenant", "x-ten\u00e4nt", ":path", ":x", "-x", "1x", "x\r\n", "x\u212A"},
		"the name is reserved": {
			"host", "authorization", "cookie", "set-cookie", "content-length", "content-type", "transfer-encoding", "connection", "te", "trailer",
			"upgrade", "keep-alive", "proxy-connection", "proxy-authorization", "expect", "via", "forwarded", "x-request-id", "x-real-ip",
			"x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url", "x-sallyport-user", "x-sallyport-",
		},
		"are reserved": {"x-envoy-original-path", "x-forwarded-for", "x-forwarded-proto", "sec-fetch-site"},
	} {
		for _, name := range names {
			err := check(name)
			wantError(t, err, want)
			if err != nil && !strings.HasPrefix(err.Error(), `claim header "`) {
				t.Errorf("%q: %v does not name it", name, err)
			}
		}
	}
}

// What a server might fold into an own header is one.
func TestIsOwnHeader(t *testing.T) {
	for name, want := range map[string]bool{
		"x-sallyport-user": true, "X_Sallyport.Groups": true, "x-HTTP-method": true, "x_method_override": true,
		"x-sallyport": false, "sallyport": false, "x-http-methods": false, "": false,
	} {
		if got := IsOwnHeader(FoldHeader(name)); got != want {
			t.Errorf("%q: %t", name, got)
		}
	}
}
