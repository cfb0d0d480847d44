package policydata_test

import (
	"slices"
	"testing"

	"sallyport/policydata"
	"sallyport/policydata/decidetest"
)

var allEntries = policydata.AccessPage{Amount: 1 << 20}

// applies reports whether an entry names who asked, by what a decision found out
// of the principal.
func applies(x *policydata.WhoEntry, id *policydata.Identity, t *policydata.Trace) bool {
	own := t.Service != nil && !t.Service.OnBehalf
	switch {
	case x.OnBehalf != nil:
		return false
	case x.Kind == policydata.WhoService:
		return own && t.Service.Name == x.Name
	case own:
		return false
	case x.Name == policydata.GroupUnauthenticated:
		return !id.Authenticated
	case !id.Authenticated:
		return false
	}
	switch x.Kind {
	case policydata.WhoUser:
		return t.User == x.Name
	case policydata.WhoGroup:
		return slices.ContainsFunc(t.Groups, func(g policydata.GroupTrace) bool { return g.Name == x.Name })
	case policydata.WhoClaim:
		return slices.Contains(id.Roles, x.Name)
	}
	return true
}

// serves reports whether an entry says that the service may ask for the user.
func serves(x *policydata.WhoEntry, t *policydata.Trace) bool {
	if x.OnBehalf == nil || x.Name != t.Service.Name {
		return false
	}
	if x.OnBehalf.Kind == policydata.OriginGroup {
		return slices.ContainsFunc(t.Groups, func(g policydata.GroupTrace) bool { return g.Name == x.OnBehalf.Name })
	}
	return x.OnBehalf.Name == "*" || x.OnBehalf.Name == t.User
}

func told(rules []policydata.WhoRule, d *policydata.Decision) bool {
	return slices.ContainsFunc(rules, func(r policydata.WhoRule) bool { return r.Policy == d.Policy && r.Rule == d.Rule })
}

// Whoever is allowed a request is listed, and who is listed as sure is allowed
// it, unless a deny rule that is told denies.
func TestWhoCanIsSoundAndComplete(t *testing.T) {
	e := policydata.NewEvaluator()
	count := map[string]int{}
	eachRandom(t, 13, func(r decidetest.Random, _ *policydata.Source, s *policydata.Snapshot) {
		for range 1 + r.IntN(2) {
			req := r.Request()
			who := policydata.NewEvaluator().WhoCan(s, req, allEntries)
			if who.Refused != "" || who.More || who.Partial {
				t.Fatalf("%+v", who)
			}
			for range 12 {
				id := r.Identity()
				var trace policydata.Trace
				e.Watch(&trace)
				d := e.Decide(s, req, id)
				e.Watch(nil)
				onBehalf := trace.Service != nil && trace.Service.OnBehalf
				if d.Allowed() {
					count["allowed"]++
					if !slices.ContainsFunc(who.Entries, func(x policydata.WhoEntry) bool { return applies(&x, id, &trace) }) {
						t.Fatalf("%+v of %+v is allowed by %s/%s, and not listed in %+v", *req, *id, d.Policy, d.Rule, who)
					}
					if onBehalf && !slices.ContainsFunc(who.Entries, func(x policydata.WhoEntry) bool { return serves(&x, &trace) }) {
						t.Fatalf("%+v of %+v is allowed on behalf, and not listed in %+v", *req, *id, who)
					}
					continue
				}
				for i := range who.Entries {
					x := &who.Entries[i]
					switch {
					case !x.Sure:
					case d.Reason == policydata.ReasonServiceGate && onBehalf && serves(x, &trace) && len(trace.Gates) > 0:
						count["service gate"]++
						if len(who.Denials) == 0 {
							t.Fatalf("%+v is sure, and the gate refuses %+v of %+v", *x, *req, *id)
						}
					case d.Gate != policydata.GateUser || d.Reason == policydata.ReasonServiceGate || !applies(x, id, &trace):
					case d.Policy == "" && id.Authenticated || d.Policy != "" && !told(who.Denials, &d):
						t.Fatalf("%+v is sure, and %+v of %+v is %v by %s/%s; denials %+v", *x, *req, *id, d.Reason, d.Policy, d.Rule, who.Denials)
					default:
						count["denied"]++
					}
				}
			}
			for i := range who.Entries {
				count[string(who.Entries[i].Kind)]++
				if who.Entries[i].Sure {
					count["sure"]++
				}
			}
		}
	})
	for _, what := range []string{"allowed", "denied", "sure", "everyone", "group", "claim", "service", "user"} {
		if count[what] == 0 {
			t.Errorf("none %s: the test shows too little (%v)", what, count)
		}
	}
}

// Who is listed as sure is allowed the request with nothing but the name, and
// pages are parts of one list.
func TestWhoCanOfEachAlone(t *testing.T) {
	e, sure := policydata.NewEvaluator(), 0
	eachRandom(t, 14, func(r decidetest.Random, _ *policydata.Source, s *policydata.Snapshot) {
		req := r.Request()
		who := policydata.NewEvaluator().WhoCan(s, req, allEntries)
		for i, x := range who.Entries {
			id := &policydata.Identity{Authenticated: true}
			switch {
			case x.OnBehalf != nil:
				continue
			case x.Name == policydata.GroupUnauthenticated:
				id.Authenticated = false
			case x.Kind == policydata.WhoUser:
				id.User = x.Name
			case x.Kind == policydata.WhoGroup:
				id.Groups = []string{x.Name}
			case x.Kind == policydata.WhoClaim:
				id.Roles = []string{x.Name}
			case x.Kind == policydata.WhoService:
				id.Own, id.Client, id.Subject = true, x.Name, x.Name
			}
			page := policydata.NewEvaluator().WhoCan(s, req, policydata.AccessPage{Offset: i, Amount: 1})
			if len(page.Entries) != 1 || page.Entries[0].Name != x.Name || page.More != (i+1 < len(who.Entries)) {
				t.Fatalf("page %d: %+v, want %+v", i, page, x)
			}
			if !x.Sure {
				continue
			}
			sure++
			if d := e.Decide(s, req, id); !d.Allowed() {
				t.Fatalf("%+v is sure, and %+v is %v by %s/%s", x, *req, d.Reason, d.Policy, d.Rule)
			}
			named := slices.ContainsFunc(x.Rules, func(r policydata.WhoRule) bool { return r.When == "" && len(r.From) > 0 })
			if !named || len(x.Unless) > 0 && !slices.ContainsFunc(x.Unless, func(r policydata.WhoRule) bool { return r.When != "" }) {
				t.Fatalf("%+v is sure, and its rules are not", x)
			}
		}
	})
	if sure == 0 {
		t.Error("nobody was sure: the test shows nothing")
	}
}
