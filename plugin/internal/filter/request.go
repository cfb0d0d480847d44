package filter

import (
	"strconv"
	"strings"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"sallyport/policydata"
	"sallyport/policydata/authorize"
)

type httpContext struct {
	types.DefaultHttpContext

	enforcer *enforcer
}

// OnHttpRequestHeaders decides. Nothing of the request, its body included, goes
// on before the decision.
func (c *httpContext) OnHttpRequestHeaders(int, bool) types.Action {
	if reason := c.handle(); reason != policydata.ReasonAllowed {
		respond(&answers[reason])
		return types.ActionPause
	}
	return types.ActionContinue // the only place that lets a request go on
}

// handle decides, prepares what goes to the upstream if that is allowed, and
// reports the decision. Only what was reported is allowed.
func (c *httpContext) handle() policydata.Reason {
	d := guard(c.decide)
	return guard(func() policydata.Decision { return c.report(d) }).Reason
}

// guard runs f; a panic in it is an internal error of one request, where it
// would otherwise take the VM and all that run in it down.
func guard(f func() policydata.Decision) (d policydata.Decision) {
	defer func() {
		if r := recover(); r != nil {
			proxywasm.LogCritical("sallyport: internal error while deciding")
			d = policydata.Decision{}
		}
	}()
	return f()
}

func (c *httpContext) decide() policydata.Decision {
	headers, err := requestHeaders()
	seconds, ok := now()
	if err != nil || !ok || c.enforcer.engine == nil {
		return policydata.Decision{}
	}
	d := c.enforcer.engine.Authorize(newRequest(headers), seconds)
	if !d.Allowed() {
		return d
	}
	if err := c.prepare(headers, &d); err != nil {
		return policydata.Decision{Epoch: d.Epoch, Generation: d.Generation}
	}
	return d
}

// report hands the decision to the operator: to access logs and to the counters.
func (c *httpContext) report(d policydata.Decision) policydata.Decision {
	c.enforcer.state = d.AppendJSON(c.enforcer.state[:0])
	if err := setFilterState(c.enforcer.state); err != nil {
		d = policydata.Decision{}
	}
	c.enforcer.metrics.decided(d.Reason)
	return d
}

// newRequest reads the pseudo-headers. Where one is there twice, the request is
// malformed (RFC 9113 section 8.3) and its path becomes one that is refused.
func newRequest(headers [][2]string) *authorize.Request {
	r := &authorize.Request{Headers: headers}
	seen := [3]bool{}
	set := func(i int, into *string, value string) {
		if seen[i] {
			r.Target = ""
			seen[0] = true
			return
		}
		seen[i] = true
		*into = value
	}
	for i := range headers {
		switch headers[i][0] {
		case ":path":
			set(0, &r.Target, headers[i][1])
		case ":method":
			set(1, &r.Method, headers[i][1])
		case ":authority":
			set(2, &r.Authority, headers[i][1])
		}
	}
	return r
}

// Headers that only the filter may set, and headers by which an upstream might
// take another method than the one that was decided.
const ownPrefix = "x-sallyport-"

// isForbidden reports whether a header has one of these names in any spelling
// that a server might take for it: in any case, and with any separator, since
// some servers fold "_" or "." and "-" together.
func isForbidden(name string) bool {
	if len(name) < len(ownPrefix) || name[0]|0x20 != 'x' || strings.IndexByte("shm", name[2]|0x20) < 0 {
		return false // at little cost, which most headers are
	}
	name = strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(name))
	switch name {
	case "x-http-method-override", "x-http-method", "x-method-override":
		return true
	}
	return strings.HasPrefix(name, ownPrefix)
}

// prepare changes the headers of an allowed request: those that only we may set
// are taken away, then set where the configuration wants it.
func (c *httpContext) prepare(headers [][2]string, d *policydata.Decision) error {
	for i := range headers {
		if isForbidden(headers[i][0]) {
			if err := removeHeader(headers[i][0]); err != nil {
				return err
			}
		}
	}
	if c.enforcer.config.RemoveToken {
		if err := c.removeToken(headers); err != nil {
			return err
		}
	}
	if !c.enforcer.config.IdentityHeaders {
		return nil
	}
	return c.setIdentity(d)
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
