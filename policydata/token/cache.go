package token

import (
	"strings"

	"sallyport/policydata"
)

// Bounds of a Cache. They are those of one worker of a proxy.
const (
	maxCachedTokens = 4096
	maxCachedBytes  = 4 << 20
	// entryBytes is about what an entry takes beside its texts, and nameBytes
	// what each of its groups and roles does: short names take less in a token.
	entryBytes = 512
	nameBytes  = 32
)

// Cache remembers verified tokens, so that a token which comes again is not
// verified again. Its key is the whole token: with anything less, the signature
// say, a tampered token could pass for the good one. Its value is what the
// token says and never what its bearer may do, which is decided anew for each
// request.
//
// Only good tokens are in it, so garbage can't push them out. An entry ends with
// its token's time, and with any change of its issuer ([Cache.Keep]). A Cache
// serves one goroutine at a time.
type Cache struct {
	entries map[string]*cached
	first   *cached // used last; nil if there is none
	last    *cached // used longest ago
	bytes   int
}

// cached is an entry, in a list ordered by use.
type cached struct {
	raw         string
	identity    policydata.Identity
	claims      Claims
	verified    int64 // when it was, in seconds since the Unix epoch
	size        int
	newer, next *cached
}

// NewCache returns an empty Cache.
func NewCache() *Cache { return &Cache{entries: map[string]*cached{}} }

// Len returns how many tokens it holds.
func (c *Cache) Len() int { return len(c.entries) }

// get returns what was remembered of a token that is still good. A clock that
// went back before the verification makes it start anew: what was valid then
// need not be yet.
func (c *Cache) get(raw string, now int64) *cached {
	e := c.entries[raw]
	if e == nil {
		return nil
	}
	if now >= e.claims.Expires || now < e.verified {
		c.remove(e)
		return nil
	}
	c.unlink(e)
	c.link(e)
	return e
}

// put remembers a token that was verified now.
func (c *Cache) put(raw string, identity *policydata.Identity, claims Claims, now int64) {
	size := entryBytes + len(raw) + len(claims.Payload)
	for _, names := range [...][]string{identity.Groups, identity.Roles} {
		for _, name := range names {
			size += nameBytes + len(name)
		}
	}
	if size > maxCachedBytes/16 {
		return
	}
	// The token is part of a larger text, all the headers of its request.
	e := &cached{raw: strings.Clone(raw), identity: *identity, claims: claims, verified: now, size: size}
	c.entries[e.raw] = e
	c.bytes += size
	c.link(e)
	for len(c.entries) > maxCachedTokens || c.bytes > maxCachedBytes {
		c.remove(c.last)
	}
}

// Keep drops the tokens of the issuers, by the names of their documents, for
// which keep is false.
func (c *Cache) Keep(keep func(issuer string) bool) {
	for e := c.first; e != nil; {
		next := e.next
		if !keep(e.identity.Issuer) {
			c.remove(e)
		}
		e = next
	}
}

func (c *Cache) remove(e *cached) {
	c.unlink(e)
	delete(c.entries, e.raw)
	c.bytes -= e.size
}

// link puts e at the front.
func (c *Cache) link(e *cached) {
	e.newer, e.next = nil, c.first
	if c.first != nil {
		c.first.newer = e
	} else {
		c.last = e
	}
	c.first = e
}

func (c *Cache) unlink(e *cached) {
	if e.newer != nil {
		e.newer.next = e.next
	} else {
		c.first = e.next
	}
	if e.next != nil {
		e.next.newer = e.newer
	} else {
		c.last = e.newer
	}
}

// VerifyCached is [Verifier.Verify] for tokens that come more than once. The
// cache must hold nothing of issuers that have changed since.
func (v *Verifier) VerifyCached(c *Cache, raw string, now int64) (policydata.Identity, Claims, policydata.Reason) {
	if e := c.get(raw, now); e != nil {
		return e.identity, e.claims, policydata.ReasonAllowed
	}
	identity, claims, reason := v.Verify(raw, now)
	if reason == policydata.ReasonAllowed {
		c.put(raw, &identity, claims, now)
	}
	return identity, claims, reason
}
