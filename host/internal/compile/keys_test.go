package compile_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/host/internal/compile"
	"sallyport/host/internal/model"
	"sallyport/policydata"
)

const fetchedIssuers = `
apiVersion: sallyport/v1
kind: Issuer
metadata: {name: found}
spec: {issuer: "https://found", audiences: [a], algorithms: [ES256], shareNames: true, jwks: {discovery: true}}
---
apiVersion: sallyport/v1
kind: Issuer
metadata: {name: named}
spec: {issuer: "https://named", audiences: [a], algorithms: [ES256], shareNames: true, jwks: {uri: "https://named/keys"}}
`

// TestFetchedKeys has committed keys: those of where the issuer has them now
// count, removed ones until a commit drops them, and none that this version
// refuses.
func TestFetchedKeys(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	s := parse(t, fetchedIssuers)
	s.Keys = map[string]*model.IssuerKeys{
		"found": {Source: "discovery:https://found", Keys: []model.IssuerKey{
			{ID: "a", Algorithm: "ES256", SPKI: spki, Removed: time.Unix(1, 0)}, {ID: "b", SPKI: spki}, {ID: "bad", SPKI: []byte("x")},
		}},
		"named": {Source: "https://named/elsewhere", Keys: []model.IssuerKey{{ID: "c", SPKI: spki}}},
	}
	got, err := compile.New().Source(s, version)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]policydata.Key{
		"found": {{ID: "a", Algorithm: "ES256", SPKI: spki}, {ID: "b", SPKI: spki}},
		"named": nil,
	}
	for _, i := range got.Issuers {
		if !i.FetchedKeys {
			t.Errorf("%s: FetchedKeys is not set", i.Name)
		}
		if diff := cmp.Diff(want[i.Name], i.Keys); diff != "" {
			t.Errorf("%s: %s", i.Name, diff)
		}
		delete(want, i.Name)
	}
	if len(want) > 0 {
		t.Errorf("not compiled: %v", want)
	}
	if _, err := policydata.Build(got); err != nil {
		t.Errorf("an issuer without keys keeps all others from being published: %v", err)
	}
}
