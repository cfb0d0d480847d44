package policydata

import (
	"errors"
	"fmt"
	"strings"
)

// OwnHeaderPrefix begins the headers that only the filter sets.
const OwnHeaderPrefix = "x-sallyport-"

// FoldHeader returns the name of a header in the spelling in which a server
// might take it for another: in lower case, with "-" for every separator, since
// some servers fold "_" or "." and "-" together.
func FoldHeader(name string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(name))
}

// IsOwnHeader reports whether a client must not send a header, by its name from
// FoldHeader: one that the filter sets, or one by which an upstream might take
// another method than the one that was decided.
func IsOwnHeader(folded string) bool {
	switch folded {
	case "x-http-method-override", "x-http-method", "x-method-override":
		return true
	}
	return strings.HasPrefix(folded, OwnHeaderPrefix)
}

// HeaderNames is a set of headers, by their names from FoldHeader. It is never
// changed, and does not keep the snapshot that it comes from. The zero HeaderNames
// is empty.
type HeaderNames struct{ names map[string]bool }

// Has reports whether a header is in the set, in any spelling that a server might
// take for it.
func (n HeaderNames) Has(name string) bool { return n.names != nil && n.names[FoldHeader(name)] }

// reservedHeaders have a meaning of their own to the proxy or to servers, which
// a claim must not change: framing and hop-by-hop headers (RFC 9110 section
// 7.6.1), credentials, and what says where a request goes to or comes from.
const reservedHeaders = " authorization connection content-encoding content-length content-type cookie expect forwarded " +
	"host http2-settings keep-alive proxy-authenticate proxy-authorization proxy-connection set-cookie te trailer " +
	"transfer-encoding upgrade via x-original-host x-original-method x-original-url x-real-ip x-request-id x-rewrite-url "

// reservedPrefixes begin reserved headers.
var reservedPrefixes = [...]string{"x-envoy-", "x-forwarded-", "sec-"}

// checkClaimHeaders says what is wrong with an issuer's ClaimHeaders.
func (i *Issuer) checkClaimHeaders() error {
	if len(i.ClaimHeaders) > MaxClaimHeaders {
		return fmt.Errorf("more than %d claim headers", MaxClaimHeaders)
	}
	seen := make(map[string]bool, len(i.ClaimHeaders))
	for _, h := range i.ClaimHeaders {
		if err := CheckClaimHeader(h.Header); err != nil {
			return fmt.Errorf("claim header %q: %w", h.Header, err)
		}
		if seen[h.Header] {
			return fmt.Errorf("claim header %q stands twice", h.Header)
		}
		seen[h.Header] = true
	}
	return nil
}

// CheckClaimHeader says whether a claim may be handed to the upstream in a header
// of this name.
func CheckClaimHeader(name string) error {
	switch {
	case name == "" || len(name) > maxHeaderBytes:
		return fmt.Errorf("a header's name has 1 to %d bytes", maxHeaderBytes)
	case FoldHeader(name) != name || !isLetter(name[0]):
		return errors.New(`want lower-case letters, digits and "-", first a letter`)
	case IsOwnHeader(name) || strings.Contains(reservedHeaders, " "+name+" "):
		return errors.New("the name is reserved")
	}
	for _, prefix := range reservedPrefixes {
		if strings.HasPrefix(name, prefix) {
			return fmt.Errorf("names that begin with %q are reserved", prefix)
		}
	}
	return nil
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' }

// claimHeaderNames returns the names of the ClaimHeaders of all issuers.
func claimHeaderNames(issuers []Issuer) HeaderNames {
	var names map[string]bool
	for i := range issuers {
		for _, h := range issuers[i].ClaimHeaders {
			if names == nil {
				names = map[string]bool{}
			}
			names[strings.Clone(h.Header)] = true
		}
	}
	return HeaderNames{names}
}
