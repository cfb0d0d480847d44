package token

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"sallyport/policydata"
)

// SignatureFunc verifies a signature in another way than Go does, such as by a
// function of the proxy. It is asked only with a key that fits the algorithm
// and a signature of the right length and range: for ES* r and s side by side
// (RFC 7518 section 3.4). spki is the key's DER SubjectPublicKeyInfo. With
// handled false, Go verifies.
type SignatureFunc func(alg string, spki []byte, signingInput string, signature []byte) (handled, ok bool)

// Option changes a Verifier under construction.
type Option func(*Verifier)

// WithSignatureFunc lets f verify the signatures that it handles.
func WithSignatureFunc(f SignatureFunc) Option {
	return func(v *Verifier) { v.signature = f }
}

// Verifier verifies tokens of a set of issuers. It is immutable.
type Verifier struct {
	issuers   map[string]*issuer // by "iss"
	signature SignatureFunc      // nil: Go verifies
}

// issuer is a trusted issuer with its keys and algorithms parsed.
type issuer struct {
	policydata.Issuer
	keyring
}

// keyring says which keys and algorithms may sign.
type keyring struct {
	keys       []publicKey
	algorithms []algorithm
}

// NewVerifier parses and checks all keys once. Whatever would switch a check
// off, such as an issuer without audiences, and a single unusable key is an
// error that names the issuer. An issuer without keys is none: it refuses all
// of its tokens and stops no other issuer. The issuers must not change later.
func NewVerifier(issuers []policydata.Issuer, options ...Option) (*Verifier, error) {
	v := &Verifier{issuers: make(map[string]*issuer, len(issuers))}
	for _, option := range options {
		option(v)
	}
	for i := range issuers {
		parsed, err := parseIssuer(&issuers[i])
		if err != nil {
			return nil, fmt.Errorf("issuer %q: %w", issuers[i].Name, err)
		}
		if other := v.issuers[parsed.Issuer.Issuer]; other != nil {
			return nil, fmt.Errorf("issuer %q: issuer %q has the same iss", parsed.Name, other.Name)
		}
		v.issuers[parsed.Issuer.Issuer] = parsed
	}
	return v, nil
}

func parseIssuer(source *policydata.Issuer) (*issuer, error) {
	if err := source.Check(); err != nil {
		return nil, err
	}
	algorithms, err := parseAlgorithms(source.Algorithms)
	if err != nil {
		return nil, err
	}
	keys, err := parseKeys(source.Keys)
	if err != nil {
		return nil, err
	}
	i := &issuer{Issuer: *source, keyring: keyring{keys: keys, algorithms: algorithms}}
	// What a token is remembered with outlives the snapshot that these are part of.
	i.Name, i.Issuer.Issuer = strings.Clone(i.Name), strings.Clone(i.Issuer.Issuer)
	return i, nil
}

// Claims are the claims of a token that passed all checks. The zero Claims are
// those of no token.
type Claims struct {
	Payload string // the JSON object as it was signed; ValidateJSON accepts it
	// Expires is the first second at which Verify refuses the token as expired,
	// the issuer's clock skew included.
	Expires int64
}

// Verify makes all checks of a token that need no more than its issuer: see
// the package comment for their order. now is in seconds since the Unix epoch.
// The reason is ReasonAllowed for a good token; what it lets its bearer do is
// for others to decide. For every other reason the rest is zero.
func (v *Verifier) Verify(raw string, now int64) (policydata.Identity, Claims, policydata.Reason) {
	refuse := func(reason policydata.Reason) (policydata.Identity, Claims, policydata.Reason) {
		return policydata.Identity{}, Claims{}, reason
	}
	t, reason := v.parse(raw)
	if reason != policydata.ReasonAllowed {
		return refuse(reason)
	}
	if !t.header.fitsJWT() {
		return refuse(policydata.ReasonBadToken)
	}
	if reason := t.issuer.verify(&t.compact, v.signature); reason != policydata.ReasonAllowed {
		return refuse(reason)
	}
	identity, reason := t.identity(now)
	if reason != policydata.ReasonAllowed {
		return refuse(reason)
	}
	exp, _ := numericDate(t.claims.exp)
	return identity, Claims{Payload: t.payload, Expires: int64(exp) + t.issuer.ClockSkew}, policydata.ReasonAllowed
}

// parsed is a token of a trusted issuer, as the token says; nothing of it is
// verified.
type parsed struct {
	compact
	object gjson.Result // the payload
	claims registered
	issuer *issuer
}

// parse makes the checks before those of the header: structure and issuer.
func (v *Verifier) parse(raw string) (t parsed, reason policydata.Reason) {
	var ok bool
	if t.compact, ok = parseCompact(raw); !ok {
		return parsed{}, policydata.ReasonBadToken
	}
	if t.object, ok = parseObject(t.payload); !ok {
		return parsed{}, policydata.ReasonBadToken
	}
	t.claims = readClaims(t.object)
	t.issuer = v.issuers[t.claims.iss.Str]
	if t.issuer == nil || t.claims.iss.Type != gjson.String {
		return parsed{}, policydata.ReasonUnknownIssuer
	}
	return t, policydata.ReasonAllowed
}

// identity makes the checks behind that of the signature: of the claims.
func (t *parsed) identity(now int64) (policydata.Identity, policydata.Reason) {
	if reason := t.issuer.checkClaims(&t.claims, now); reason != policydata.ReasonAllowed {
		return policydata.Identity{}, reason
	}
	return mapClaims(&t.issuer.Issuer, t.object, &t.claims)
}

// VerifySignature checks a compact JWS against keys and the algorithms that are
// allowed, by the code of Verify: structure, header, key, signature. The
// payload may be anything, and "typ" too. Without a usable list of keys and
// algorithms the answer is bad_token.
func VerifySignature(jws string, keys []policydata.Key, algorithms []string, options ...Option) policydata.Reason {
	var v Verifier
	for _, option := range options {
		option(&v)
	}
	parsedAlgorithms, err := parseAlgorithms(algorithms)
	if err != nil {
		return policydata.ReasonBadToken
	}
	parsedKeys, err := parseKeys(keys)
	if err != nil {
		return policydata.ReasonBadToken
	}
	t, ok := parseCompact(jws)
	if !ok {
		return policydata.ReasonBadToken
	}
	ring := keyring{keys: parsedKeys, algorithms: parsedAlgorithms}
	return ring.verify(&t, v.signature)
}

// verify checks header, key and signature.
func (r *keyring) verify(t *compact, native SignatureFunc) policydata.Reason {
	if t.header.refused {
		return policydata.ReasonBadToken
	}
	a := r.algorithm(t.header.alg)
	if a == nil {
		return policydata.ReasonBadToken
	}
	key := r.key(&t.header, a)
	if key == nil {
		return policydata.ReasonBadToken
	}
	if !key.verify(a, t, native) {
		return policydata.ReasonBadSignature
	}
	return policydata.ReasonAllowed
}

func (r *keyring) algorithm(name string) *algorithm {
	for i := range r.algorithms {
		if r.algorithms[i].name == name {
			return &r.algorithms[i]
		}
	}
	return nil
}

// key returns the one key that the header means, or nil. No key is ever tried
// in the hope that it fits: that would let garbage cost a signature a key.
func (r *keyring) key(h *header, a *algorithm) *publicKey {
	var found *publicKey
	for i := range r.keys {
		k := &r.keys[i]
		switch {
		case h.hasKid && (k.id == "" || k.id != h.kid), !k.fits(a):
			continue
		case found != nil:
			return nil
		}
		found = k
	}
	return found
}

func (k *publicKey) verify(a *algorithm, t *compact, native SignatureFunc) bool {
	if !k.wellFormed(t.signature) {
		return false
	}
	if native != nil {
		if handled, ok := native(a.name, k.spki, t.signingInput, t.signature); handled {
			return ok
		}
	}
	return a.method.Verify(t.signingInput, t.signature, k.key) == nil
}

// checkClaims checks times, audience and lifetime, in this order.
func (i *issuer) checkClaims(c *registered, now int64) policydata.Reason {
	if !c.exp.Exists() {
		return policydata.ReasonExpired // a token must say when it ends
	}
	exp, ok := numericDate(c.exp)
	if !ok {
		return policydata.ReasonBadToken
	}
	// RFC 7519 section 4.1.4: not to be accepted on or after. Fractions are cut,
	// as now has none either.
	if float64(now-i.ClockSkew) >= math.Floor(exp) {
		return policydata.ReasonExpired
	}
	for _, claim := range []gjson.Result{c.nbf, c.iat} {
		if !claim.Exists() {
			continue
		}
		from, ok := numericDate(claim)
		if !ok {
			return policydata.ReasonBadToken
		}
		if float64(now+i.ClockSkew) < from {
			return policydata.ReasonNotYetValid
		}
	}
	if reason := i.checkAudience(c.aud); reason != policydata.ReasonAllowed {
		return reason
	}
	issued := float64(now)
	if iat, ok := numericDate(c.iat); ok {
		issued = iat
	}
	if exp-issued > float64(i.MaxTokenLifetime) {
		return policydata.ReasonBadToken
	}
	return policydata.ReasonAllowed
}

// checkAudience wants one of the issuer's audiences in "aud", a string or an
// array of strings (RFC 7519 section 4.1.3).
func (i *issuer) checkAudience(aud gjson.Result) policydata.Reason {
	reason := policydata.ReasonBadAudience
	switch {
	case !aud.Exists():
		return reason
	case aud.Type != gjson.String && !aud.IsArray():
		return policydata.ReasonBadToken
	}
	// A string is walked as if it were an array of one.
	aud.ForEach(func(_, value gjson.Result) bool {
		if value.Type != gjson.String {
			reason = policydata.ReasonBadToken
			return false
		}
		if slices.Contains(i.Audiences, value.Str) {
			reason = policydata.ReasonAllowed
		}
		return true
	})
	return reason
}
