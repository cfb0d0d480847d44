package policydata_test

import (
	"errors"
	"fmt"

	"sallyport/policydata"
)

// One rule gives every team its own workspace.
func Example() {
	body, err := policydata.Build(policydata.Source{
		Generation: 7,
		Policies: []policydata.Policy{{Name: "own-workspace", Rules: []policydata.Rule{{
			Name:    "members",
			Effect:  policydata.EffectAllow,
			Methods: []string{"*"},
			Paths:   []string{"/workspaces/{team}/**"},
			When: &policydata.Expr{Op: policydata.OpIn, Args: []*policydata.Expr{
				{Op: policydata.OpPathVar, Str: "team"},
				{Op: policydata.OpVar, Int: int64(policydata.VarTokenGroups)},
			}},
			Text: "path.team in token.groups",
		}}}},
		Groups: []policydata.Group{{Name: policydata.GroupAuthenticated, Policies: []string{"own-workspace"}}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	signed := policydata.AppendSignature(body, "key-1", []byte("signature"))
	snapshot, err := policydata.Load(signed, func(signed, sig []byte) error {
		if string(sig) != "signature" { // stands for ECDSA
			return errors.New("not ours")
		}
		return nil
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	evaluator := policydata.NewEvaluator()
	eric := &policydata.Identity{Authenticated: true, User: "eric", Groups: []string{"foo"}}
	for _, target := range []string{"/workspaces/foo/x?q=1", "/workspaces/bar/x", "/workspaces/foo/../bar"} {
		path, ok := policydata.CanonicalPath(target)
		if !ok {
			fmt.Println(target, policydata.ReasonBadPath)
			continue
		}
		d := evaluator.Decide(snapshot, &policydata.Request{Method: "GET", Path: path}, eric)
		fmt.Println(target, d.Reason, d.Policy+"/"+d.Rule)
	}
	// Output:
	// /workspaces/foo/x?q=1 allowed own-workspace/members
	// /workspaces/bar/x no_matching_rule /
	// /workspaces/foo/../bar bad_path
}

func ExampleDecision_AppendJSON() {
	d := policydata.Decision{Reason: policydata.ReasonNoToken, Gate: policydata.GateUser, Generation: 7}
	fmt.Println(string(d.AppendJSON(nil)))
	// Output:
	// {"decision":"deny","status":401,"reason":"no_token","gate":"user","policy":"","rule":"","user":"","service":"","generation":"7","captures":{}}
}

func ExampleCanonicalHost() {
	host, ok := policydata.CanonicalHost("API.Example.com.:8443")
	fmt.Println(host, ok)
	// Output: api.example.com true
}
