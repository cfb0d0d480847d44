package policydata

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// addRevoked writes the revoked tokens in the order of their look-up.
func (b *Builder) addRevoked(revoked []RevokedToken, issuers []Issuer) error {
	if len(revoked) > MaxRevokedTokens {
		return fmt.Errorf("%d revoked tokens, more than %d", len(revoked), MaxRevokedTokens)
	}
	known := make(map[string]bool, len(issuers))
	for i := range issuers {
		known[issuers[i].Name] = true
	}
	revoked = slices.Clone(revoked)
	slices.SortFunc(revoked, compareRevoked)
	for i, r := range revoked {
		switch {
		case !known[r.Issuer]:
			return fmt.Errorf("revoked token of unknown issuer %q", r.Issuer)
		case r.ID == "" || len(r.ID) > MaxTokenIDBytes:
			return fmt.Errorf("revoked token of issuer %q: its id has 1 to %d bytes", r.Issuer, MaxTokenIDBytes)
		case r.Expires <= 0:
			return fmt.Errorf("revoked token %q of issuer %q: when it expires must be known", r.ID, r.Issuer)
		case i > 0 && compareRevoked(revoked[i-1], r) == 0:
			return fmt.Errorf("revoked token %q of issuer %q stands twice", r.ID, r.Issuer)
		}
		b.put(secRevoked, b.str(r.Issuer), b.str(r.ID))
		b.sections[secRevoked] = binary.LittleEndian.AppendUint64(b.sections[secRevoked], uint64(r.Expires))
	}
	return nil
}

// compareRevoked orders revoked tokens by issuer and id.
func compareRevoked(x, y RevokedToken) int {
	return cmp.Or(cmp.Compare(x.Issuer, y.Issuer), cmp.Compare(x.ID, y.ID))
}

// RevokedUntil returns when a token that is revoked by its id expires, in
// seconds since the Unix epoch; 0 if it is not revoked. issuer is the name of
// an Issuer.
func (s *Snapshot) RevokedUntil(issuer, id string) int64 {
	want := RevokedToken{Issuer: issuer, ID: id}
	lo := firstNotBefore(s.section[secRevoked].count, func(i uint32) bool {
		return compareRevoked(s.revoked(i), want) < 0
	})
	if lo == s.section[secRevoked].count {
		return 0
	}
	found := s.revoked(lo)
	if compareRevoked(found, want) != 0 {
		return 0
	}
	return found.Expires
}

func (s *Snapshot) revoked(i uint32) RevokedToken {
	rec := s.at(secRevoked, i)
	return RevokedToken{
		Issuer:  s.str(s.u32(rec + revIssuer)),
		ID:      s.str(s.u32(rec + revID)),
		Expires: int64(s.u64(rec + revExpires)),
	}
}

// revoked checks the order that the look-up needs.
func (v *validator) revoked() {
	if v.s.section[secRevoked].count > MaxRevokedTokens {
		v.fail(secRevoked, 0, "too many revoked tokens")
	}
	v.below(secRevoked, revIssuer, secStrings, false)
	v.below(secRevoked, revID, secStrings, false)
	var before RevokedToken
	v.each(secRevoked, func(i, _ uint32) {
		this := v.s.revoked(i)
		if this.Expires <= 0 {
			v.fail(secRevoked, i, "a revoked token that never expires")
		}
		if i > 0 && compareRevoked(before, this) >= 0 {
			v.fail(secRevoked, i, "revoked tokens are not in ascending order")
		}
		before = this
	})
}
