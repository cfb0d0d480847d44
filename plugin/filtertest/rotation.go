package filtertest

import (
	"crypto/ecdsa"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"sallyport/policydata"
	"sallyport/policydata/pluginconfig"
)

// HostCluster is the cluster by which the filter of a Rotation reaches the host.
const HostCluster = "sallyport_host"

// Rotation is an issuer that begins to use a key, which the filter must ask for.
type Rotation struct {
	f    *Fixture
	next *ecdsa.PrivateKey
}

// NewRotation returns a rotation of the fixture's issuer to a key with the kid
// "next".
func (f *Fixture) NewRotation(t testing.TB) *Rotation {
	t.Helper()
	return &Rotation{f: f, next: newEC(t)}
}

// Issuer is the "iss" of the tokens.
func (r *Rotation) Issuer() string { return issuerURL }

// Config is a configuration of a generation, with the new key or without it.
func (r *Rotation) Config(t testing.TB, generation uint64, withKey bool) pluginconfig.Config {
	t.Helper()
	c := r.f.Config(t, func(s *policydata.Source) {
		s.Generation = generation
		i := &s.Issuers[0]
		i.FetchedKeys = true
		if withKey {
			i.Keys = append(i.Keys, policydata.Key{ID: "next", SPKI: spki(t, &r.next.PublicKey)})
		}
	})
	c.HostCluster = HostCluster
	c.IdentityHeaders = true
	return c
}

// Token is a token of user eric in group foo, signed by the key of a kid: an old
// one ("RS256", "ES256"), "next", or else by none that there is. Members of
// change replace claims.
func (r *Rotation) Token(t testing.TB, kid string, change jwt.MapClaims) string {
	t.Helper()
	now := time.Now().Unix()
	claims := jwt.MapClaims{"iss": issuerURL, "aud": audience, "sub": "eric", "groups": []string{"foo"}, "iat": now - 60, "exp": now + 3600}
	for name, value := range change {
		claims[name] = value
	}
	switch kid {
	case "RS256":
		return sign(t, jwt.SigningMethodRS256, r.f.rsa, claims)
	case "ES256":
		return sign(t, jwt.SigningMethodES256, r.f.ec, claims)
	}
	return signAs(t, jwt.SigningMethodES256, kid, r.next, claims)
}
