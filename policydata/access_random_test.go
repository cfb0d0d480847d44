package policydata_test

import (
	"slices"
	"strings"
	"testing"

	"sallyport/policydata"
	"sallyport/policydata/decidetest"
)

// instance returns a random request that a pattern covers.
func instance(r decidetest.Random, p policydata.AccessPattern) *policydata.Request {
	req := r.Request() // for what conditions ask for beside
	req.Method, req.Path, req.Preflight, req.API = decidetest.Pick(r, p.Methods...), "", false, false
	switch req.Method {
	case "*":
		req.Method = decidetest.Pick(r, "GET", "POST", "PURGE", "OPTIONS", "get")
	case policydata.MethodsPreflight:
		req.Method, req.Preflight = "OPTIONS", true
	}
	req.Preflight = req.Preflight || req.Method == "OPTIONS" && r.IntN(2) == 0
	part := func() string { return decidetest.Pick(r, "a", "b", "g0", "g1", "x", "other") }
	for _, s := range strings.Split(p.Path, "/")[1:] {
		switch {
		case s == "**":
			for range r.IntN(3) {
				req.Path += "/" + part()
			}
			if req.Path == "" || r.IntN(4) == 0 {
				req.Path += "/"
			}
		case s == "*" || strings.HasPrefix(s, "{"):
			req.Path += "/" + part()
		default:
			req.Path += "/" + s
		}
	}
	if p.Host == "" {
		req.Host = decidetest.Pick(r, "", "a", "b.a", "c.b.a", "[::1]")
		return req
	}
	labels := strings.Split(p.Host, ".")
	for i, l := range labels {
		if l == "*" || strings.HasPrefix(l, "{") {
			labels[i] = part()
		}
	}
	req.Host = strings.Join(labels, ".")
	return req
}

// covers reports whether a pattern covers a request, by the reference.
func covers(p policydata.AccessPattern, req *policydata.Request) bool {
	method := slices.ContainsFunc(p.Methods, func(m string) bool { return decidetest.MatchesMethod(m, req) })
	path := decidetest.MatchesPath(p.Path, req.Path)
	return method && path && (p.Host == "" || decidetest.MatchesHost(p.Host, req.Host))
}

func conditional(x *policydata.AccessEntry) bool {
	return x.When != "" || x.Service != nil && x.Service.When != ""
}

// What is listed without a condition is allowed, unless one of its denials
// denies; what has none is allowed.
func TestAccessIsSound(t *testing.T) {
	e := policydata.NewEvaluator()
	asked, denied, filled, served := 0, 0, 0, 0
	eachRandom(t, 11, func(r decidetest.Random, _ *policydata.Source, s *policydata.Snapshot) {
		id := r.Identity()
		access := policydata.NewEvaluator().Access(s, id, policydata.AccessPage{Amount: 1 << 20})
		if access.Refused != "" && len(access.Entries) > 0 {
			t.Fatalf("%+v", access)
		}
		for i := range access.Entries {
			x := &access.Entries[i]
			if conditional(x) {
				continue
			}
			for range 3 {
				req := instance(r, x.AccessPattern)
				d := e.Decide(s, req, id)
				asked++
				if len(x.Captures) > 0 {
					filled++
				}
				if x.Service != nil {
					served++
				}
				if d.Allowed() {
					continue
				}
				denied++
				told := slices.ContainsFunc(x.Denials, func(y policydata.AccessDenial) bool {
					return covers(y.AccessPattern, req) && (d.Reason == policydata.ReasonServiceGate && y.Gate == "service" || y.Policy == d.Policy && y.Rule == d.Rule)
				})
				if !told && (id.Authenticated || !slices.ContainsFunc(x.Denials, func(y policydata.AccessDenial) bool { return covers(y.AccessPattern, req) })) {
					t.Fatalf("listed as %+v, and %+v of %+v is %v by %s/%s", *x, *req, *id, d.Reason, d.Policy, d.Rule)
				}
			}
		}
	})
	if asked == 0 || denied == 0 || denied == asked || filled == 0 || served == 0 {
		t.Errorf("%d asked, %d denied, %d filled, %d on behalf: the test shows too little", asked, denied, filled, served)
	}
}

// What is allowed is listed.
func TestAccessIsComplete(t *testing.T) {
	e, allowed := policydata.NewEvaluator(), 0
	eachRandom(t, 12, func(r decidetest.Random, _ *policydata.Source, s *policydata.Snapshot) {
		id := r.Identity()
		access := policydata.NewEvaluator().Access(s, id, policydata.AccessPage{Amount: 1 << 20})
		for range 20 {
			req := r.Request()
			req.API = false
			if d := e.Decide(s, req, id); !d.Allowed() {
				continue
			}
			allowed++
			if !slices.ContainsFunc(access.Entries, func(x policydata.AccessEntry) bool { return covers(x.AccessPattern, req) }) {
				t.Fatalf("%+v of %+v is allowed, and not listed in %+v", *req, *id, access.Entries)
			}
		}
	})
	if allowed == 0 {
		t.Error("nothing was allowed: the test shows nothing")
	}
}
