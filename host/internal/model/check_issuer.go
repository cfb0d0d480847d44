package model

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"sallyport/policydata"
)

const (
	maxClockSkew   = Duration(policydata.MaxClockSkew * time.Second)
	maxKeepRemoved = Duration(24 * time.Hour)

	// What a snapshot can hold; beyond it a commit could not be published.
	maxIssuers       = 1024
	maxIssuerEntries = 1024 // of any list of an issuer
)

// algorithms are the signature algorithms of RFC 7518 section 3.1 and RFC 8037
// section 3.1 whose verifiers can't sign.
var algorithms = []string{
	"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
}

func (c *checker) issuer(i *Issuer) {
	c.required("spec.issuer", i.Issuer)
	c.size("spec.audiences", len(i.Audiences), 1, maxIssuerEntries)
	c.distinct("spec.audiences", i.Audiences)
	for n, a := range i.Audiences {
		c.required(index("spec.audiences", n), a)
	}
	if len(i.Algorithms) == 0 {
		c.addf("spec.algorithms", "expected at least one algorithm out of %s", strings.Join(algorithms, " "))
	}
	c.distinct("spec.algorithms", i.Algorithms)
	for n, a := range i.Algorithms {
		c.algorithm(index("spec.algorithms", n), a)
	}
	c.jwks(i)
	c.prefix("spec.usernamePrefix", i.UsernamePrefix)
	c.prefix("spec.groupsPrefix", i.GroupsPrefix)
	c.claims(i.Claims)
	if i.ClockSkew < 0 || i.ClockSkew > maxClockSkew {
		c.addf("spec.clockSkew", "expected 0s to %s, got %s", maxClockSkew, i.ClockSkew)
	}
	if i.MaxTokenLifetime <= 0 {
		c.addf("spec.maxTokenLifetime", "expected more than 0s, got %s", i.MaxTokenLifetime)
	}
}

func (c *checker) algorithm(field, a string) {
	switch {
	case slices.Contains(algorithms, a):
	case strings.EqualFold(a, "none"):
		c.addf(field, "a token without signature is never accepted")
	case strings.HasPrefix(strings.ToUpper(a), "HS"):
		c.addf(field, "%s is not supported: whoever can verify such a token can also sign one", a)
	default:
		c.addf(field, "expected one of %s, got %q", strings.Join(algorithms, " "), a)
	}
}

func (c *checker) jwks(i *Issuer) {
	k := i.JWKS
	set := 0
	for _, is := range []bool{len(k.Inline) > 0, k.URI != "", k.Discovery} {
		if is {
			set++
		}
	}
	switch {
	case set != 1:
		c.addf("spec.jwks", "expected exactly one of inline, uri and discovery: true, got %d of them", set)
	case k.URI != "":
		c.fetched("spec.jwks.uri", "spec.jwks.uri", k.URI)
	case k.Discovery:
		c.fetched("spec.jwks.discovery", "spec.issuer", i.Issuer)
	case c.checks.Keys == nil:
		c.addf("spec.jwks.inline", "keys can't be checked here")
	default:
		c.add("spec.jwks.inline", c.checks.Keys(k.Inline))
	}
	if k.KeepRemoved == nil {
		return
	}
	if len(k.Inline) > 0 {
		c.addf("spec.jwks.keepRemoved", "is for keys that are fetched")
	}
	if *k.KeepRemoved < 0 || *k.KeepRemoved > maxKeepRemoved {
		c.addf("spec.jwks.keepRemoved", "expected 0s to %s, got %s", maxKeepRemoved, *k.KeepRemoved)
	}
}

// fetched checks where keys would be fetched from: what asks for that stands in
// field, the URL in urlField.
func (c *checker) fetched(field, urlField, text string) {
	c.text(urlField, text)
	if err := checkKeyURL(text); err != nil {
		c.addf(urlField, "expected an https URL for the keys to be fetched from: %s", err)
		return
	}
	switch {
	case c.checks.KeyURL != nil:
		c.add(urlField, c.checks.KeyURL(text))
	case !c.checks.WithoutKeys:
		c.addf(field, "keys are fetched by a host alone; give them as spec.jwks.inline here")
	}
}

// checkKeyURL checks what holds for all hosts.
func checkKeyURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return errors.New("it is malformed")
	case u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		return errors.New("it is none")
	case u.User != nil:
		return errors.New("credentials don't belong there")
	case strings.Contains(text, "#"):
		return errors.New("a fragment is never sent")
	}
	return nil
}

func (c *checker) prefix(field, p string) {
	c.text(field, p)
	if policydata.IsSystemName(p) {
		c.addf(field, `must not begin with "system:"`)
	}
}

func (c *checker) claims(m Claims) {
	if len(m.Username) == 0 {
		c.addf("spec.claims.username", "expected at least one claim path")
	}
	c.claimPaths("spec.claims.username", m.Username)
	c.claimPaths("spec.claims.groups", m.Groups)
	c.claimPaths("spec.claims.roles", m.Roles)
	c.claimPaths("spec.claims.client", m.Client)
	c.text("spec.claims.trimGroupPrefix", m.TrimGroupPrefix)
	c.claimHeaders("spec.claims.headers", m.Headers)
}

func (c *checker) claimHeaders(field string, headers []ClaimHeader) {
	c.size(field, len(headers), 0, policydata.MaxClaimHeaders)
	seen := map[string]bool{}
	for i, h := range headers {
		at := index(field, i)
		c.add(at+".header", policydata.CheckClaimHeader(h.Header))
		if seen[h.Header] {
			c.addf(at+".header", "%q is listed twice", h.Header)
		}
		seen[h.Header] = true
		c.claimPath(at+".claim", h.Claim)
	}
}

func (c *checker) claimPaths(field string, paths [][]string) {
	c.size(field, len(paths), 0, maxIssuerEntries)
	for i, path := range paths {
		c.claimPath(index(field, i), path)
	}
}

func (c *checker) claimPath(field string, path []string) {
	c.size(field, len(path), 1, maxIssuerEntries)
	for n, key := range path {
		c.required(index(field, n), key)
	}
}

// issuers checks what holds between all issuers: no two answer to one iss, and
// none can give out the names of another one unless that is said.
func (c *checker) issuers() {
	all := c.state.Issuers
	if len(all) > maxIssuers && c.hasKind(KindIssuer) {
		c.blame(KeyOf(all[len(all)-1]))
		c.addf("metadata.name", "there are %d issuers, more than %d", len(all), maxIssuers)
		return
	}
	for i, a := range all {
		for _, b := range all[:i] {
			c.issuerPair(a, b)
		}
	}
}

func (c *checker) issuerPair(a, b *Issuer) {
	c.blameDoc(KeyOf(a), KeyOf(b))
	if _, ok := c.docs[c.at]; !ok {
		return // both were accepted before
	}
	other := a.Name
	if c.at.Name == a.Name {
		other = b.Name
	}
	if a.Issuer == b.Issuer {
		c.addf("spec.issuer", "%q is the issuer of Issuer %q", a.Issuer, other)
	}
	if a.ShareNames || b.ShareNames {
		return
	}
	if !prefixed(a) && !prefixed(b) {
		c.addf("spec", "Issuer %q could give out the same user and group names: set usernamePrefix and groupsPrefix, or shareNames: true", other)
		return
	}
	c.prefixPair("spec.usernamePrefix", other, a.UsernamePrefix, b.UsernamePrefix)
	c.prefixPair("spec.groupsPrefix", other, a.GroupsPrefix, b.GroupsPrefix)
}

func prefixed(i *Issuer) bool { return i.UsernamePrefix != "" && i.GroupsPrefix != "" }

// prefixPair refuses equal prefixes and those of which one begins with the
// other: "a" with the user "bc" is "ab" with the user "c".
func (c *checker) prefixPair(field, other, a, b string) {
	if a == "" || b == "" {
		return
	}
	if strings.HasPrefix(a, b) || strings.HasPrefix(b, a) {
		c.addf(field, "%q and %q of Issuer %q could make the same names", a, b, other)
	}
}
