package filter

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"errors"
	"fmt"

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

var errNoKeyFits = errors.New("none of the trusted keys made it")

var _ policydata.VerifyFunc = trustedKeys(nil).verify

// verify is a policydata.VerifyFunc: ES256 by the proxy itself where it can,
// which is twenty times faster than in the module.
func (keys trustedKeys) verify(signed, sig []byte) error {
	for _, k := range keys {
		ok, known := verifyNatively(k.spki, signed, sig)
		if !known {
			digest := sha256.Sum256(signed)
			ok = ecdsa.VerifyASN1(k.key, digest[:], sig)
		}
		if ok {
			return nil
		}
	}
	return errNoKeyFits
}
