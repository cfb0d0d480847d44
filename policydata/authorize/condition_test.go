package authorize_test

import (
	"testing"

	"sallyport/policydata"
	"sallyport/policydata/authorize"
)

// What conditions read comes from the request and its token as they are, without
// the credentials, with each way of giving an identity.
func TestConditionsReadRequestAndToken(t *testing.T) {
	type expr = policydata.Expr
	variable := func(v policydata.Var) *expr { return &expr{Op: policydata.OpVar, Int: int64(v)} }
	text := func(s string) *expr { return &expr{Op: policydata.OpString, Str: s} }
	op := func(o policydata.Op, args ...*expr) *expr { return &expr{Op: o, Args: args} }
	field := func(of *expr, name string) *expr {
		return &expr{Op: policydata.OpField, Str: name, Args: []*expr{of}}
	}
	has := func(of *expr, name string) *expr { return &expr{Op: policydata.OpHas, Str: name, Args: []*expr{of}} }
	headers, query, sub := variable(policydata.VarRequestHeaders), variable(policydata.VarRequestQuery), field(variable(policydata.VarTokenClaims), "sub")
	src := source()
	for path, when := range map[string]*expr{
		"/cond/header":  op(policydata.OpEq, field(headers, "x-a"), text("1,2")),
		"/cond/query":   op(policydata.OpIn, text("ü?"), field(query, "q")),
		"/cond/time":    op(policydata.OpEq, variable(policydata.VarRequestTime), &expr{Op: policydata.OpTime, Int: now}),
		"/cond/claims":  op(policydata.OpEq, sub, text("eric")),
		"/cond/secrets": op(policydata.OpOr, has(headers, "authorization"), op(policydata.OpOr, has(headers, "x-token"), has(headers, "cookie"))),
	} {
		src.Policies = append(src.Policies, policydata.Policy{Name: path[6:], Rules: []policydata.Rule{{
			Effect: policydata.EffectAllow, Methods: []string{"*"}, Paths: []string{path}, When: when,
		}}})
		for i := range src.Groups {
			if src.Groups[i].Name == policydata.GroupAuthenticated {
				src.Groups[i].Policies = append(src.Groups[i].Policies, path[6:])
			}
		}
	}
	raw := sign(t, "kc", nil)
	for name, ask := range map[string]func(r *authorize.Request) policydata.Decision{
		"bearer": func(r *authorize.Request) policydata.Decision {
			r.Headers = append(r.Headers, bearer(raw))
			return engine(t, src, authorize.TokenSource{}).Authorize(r, now)
		},
		"header": func(r *authorize.Request) policydata.Decision {
			r.Headers = append(r.Headers, [2]string{"x-token", raw})
			return engine(t, src, authorize.TokenSource{Header: "x-token"}).Authorize(r, now)
		},
		"cookie": func(r *authorize.Request) policydata.Decision {
			r.Headers = append(r.Headers, [2]string{"cookie", "t=" + raw})
			return engine(t, src, authorize.TokenSource{Cookie: "t"}).Authorize(r, now)
		},
		"cached": func(r *authorize.Request) policydata.Decision {
			e := engine(t, src, authorize.TokenSource{})
			e.CacheTokens(nil)
			r.Headers = append(r.Headers, bearer(raw))
			e.Authorize(r, now)
			return e.Authorize(r, now)
		},
		"claims": func(r *authorize.Request) policydata.Decision {
			return engine(t, src, authorize.TokenSource{}).AuthorizeClaims(r, `{"iss":"https://kc","sub":"eric"}`, now)
		},
	} {
		for path, want := range map[string]policydata.Reason{
			"/cond/header?x": policydata.ReasonAllowed, "/cond/query?a&q=%C3%BC?&?": policydata.ReasonAllowed, "/cond/query": policydata.ReasonNoMatchingRule,
			"/cond/time": policydata.ReasonAllowed, "/cond/claims": policydata.ReasonAllowed, "/cond/secrets": policydata.ReasonNoMatchingRule,
		} {
			d := ask(get(path, [2]string{"x-a", "1"}, [2]string{"x-b", "3"}, [2]string{"x-a", "2"}))
			if d.Reason != want {
				t.Errorf("%s by %s: %v, want %v", path, name, d.Reason, want)
			}
		}
	}
	e := engine(t, src, authorize.TokenSource{})
	if d := e.AuthorizeIdentity(get("/cond/claims"), &policydata.Identity{Authenticated: true, User: "eric"}, now); d.Reason != policydata.ReasonNoMatchingRule {
		t.Errorf("claims without a token: %v", d.Reason)
	}
}
