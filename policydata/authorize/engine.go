package authorize

import (
	"strings"

	"sallyport/policydata"
	"sallyport/policydata/token"
)

// Request is a request's head as a proxy has it, nothing decoded or joined.
type Request struct {
	Method    string      // ":method"
	Target    string      // ":path": the raw path with its query
	Authority string      // ":authority"
	Headers   [][2]string // in order, repeated ones each; names in lower case
	API       bool        // the request is for the host's own API
}

// Engine decides requests against one snapshot. It serves one goroutine at a
// time.
type Engine struct {
	snapshot  *policydata.Snapshot
	verifier  *token.Verifier
	source    TokenSource
	evaluator *policydata.Evaluator
	cache     *token.Cache // nil: every token is verified

	// Of the decision that is being made; here, so that it allocates nothing.
	request  policydata.Request
	identity policydata.Identity
	unproven string // the token, where it was bad_token
	now      int64
}

// New returns an Engine over a snapshot, which may be nil: then every request
// is refused with no_snapshot. The error says which issuer's keys are unusable.
func New(s *policydata.Snapshot, source TokenSource, options ...token.Option) (*Engine, error) {
	e := &Engine{snapshot: s, source: source, evaluator: policydata.NewEvaluator()}
	if s == nil {
		return e, nil
	}
	v, err := token.NewVerifier(s.Issuers(), options...)
	if err != nil {
		return nil, err
	}
	e.verifier = v
	return e, nil
}

// CacheTokens makes the Engine remember the tokens that it has verified. Of the
// engine that it replaces, which may be nil, it takes over the tokens of issuers
// that have not changed in anything: keys, audiences, algorithms, claim paths,
// skew, lifetime. The other engine begins anew: what it still verifies, by its own
// issuers, must not count here.
func (e *Engine) CacheTokens(replaced *Engine) {
	e.cache = token.NewCache()
	if replaced == nil || replaced.cache == nil {
		return
	}
	cache := replaced.cache
	replaced.cache = token.NewCache()
	if replaced.snapshot == nil || e.snapshot == nil {
		return
	}
	e.cache = cache
	before, after := replaced.snapshot.Issuers(), e.snapshot.Issuers()
	e.cache.Keep(func(name string) bool {
		old, now := issuerNamed(before, name), issuerNamed(after, name)
		return old != nil && now != nil && old.Equal(now)
	})
}

func issuerNamed(issuers []policydata.Issuer, name string) *policydata.Issuer {
	for i := range issuers {
		if issuers[i].Name == name {
			return &issuers[i]
		}
	}
	return nil
}

// verify verifies a token and sets e.identity to whom it names.
func (e *Engine) verify(raw string, now int64) (reason policydata.Reason) {
	var claims token.Claims
	if e.cache != nil {
		e.identity, claims, reason = e.verifier.VerifyCached(e.cache, raw, now)
	} else {
		e.identity, claims, reason = e.verifier.Verify(raw, now)
	}
	e.identity.Claims = claims.Payload
	switch {
	case reason == policydata.ReasonBadToken:
		e.unproven = raw
	case reason == policydata.ReasonAllowed && e.revoked():
		return policydata.ReasonRevoked
	}
	return reason
}

// MissingKey says what the last decision lacked, if [Engine.Authorize] answered
// bad_token for nothing but a key: the issuer's keys are fetched, and none of
// those that the snapshot has is the one that the token names by its "kid".
// What can be checked without the key was checked, so that a token which could
// not be accepted anyway asks for none. Both texts are the token's, so anybody's.
func (e *Engine) MissingKey() (iss, kid string, ok bool) {
	if e.unproven == "" {
		return "", "", false
	}
	return e.verifier.MissingKey(e.unproven, e.now)
}

// Authorize decides r at a time in seconds since the Unix epoch. The decision
// is valid until the next call.
func (e *Engine) Authorize(r *Request, now int64) policydata.Decision {
	if d, ok := e.begin(r, now); !ok {
		return d
	}
	raw, reason := e.source.find(r.Headers)
	if raw != "" {
		reason = e.verify(raw, now)
	}
	return e.finish(reason)
}

// AuthorizeClaims decides r as if it came with a token that has these claims
// and passes every check of a token: for asking what somebody may do. The claim
// "iss" picks the issuer; without it the only issuer is taken.
func (e *Engine) AuthorizeClaims(r *Request, claims string, now int64) policydata.Decision {
	if d, ok := e.begin(r, now); !ok {
		return d
	}
	if token.ValidateJSON(claims) != nil {
		return e.finish(policydata.ReasonBadToken)
	}
	issuer := e.issuerOf(claims)
	if issuer == nil {
		return e.finish(policydata.ReasonUnknownIssuer)
	}
	var reason policydata.Reason
	e.identity, reason = token.Map(issuer, claims)
	e.identity.Claims = claims
	return e.finish(reason)
}

// AuthorizeIdentity decides r for an identity that was proven otherwise than by
// a token: the access keys of the host's own API, whose IssuedAt is when they were
// made. What revokes a user's tokens revokes these, too.
func (e *Engine) AuthorizeIdentity(r *Request, id *policydata.Identity, now int64) policydata.Decision {
	if d, ok := e.begin(r, now); !ok {
		return d
	}
	e.identity = *id
	if e.revoked() {
		return e.finish(policydata.ReasonRevoked)
	}
	return e.finish(policydata.ReasonAllowed)
}

// begin makes the steps before the token, and prepares e.request. It is not ok
// if one of them decides.
func (e *Engine) begin(r *Request, now int64) (policydata.Decision, bool) {
	e.identity, e.unproven, e.now = policydata.Identity{}, "", now
	if e.snapshot == nil {
		return policydata.Decision{Reason: policydata.ReasonNoSnapshot}, false
	}
	if expires := e.snapshot.Expires(); expires != 0 && now >= expires {
		return e.refusal(policydata.ReasonStaleSnapshot), false
	}
	path, pathOK := policydata.CanonicalPath(r.Target)
	host, hostOK := policydata.CanonicalHost(r.Authority)
	if !pathOK || !hostOK || !policydata.IsToken(r.Method) {
		return e.refusal(policydata.ReasonBadPath), false
	}
	_, query, _ := strings.Cut(r.Target, "?")
	e.request = policydata.Request{
		Method: r.Method, Path: path, Host: host, Preflight: isPreflight(r), API: r.API,
		Query: query, Headers: r.Headers, TokenHeader: e.source.header(), Time: now,
	}
	return policydata.Decision{}, true
}

// finish asks the gates for e.identity, unless the reason refuses it.
func (e *Engine) finish(reason policydata.Reason) policydata.Decision {
	if reason != policydata.ReasonAllowed {
		return e.refusal(reason)
	}
	return e.evaluator.Decide(e.snapshot, &e.request, &e.identity)
}

// refusal is a decision before any gate.
func (e *Engine) refusal(reason policydata.Reason) policydata.Decision {
	return policydata.Decision{Reason: reason, Epoch: e.snapshot.Epoch(), Generation: e.snapshot.Generation()}
}

// Issuer returns the "iss" of the token by which the last allowed decision was
// made; "" if there was none.
func (e *Engine) Issuer() string { return e.identity.Iss }

// Groups returns the effective groups of the last decision's user, valid until
// the next.
func (e *Engine) Groups() []string { return e.evaluator.Groups() }

// revoked reports whether the user's tokens up to a later time than this one's
// were revoked, or this one by its id. A token that doesn't say when it was
// issued counts as older. A revocation by id counts as long as the snapshot has
// it: that the token has expired by then was checked already, by its own "exp".
func (e *Engine) revoked() bool {
	id := &e.identity
	if notBefore := e.snapshot.TokensNotBefore(id.User); notBefore != 0 && id.IssuedAt < notBefore {
		return true
	}
	return id.TokenID != "" && e.snapshot.RevokedUntil(id.Issuer, id.TokenID) != 0
}

// isPreflight reports whether r is a CORS preflight (Fetch standard, "HTTP
// requests").
func isPreflight(r *Request) bool {
	if r.Method != "OPTIONS" {
		return false
	}
	origin, method := false, false
	for i := range r.Headers {
		switch r.Headers[i][0] {
		case "origin":
			origin = true
		case "access-control-request-method":
			method = true
		}
	}
	return origin && method
}

// TokenSource is the one place where a request's token is looked for. The zero
// TokenSource is "Authorization: Bearer" (RFC 6750 section 2.1).
type TokenSource struct {
	Header string // a header that holds the token, bare or behind "Bearer"; in lower case
	Cookie string // or a cookie that holds it
}

// header returns the name of the header that has the token in it.
func (s *TokenSource) header() string {
	switch {
	case s.Cookie != "":
		return "cookie"
	case s.Header != "":
		return s.Header
	}
	return "authorization"
}

// find returns the token that headers hold. Without one it is empty, and the
// reason is allowed where there are no credentials at all, and bad_token where
// they are ambiguous: which of several a proxy takes must not be chance.
func (s *TokenSource) find(headers [][2]string) (string, policydata.Reason) {
	if s.Cookie != "" {
		return findCookie(headers, s.Cookie)
	}
	name := s.header()
	value, count := "", 0
	for i := range headers {
		if headers[i][0] == name {
			value = headers[i][1]
			count++
		}
	}
	if count > 1 {
		return "", policydata.ReasonBadToken
	}
	value = strings.Trim(value, " \t")
	if value == "" {
		return "", policydata.ReasonAllowed
	}
	return s.credentials(value)
}

func (s *TokenSource) credentials(value string) (string, policydata.Reason) {
	const bearer = "bearer"
	end := strings.IndexAny(value, " \t")
	scheme, rest := value, ""
	if end >= 0 {
		scheme, rest = value[:end], strings.TrimLeft(value[end:], " \t")
	}
	switch {
	case strings.EqualFold(scheme, bearer):
		return single(rest)
	case s.Header != "":
		return single(value)
	case joinsBearer(value):
		return "", policydata.ReasonBadToken
	}
	return "", policydata.ReasonAllowed
}

// single returns value as a token, if there is any. A list, or several words,
// is none, and bad_token to who verifies it: a token is base64url and dots.
func single(value string) (string, policydata.Reason) {
	if value == "" {
		return "", policydata.ReasonBadToken
	}
	return value, policydata.ReasonAllowed
}

// joinsBearer reports whether credentials of another scheme have a bearer token
// behind a comma, as an intermediary joins repeated headers (RFC 9110 section
// 5.3).
func joinsBearer(value string) bool {
	for part := range strings.SplitSeq(value, ",") {
		part = strings.TrimLeft(part, " \t")
		if len(part) >= 6 && strings.EqualFold(part[:6], "bearer") && (len(part) == 6 || part[6] == ' ' || part[6] == '\t') {
			return true
		}
	}
	return false
}

// findCookie returns the one cookie called name (RFC 6265 section 4.2.1).
func findCookie(headers [][2]string, name string) (string, policydata.Reason) {
	value, count := "", 0
	for i := range headers {
		if headers[i][0] != "cookie" {
			continue
		}
		for pair := range strings.SplitSeq(headers[i][1], ";") {
			k, v, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
			if k == name {
				value = v
				count++
			}
		}
	}
	switch {
	case count == 0:
		return "", policydata.ReasonAllowed
	case count > 1:
		return "", policydata.ReasonBadToken
	}
	return single(value)
}
