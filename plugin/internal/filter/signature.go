package filter

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"sallyport/plugin/internal/native"
	"sallyport/policydata"
	"sallyport/policydata/token"
)

// trustedKeys are the keys that may sign snapshots: from the plugin's own
// configuration and from nowhere else.
type trustedKeys []trustedKey

type trustedKey struct {
	spki []byte
	key  *ecdsa.PublicKey
}

func parseTrustedKeys(spkis [][]byte) (trustedKeys, error) {
	keys := make(trustedKeys, 0, len(spkis))
	for i, spki := range spkis {
		parsed, err := token.ParseSPKI(spki)
		if err != nil {
			return nil, fmt.Errorf("trusted_keys: entry %d: %w", i, err)
		}
		key, ok := parsed.(*ecdsa.PublicKey)
		if !ok || key.Curve != elliptic.P256() {
			return nil, fmt.Errorf("trusted_keys: entry %d: want a P-256 key", i)
		}
		keys = append(keys, trustedKey{spki, key})
	}
	return keys, nil
}

// contain reports whether a key is one of keys.
func (keys trustedKeys) contain(spki []byte) bool {
	return slices.ContainsFunc(keys, func(k trustedKey) bool { return bytes.Equal(k.spki, spki) })
}

var errNoKeyFits = errors.New("none of the trusted keys made it")

// verifier verifies one snapshot.
type verifier struct {
	keys   trustedKeys
	signer []byte // the key that made the signature; nil until then
}

var _ policydata.VerifyFunc = (*verifier)(nil).verify

// verify is a policydata.VerifyFunc: ES256 by the proxy itself where it can,
// which is twenty times faster than in the module.
func (v *verifier) verify(signed, sig []byte) error {
	for _, k := range v.keys {
		ok, known := native.Verify("sha256", k.spki, signed, sig)
		if !known {
			digest := sha256.Sum256(signed)
			ok = ecdsa.VerifyASN1(k.key, digest[:], sig)
		}
		if ok {
			v.signer = k.spki
			return nil
		}
	}
	return errNoKeyFits
}
