package policydata

import (
	"errors"
	"fmt"
	"unsafe"
)

// Snapshot is a loaded snapshot. It is immutable and may be used by any number
// of Evaluators at once. It reads in place what Load was given.
type Snapshot struct {
	text         string // all bytes, once more as a string: what is read is never copied
	length       uint32 // of the signed part
	keyID        string
	mark         string // see Mark
	section      [numSections]span
	issuers      []Issuer
	claimHeaders HeaderNames // of all issuers

	authenticated, unauthenticated uint32 // the built-in groups, or none

	ruleTerminals, terminals []uint32 // see indexTerminals
}

// span is where a section's records lie.
type span struct{ offset, count uint32 }

// ErrSignature is returned by Load for a snapshot whose signature does not fit.
var ErrSignature = errors.New("policydata: the signature does not verify")

// FormatError says what is wrong with a snapshot's bytes, and where.
type FormatError struct {
	Offset int    // in bytes from the snapshot's first
	Reason string // what is wrong there
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("policydata: bad snapshot at byte %d: %s", e.Offset, e.Reason)
}

// VerifyFunc checks a signature over signed, ASN.1 DER as in AppendSignature.
// It returns nil only if the signature is good.
type VerifyFunc func(signed, sig []byte) error

// Load checks all of b, the signature first, so that reading the snapshot later
// can't fail. It keeps b, which must not change from here on. The error is
// ErrSignature (wrapped), or a *FormatError.
func Load(b []byte, verify VerifyFunc) (*Snapshot, error) {
	if verify == nil {
		return nil, ErrSignature
	}
	s, sig, err := open(b)
	if err != nil {
		return nil, err
	}
	if err := verify(b[:s.length], sig); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	if err := s.validate(); err != nil {
		return nil, err
	}
	s.mark = markOf(sig)
	return s, nil
}

// KeyID returns which key signed the snapshot b, before anything is verified:
// it serves to pick among trusted keys, and to say what is wrong.
func KeyID(b []byte) (string, error) {
	s, _, err := open(b)
	if err != nil {
		return "", err
	}
	return s.keyID, nil
}

// open checks the frame of a snapshot: magic, version, lengths, signature block.
func open(b []byte) (*Snapshot, []byte, error) {
	if len(b) > MaxSnapshotBytes {
		return nil, nil, &FormatError{0, "larger than the limit"}
	}
	if len(b) < headerBytes+numSections*sectionEntryBytes || string(b[:len(snapshotMagic)]) != snapshotMagic {
		return nil, nil, &FormatError{0, "not a snapshot"}
	}
	// The string shares b's memory, which Load's contract makes immutable.
	s := &Snapshot{text: unsafe.String(unsafe.SliceData(b), len(b))}
	if v := s.u32(hdrVersion); v != snapshotVersion {
		return nil, nil, &FormatError{hdrVersion, "version of the format is not known; it needs a newer reader"}
	}
	s.length = s.u32(hdrLength)
	if s.length < headerBytes || uint64(s.length) > uint64(len(b)) {
		return nil, nil, &FormatError{hdrLength, "truncated"}
	}
	var sig []byte
	var err error
	s.keyID, sig, err = ParseSignature(b[s.length:])
	if err != nil {
		return nil, nil, &FormatError{int(s.length), err.Error()}
	}
	return s, sig, nil
}

// word reads a little-endian u32.
func word(text string, offset int) uint32 {
	t := text[offset : offset+4]
	return uint32(t[0]) | uint32(t[1])<<8 | uint32(t[2])<<16 | uint32(t[3])<<24
}

// u32 reads a little-endian field.
func (s *Snapshot) u32(offset uint32) uint32 { return word(s.text, int(offset)) }

func (s *Snapshot) u64(offset uint32) uint64 {
	return uint64(s.u32(offset)) | uint64(s.u32(offset+4))<<32
}

// at returns the offset of a section's record i.
func (s *Snapshot) at(sec int, i uint32) uint32 {
	return s.section[sec].offset + i*recordBytes[sec]
}

// records returns all of a section's records.
func (s *Snapshot) records(sec int) string {
	return s.text[s.section[sec].offset:][:s.section[sec].count*recordBytes[sec]]
}

// stride is the size of a section's records.
func stride(sec int) int { return int(recordBytes[sec]) }

// field reads a u32 field of record i of a section.
func (s *Snapshot) field(sec int, i, field uint32) uint32 { return s.u32(s.at(sec, i) + field) }

// str returns the text with an id; none is the empty text.
func (s *Snapshot) str(id uint32) string {
	if id == none {
		return ""
	}
	rec := s.at(secStrings, id)
	start := s.section[secText].offset + s.u32(rec)
	return s.text[start : start+s.u32(rec+4)]
}

// listItem returns item i of a pool of lists.
func (s *Snapshot) listItem(pool int, i uint32) uint32 { return s.field(pool, i, 0) }

// Epoch returns the snapshot's epoch, which orders before its generation.
func (s *Snapshot) Epoch() uint64 { return s.u64(hdrEpoch) }

// Generation returns the generation of the store that the snapshot holds.
func (s *Snapshot) Generation() uint64 { return s.u64(hdrGeneration) }

// Created returns when its generation was committed, in seconds since the Unix
// epoch.
func (s *Snapshot) Created() int64 { return int64(s.u64(hdrCreated)) }

// Expires returns when the snapshot becomes stale, in seconds since the Unix
// epoch; 0 means never.
func (s *Snapshot) Expires() int64 { return int64(s.u64(hdrExpires)) }

// KeyID returns which key signed the snapshot, as the snapshot says.
func (s *Snapshot) KeyID() string { return s.keyID }

// Size returns the snapshot's size in bytes, signature included.
func (s *Snapshot) Size() int { return len(s.text) }

// ClaimHeaders returns the headers that some issuer's claims set, whatever
// issuer's token a request has, if any. No client may send one.
func (s *Snapshot) ClaimHeaders() HeaderNames {
	if s == nil {
		return HeaderNames{}
	}
	return s.claimHeaders
}

// HasClaimHeaders reports whether there is any such header.
func (s *Snapshot) HasClaimHeaders() bool { return s != nil && s.claimHeaders.names != nil }

// Issuers returns the trusted issuers. The caller must not change them.
func (s *Snapshot) Issuers() []Issuer { return s.issuers }

// Counts says how many entities a snapshot holds.
type Counts struct {
	Policies, Rules, Paths, Users, Groups, Roles, Services, Issuers, Revoked int
}

// Counts returns how many entities the snapshot holds.
func (s *Snapshot) Counts() Counts {
	n := func(sec int) int { return int(s.section[sec].count) }
	return Counts{
		Policies: n(secPolicies), Rules: n(secRules), Paths: n(secTerminals), Users: n(secUsers),
		Groups: n(secGroups), Roles: n(secRoles), Services: n(secServices), Issuers: len(s.issuers),
		Revoked: n(secRevoked),
	}
}

// find looks a name up in a hash table over a section whose records begin with
// the id of their name. It returns none if there is no such record.
func (s *Snapshot) find(index, sec, seed int, name string) uint32 {
	mask := s.section[index].count - 1
	at := hashText(s.field(secSeeds, uint32(seed), 0), name) & mask
	for range maxProbes {
		i := s.field(index, at, 0)
		if i == none {
			return none
		}
		if s.str(s.field(sec, i, 0)) == name {
			return i
		}
		at = (at + 1) & mask
	}
	return none
}

func (s *Snapshot) findUser(name string) uint32 {
	return s.find(secUserIndex, secUsers, seedUsers, name)
}

func (s *Snapshot) findGroup(name string) uint32 {
	return s.find(secGroupIndex, secGroups, seedGroups, name)
}

func (s *Snapshot) findClaim(value string) uint32 {
	return s.find(secClaimIndex, secRoleClaims, seedClaims, value)
}

// child follows the literal edge from a trie node; hash is hashEdge of the path
// that ends with it.
func (s *Snapshot) child(node, hash uint32, text string) uint32 {
	mask := s.section[secEdges].count - 1
	at := hash & mask
	for range maxProbes {
		rec := s.at(secEdges, at)
		parent := s.u32(rec + edgeParent)
		if parent == none {
			return none
		}
		if parent == node && s.str(s.u32(rec+edgeText)) == text {
			return s.u32(rec + edgeChild)
		}
		at = (at + 1) & mask
	}
	return none
}

// firstNotBefore returns the first of n sorted records that is not before what is
// looked for, n if all are.
func firstNotBefore(n uint32, before func(uint32) bool) uint32 {
	lo, hi := uint32(0), n
	for lo < hi {
		mid := lo + (hi-lo)/2
		if before(mid) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// findService returns the service that has a name, or none. Services are
// sorted by name.
func (s *Snapshot) findService(name string) uint32 {
	lo := firstNotBefore(s.section[secServices].count, func(i uint32) bool {
		return s.str(s.field(secServices, i, svcName)) < name
	})
	if lo < s.section[secServices].count && s.str(s.field(secServices, lo, svcName)) == name {
		return lo
	}
	return none
}

// findIdentity returns the first identity at or after an issuer's client and
// subject, in the order of compareIdentity.
func (s *Snapshot) findIdentity(want ServiceIdentity) uint32 {
	return firstNotBefore(s.section[secIdentities].count, func(i uint32) bool {
		return compareIdentity(s.identity(i), want) < 0
	})
}

func (s *Snapshot) identity(i uint32) ServiceIdentity {
	rec := s.at(secIdentities, i)
	return ServiceIdentity{
		Issuer:  s.str(s.u32(rec + identIssuer)),
		Client:  s.str(s.u32(rec + identClient)),
		Subject: s.str(s.u32(rec + identSubject)),
	}
}

// TokensNotBefore returns the time before which tokens of a user were revoked,
// in seconds since the Unix epoch; 0 if they were not or the user is unknown.
func (s *Snapshot) TokensNotBefore(user string) int64 {
	i := s.findUser(user)
	if i == none {
		return 0
	}
	return int64(s.u64(s.at(secUsers, i) + userNotBefore))
}
