package token_test

import (
	"fmt"

	"sallyport/policydata"
	"sallyport/policydata/token"
)

func ExampleVerifier_Verify() {
	issuer := testIssuer()
	verifier, err := token.NewVerifier([]policydata.Issuer{issuer})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, _, reason := verifier.Verify("not a token", now)
	fmt.Println(reason)
	// Output: bad_token
}

func ExampleMap() {
	issuer := testIssuer()
	issuer.TrimGroup = "/"
	identity, reason := token.Map(&issuer, `{"sub":"eric","groups":["/foo","system:masters"]}`)
	fmt.Println(reason, identity.User, identity.Groups)
	// Output: allowed eric [foo]
}

func ExampleValidateJSON() {
	fmt.Println(token.ValidateJSON(`{"sub":"eric","\u0073ub":"mallory"}`))
	// Output: invalid JSON at byte 34: a name stands twice in the object that ends here
}

func ExampleVerifySignature() {
	key := publicKey("k", "ES256")
	fmt.Println(token.VerifySignature("e30.e30.", []policydata.Key{key}, token.Algorithms()))
	// Output: bad_token
}
