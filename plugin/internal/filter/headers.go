package filter

import (
	"strconv"
	"strings"

	"sallyport/policydata"
)

const ownPrefix = policydata.OwnHeaderPrefix

// isForbidden reports whether a client must not send a header, in any spelling
// that a server might take for it.
func isForbidden(name string) bool {
	if len(name) < len(ownPrefix) || name[0]|0x20 != 'x' || strings.IndexByte("shm", name[2]|0x20) < 0 {
		return false // at little cost, which most headers are
	}
	return policydata.IsOwnHeader(policydata.FoldHeader(name))
}

// prepare changes the headers of an allowed request: those that only we may set
// are taken away, then set where the configuration or the issuer wants it.
func (c *httpContext) prepare(headers [][2]string, d *policydata.Decision) error {
	engine := c.enforcer.engine
	c.claimHeaders = engine.ClaimHeaders()
	if err := c.removeForbidden(headers, removeHeader); err != nil {
		return err
	}
	if c.enforcer.config.RemoveToken {
		if err := c.removeToken(headers); err != nil {
			return err
		}
	}
	if c.enforcer.config.IdentityHeaders {
		if err := c.setIdentity(d); err != nil {
			return err
		}
	}
	for _, h := range engine.AppendClaimHeaders(nil) {
		if err := setHeader(h[0], h[1]); err != nil {
			return err
		}
	}
	return nil
}

// removeForbidden takes away what no client may send. A name that stands there
// several times is removed as often, which does no harm.
func (c *httpContext) removeForbidden(fields [][2]string, remove func(name string) error) error {
	for i := range fields {
		name := fields[i][0]
		if !isForbidden(name) && !c.claimHeaders.Has(name) {
			continue
		}
		if err := remove(name); err != nil {
			return err
		}
	}
	return nil
}

func (c *httpContext) setIdentity(d *policydata.Decision) error {
	if err := setHeader(ownPrefix+"user", escape(d.User)); err != nil {
		return err
	}
	var groups strings.Builder
	for i, g := range c.enforcer.engine.Groups() {
		if i > 0 {
			groups.WriteByte(',')
		}
		groups.WriteString(escape(g))
	}
	if err := setHeader(ownPrefix+"groups", groups.String()); err != nil {
		return err
	}
	return setHeader(ownPrefix+"generation", strconv.FormatUint(d.Generation, 10))
}

// escape percent-encodes all but unreserved characters (RFC 3986 section 2.3),
// so that a comma or a line end in a name stays part of the name.
func escape(s string) string {
	const hex = "0123456789ABCDEF"
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			out.WriteByte(c)
			continue
		}
		out.WriteByte('%')
		out.WriteByte(hex[c>>4])
		out.WriteByte(hex[c&15])
	}
	return out.String()
}

// removeToken takes the token away: the whole header, or the one cookie.
func (c *httpContext) removeToken(headers [][2]string) error {
	config := &c.enforcer.config
	if config.TokenCookie != "" {
		return c.removeCookie(headers)
	}
	name := config.TokenHeader
	if name == "" {
		name = "authorization"
	}
	for i := range headers {
		if headers[i][0] == name {
			return removeHeader(name)
		}
	}
	return nil
}

func (c *httpContext) removeCookie(headers [][2]string) error {
	var kept []string
	found := false
	for i := range headers {
		if headers[i][0] != "cookie" {
			continue
		}
		for pair := range strings.SplitSeq(headers[i][1], ";") {
			pair = strings.Trim(pair, " \t")
			if name, _, _ := strings.Cut(pair, "="); name == c.enforcer.config.TokenCookie {
				found = true
				continue
			}
			kept = append(kept, pair)
		}
	}
	if !found {
		return nil
	}
	if err := removeHeader("cookie"); err != nil || len(kept) == 0 {
		return err
	}
	return setHeader("cookie", strings.Join(kept, "; "))
}
