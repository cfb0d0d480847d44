package jwks

import (
	"errors"
	"fmt"
	"slices"

	"sallyport/policydata"
	"sallyport/policydata/token"
)

// Selection is what an issuer's published set holds for a verifier.
type Selection struct {
	Keys    []policydata.Key
	Skipped []Skipped
}

// Skipped is an entry of a set that is not used, and why.
type Skipped struct {
	Index  int    // in the set
	KeyID  string // "": none
	Reason string
	// Flawed: the entry is meant for us and broken or weak, not merely for
	// somebody else.
	Flawed bool
}

// Select reads a set that an issuer publishes and returns the keys that verify
// signatures of one of the algorithms.
//
// Where Parse, for sets that an operator writes, refuses, Select skips: what is
// malformed or weak, besides what is not for us, since one new entry must not
// take the good keys from a running proxy (RFC 7517 section 5). The set is
// refused as a whole where what it says can't be trusted or has two readings:
// if it is no JWK Set, publishes a secret, or has two verification keys with one
// "kid".
func Select(set []byte, algorithms []string) (Selection, error) {
	entries, err := entriesOf(set)
	if err != nil {
		return Selection{}, err
	}
	var s Selection
	ids := seenIDs{}
	for i, entry := range entries {
		key, unused, err := parseKey(entry)
		if secret := secretError(""); errors.As(err, &secret) {
			return Selection{}, fmt.Errorf("keys[%d]: %w", i, err)
		}
		if unused == "" {
			if err := ids.add(key.ID, i); err != nil {
				return Selection{}, err
			}
		}
		switch {
		case err != nil:
			s.Skipped = append(s.Skipped, Skipped{i, key.ID, err.Error(), true})
		case unused != "":
			s.Skipped = append(s.Skipped, Skipped{i, key.ID, unused, false})
		case !fitsOne(key, algorithms):
			s.Skipped = append(s.Skipped, Skipped{i, key.ID, "not for an algorithm that the issuer may use", false})
		default:
			s.Keys = append(s.Keys, key)
		}
	}
	return s, nil
}

// fitsOne reports whether the key can verify one of the algorithms.
func fitsOne(key policydata.Key, algorithms []string) bool {
	if key.Algorithm != "" {
		return slices.Contains(algorithms, key.Algorithm)
	}
	return slices.ContainsFunc(algorithms, func(a string) bool {
		key.Algorithm = a
		return token.CheckKey(key) == nil
	})
}
