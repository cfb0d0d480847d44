package policydata

// Request is what the rules are asked about. Its strings are not kept after
// Decide returns.
type Request struct {
	Method    string
	Path      string // canonical and decoded, from CanonicalPath
	Host      string // from CanonicalHost; "" if the request has none
	Preflight bool   // a CORS preflight: OPTIONS with Origin and Access-Control-Request-Method
	API       bool   // the host's own API: only rules whose hosts name HostAPI count

	// For conditions alone:
	Query       string      // raw, behind the first "?" of the target
	Headers     [][2]string // in order, repeated ones each; names in lower case
	TokenHeader string      // the header that holds the token: conditions don't see it
	Time        int64       // seconds since the Unix epoch
}

// Identity is what a verified token says, mapped by its issuer's claim paths.
// The zero Identity is a request without a token.
type Identity struct {
	Authenticated bool

	Issuer  string // name of the Issuer document
	Own     bool   // the issuer is the host's own
	Iss     string // "iss" as in the token
	Subject string // "sub" as in the token
	User    string // user name with the issuer's prefix
	Client  string // mapped client claim; "" if absent
	Actor   string // "act"."sub" (RFC 8693 section 4.1); meaningful if HasActor
	// HasActor is true where the token has an "act" claim of whatever form, so
	// that a malformed actor can't pass for none.
	HasActor bool

	Groups []string // mapped, trimmed and prefixed; no names that begin with "system:"
	Roles  []string // mapped; no names that begin with "system:"

	IssuedAt int64  // "iat", seconds; 0 if absent
	TokenID  string // "jti" (RFC 7519 section 4.1.7); "" if absent
	// Claims is the token's payload, a JSON object that token.ValidateJSON
	// accepts; "" is {}.
	Claims string

	// RequireKnownUser is the issuer's setting.
	RequireKnownUser bool
}

// Gate names the gate that spoke last.
type Gate uint8

// The gates; GateNone before any has spoken.
const (
	GateNone Gate = iota
	GateService
	GateUser
)

// String returns "", "service" or "user".
func (g Gate) String() string {
	switch g {
	case GateService:
		return "service"
	case GateUser:
		return "user"
	}
	return ""
}

// Capture is a named part of the path or host that a pattern captured.
type Capture struct {
	Name  string // as in the pattern
	Value string
	Host  bool // captured from the host; reported as "host.<name>"
}

// Decision is the answer to a request. The zero Decision denies, with
// ReasonInternalError. Its strings and Captures stay valid until the next use
// of the Evaluator that made it.
type Decision struct {
	Reason     Reason
	Gate       Gate
	Policy     string // the policy that decided; "" if none did
	Rule       string // its rule's name, or "#" and its index
	User       string
	Service    string
	Epoch      uint64
	Generation uint64
	Captures   []Capture // of the rule that decided
}

// Allowed reports whether the request may go on.
func (d *Decision) Allowed() bool { return d.Reason == ReasonAllowed }
