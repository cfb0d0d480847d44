package policydata

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Bounds on what the issuers of a snapshot hold.
const (
	maxIssuers      = 1024
	maxIssuerList   = 1024     // entries of any list of an issuer
	maxIssuerText   = 4096     // bytes of any text of an issuer
	maxIssuerSpan   = 1 << 40  // seconds; far beyond any sensible duration
	maxHeaderBytes  = 64       // of the name of a claim's header
	maxKeyInfoBytes = 16 << 10 // bytes of a public key
	algorithmNames  = " RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA "
)

// Check says what is wrong with an issuer's settings. What is empty would
// switch a check off, so it is an error.
func (i *Issuer) Check() error {
	if err := CheckName(i.Name); err != nil {
		return err
	}
	switch {
	case i.Issuer == "" || len(i.Issuer) > maxIssuerText:
		return errors.New("needs an issuer: the exact value of the iss claim")
	case len(i.Audiences) == 0 || slices.Contains(i.Audiences, ""):
		return errors.New("needs at least one audience, none of them empty")
	case len(i.Algorithms) == 0:
		return errors.New("needs at least one algorithm")
	case len(i.UsernameClaims) == 0:
		return errors.New("needs a claim path for the user name")
	case IsSystemName(i.UsernamePrefix) || IsSystemName(i.GroupsPrefix):
		return fmt.Errorf("a prefix must not begin with %q", systemPrefix)
	case i.ClockSkew < 0 || i.ClockSkew > MaxClockSkew:
		return errors.New("the clock skew is out of range")
	case i.MaxTokenLifetime <= 0 || i.MaxTokenLifetime > maxIssuerSpan:
		return errors.New("the maximum token lifetime is out of range")
	}
	for _, a := range i.Algorithms {
		if strings.Contains(a, " ") || !strings.Contains(algorithmNames, " "+a+" ") {
			return fmt.Errorf("algorithm %q is not one of%s", a, strings.TrimSuffix(algorithmNames, " "))
		}
	}
	if err := i.checkClaimPaths(); err != nil {
		return err
	}
	return i.checkClaimHeaders()
}

func (i *Issuer) checkClaimPaths() error {
	var headers [][]string
	for _, h := range i.ClaimHeaders {
		headers = append(headers, h.Claim)
	}
	for _, paths := range [][][]string{i.UsernameClaims, i.GroupsClaims, i.RolesClaims, i.ClientClaims, headers} {
		for _, path := range paths {
			if len(path) == 0 || slices.Contains(path, "") {
				return errors.New("a claim path needs at least one key, none of them empty")
			}
		}
	}
	return nil
}

// addIssuers writes the issuers in the order of their names.
func (b *Builder) addIssuers(issuers []Issuer) error {
	issuers = sortedBy(issuers, func(i *Issuer) string { return i.Name })
	err := cmp.Or(
		distinct("issuer", issuers, func(i *Issuer) string { return i.Name }),
		distinct("iss", issuers, func(i *Issuer) string { return i.Issuer }),
	)
	if err != nil {
		return err
	}
	w := issuerWriter{out: binary.LittleEndian.AppendUint32(nil, uint32(len(issuers)))}
	for i := range issuers {
		if err := issuers[i].Check(); err != nil {
			return fmt.Errorf("issuer %q: %w", issuers[i].Name, err)
		}
		w.issuer(&issuers[i])
	}
	b.sections[secIssuers] = w.out
	// What the loader would refuse must fail here, with the limits in one place.
	if _, err := decodeIssuers(string(w.out)); err != nil {
		return fmt.Errorf("issuers: %w", err)
	}
	return nil
}

// Equal reports whether two issuers are the same in everything.
func (i *Issuer) Equal(other *Issuer) bool {
	var x, y issuerWriter
	x.issuer(i)
	y.issuer(other)
	return string(x.out) == string(y.out)
}

// issuerWriter appends the fields of issuers, each list and text behind its
// length.
type issuerWriter struct{ out []byte }

func (w *issuerWriter) issuer(i *Issuer) {
	w.text(i.Name)
	w.text(i.Issuer)
	w.flag(i.Own)
	w.texts(i.Audiences)
	w.texts(i.Algorithms)
	w.number(int64(len(i.Keys)))
	for _, k := range i.Keys {
		w.text(k.ID)
		w.text(k.Algorithm)
		w.text(string(k.SPKI))
	}
	w.flag(i.FetchedKeys)
	w.text(i.UsernamePrefix)
	w.text(i.GroupsPrefix)
	w.text(i.TrimGroup)
	for _, paths := range [][][]string{i.UsernameClaims, i.GroupsClaims, i.RolesClaims, i.ClientClaims} {
		w.number(int64(len(paths)))
		for _, p := range paths {
			w.texts(p)
		}
	}
	w.number(int64(len(i.ClaimHeaders)))
	for _, h := range i.ClaimHeaders {
		w.text(h.Header)
		w.texts(h.Claim)
	}
	w.number(i.ClockSkew)
	w.number(i.MaxTokenLifetime)
	w.flag(i.RequireKnownUser)
}

func (w *issuerWriter) number(n int64) {
	w.out = binary.LittleEndian.AppendUint64(w.out, uint64(n))
}

func (w *issuerWriter) flag(f bool) {
	n := int64(0)
	if f {
		n = 1
	}
	w.number(n)
}

func (w *issuerWriter) text(s string) {
	w.out = binary.LittleEndian.AppendUint32(w.out, uint32(len(s)))
	w.out = append(w.out, s...)
}

func (w *issuerWriter) texts(ss []string) {
	w.number(int64(len(ss)))
	for _, s := range ss {
		w.text(s)
	}
}

// errIssuers is what decodeIssuers answers to bytes that no issuerWriter wrote.
var errIssuers = errors.New("malformed issuers")

// decodeIssuers reads what issuerWriter wrote. There are few issuers, so these
// become ordinary values, once at loading.
func decodeIssuers(s string) ([]Issuer, error) {
	r := issuerReader{s: s}
	n := r.count(maxIssuers, 4)
	issuers := make([]Issuer, 0, n)
	for range n {
		i := r.issuer()
		if r.bad {
			return nil, errIssuers
		}
		if err := i.Check(); err != nil {
			return nil, fmt.Errorf("issuer %q: %w", i.Name, err)
		}
		issuers = append(issuers, i)
	}
	if r.bad || r.s != "" {
		return nil, errIssuers
	}
	return issuers, nil
}

// issuerReader consumes s; bad is set where it does not hold what is asked for,
// and then all that is read is empty.
type issuerReader struct {
	s   string
	bad bool
}

func (r *issuerReader) issuer() Issuer {
	var i Issuer
	i.Name = r.text(maxIssuerText)
	i.Issuer = r.text(maxIssuerText)
	i.Own = r.flag()
	i.Audiences = r.texts()
	i.Algorithms = r.texts()
	for range r.count(maxIssuerList, 8) {
		i.Keys = append(i.Keys, Key{
			ID:        r.text(maxIssuerText),
			Algorithm: r.text(maxIssuerText),
			SPKI:      []byte(r.text(maxKeyInfoBytes)),
		})
	}
	i.FetchedKeys = r.flag()
	i.UsernamePrefix = r.text(maxIssuerText)
	i.GroupsPrefix = r.text(maxIssuerText)
	i.TrimGroup = r.text(maxIssuerText)
	for _, paths := range []*[][]string{&i.UsernameClaims, &i.GroupsClaims, &i.RolesClaims, &i.ClientClaims} {
		for range r.count(maxIssuerList, 8) {
			*paths = append(*paths, r.texts())
		}
	}
	for range r.count(MaxClaimHeaders, 8) {
		i.ClaimHeaders = append(i.ClaimHeaders, ClaimHeader{Header: r.text(maxHeaderBytes), Claim: r.texts()})
	}
	i.ClockSkew = r.number(8)
	i.MaxTokenLifetime = r.number(8)
	i.RequireKnownUser = r.flag()
	return i
}

// number reads an integer of 4 or 8 bytes.
func (r *issuerReader) number(size int) int64 {
	if r.bad || len(r.s) < size {
		r.bad = true
		return 0
	}
	var n uint64
	for i := range size {
		n |= uint64(r.s[i]) << (8 * i)
	}
	r.s = r.s[size:]
	return int64(n)
}

// count reads the length of a list. Each entry takes bytes of its own, so a
// length can't exceed what is left and nothing is allocated beyond it.
func (r *issuerReader) count(limit, size int) int {
	n := r.number(size)
	if n < 0 || n > int64(limit) || n > int64(len(r.s)) {
		r.bad = true
		return 0
	}
	return int(n)
}

func (r *issuerReader) flag() bool {
	n := r.number(8)
	if n != 0 && n != 1 {
		r.bad = true
	}
	return n == 1
}

func (r *issuerReader) text(limit int) string {
	n := r.count(limit, 4)
	if r.bad || n > len(r.s) {
		r.bad = true
		return ""
	}
	s := r.s[:n]
	r.s = r.s[n:]
	return s
}

func (r *issuerReader) texts() []string {
	var out []string
	for range r.count(maxIssuerList, 8) {
		out = append(out, r.text(maxIssuerText))
		if r.bad {
			return nil
		}
	}
	return out
}
