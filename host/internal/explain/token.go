package explain

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"sallyport/policydata"
	"sallyport/policydata/authorize"
	"sallyport/policydata/token"
)

// States of a request's token.
const (
	TokenNone     = "none"     // the request has none
	TokenVerified = "verified" // every check passed
	TokenClaims   = "claims"   // claims stood for it: its checks were skipped
	TokenRefused  = "refused"
	TokenUnread   = "not_read" // the request was decided before
)

// Token is what can be told of a request's token, which itself never is.
type Token struct {
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"` // of a refusal

	Issuer   string `json:"issuer,omitempty"` // name of the Issuer
	Iss      string `json:"iss,omitempty"`
	Subject  string `json:"sub,omitempty"`
	User     string `json:"user,omitempty"` // mapped
	Client   string `json:"client,omitempty"`
	Actor    string `json:"actor,omitempty"`
	HasActor bool   `json:"has_actor,omitempty"`

	// Findings are what a refused token says beside what its issuer wants. What it
	// says is not to be believed: it was not verified.
	Findings []string `json:"findings,omitempty"`
}

func tokenOf(s *policydata.Snapshot, e *authorize.Engine, q *Query, d *policydata.Decision) Token {
	id := e.Identity()
	t := Token{State: TokenVerified}
	switch {
	case id.Authenticated:
		t.Issuer, t.Iss, t.Subject, t.User, t.Client = id.Issuer, id.Iss, id.Subject, id.User, id.Client
		t.Actor, t.HasActor = id.Actor, id.HasActor
		if q.Claims != "" {
			t.State = TokenClaims
		}
		if d.Reason == policydata.ReasonRevoked {
			t.State, t.Reason = TokenRefused, d.Reason.String()
		}
		return t
	case q.Claims == "" && q.Token == "" && d.Reason != policydata.ReasonBadToken:
		return Token{State: TokenNone}
	case d.Reason.Status() != http.StatusUnauthorized:
		return Token{State: TokenUnread}
	case d.Reason == policydata.ReasonNoToken:
		return Token{State: TokenNone} // its credentials are of another scheme
	}
	t.State, t.Reason = TokenRefused, d.Reason.String()
	if s != nil {
		t.Findings = findings(s, q)
	}
	return t
}

// findings compares what a refused token says with what its issuer wants.
func findings(s *policydata.Snapshot, q *Query) []string {
	payload, header := q.Claims, gjson.Result{}
	if payload == "" {
		var problem string
		if header, payload, problem = open(q.Token); problem != "" {
			return []string{problem}
		}
	}
	if err := token.ValidateJSON(payload); err != nil {
		return []string{"its claims are not the strict JSON that is wanted: " + err.Error()}
	}
	claims := gjson.Parse(payload)
	iss := claims.Get("iss")
	var known []string
	var issuer *policydata.Issuer
	for i := range s.Issuers() {
		known = append(known, s.Issuers()[i].Issuer)
		if s.Issuers()[i].Issuer == iss.Str || !iss.Exists() && q.Claims != "" && len(s.Issuers()) == 1 {
			issuer = &s.Issuers()[i]
		}
	}
	if issuer == nil {
		return []string{`its "iss" is ` + written(iss) + "; trusted are " + list(known)}
	}
	out := []string{`its "iss" is that of Issuer ` + issuer.Name}
	if q.Claims == "" {
		out = append(out, signatureFindings(issuer, header)...)
		out = append(out, timeFindings(issuer, claims, q.Now)...)
	}
	return append(out, mappingFindings(issuer, claims, payload)...)
}

// open takes a token apart without looking at its signature.
func open(raw string) (header gjson.Result, payload, problem string) {
	parts := strings.Split(raw, ".")
	switch {
	case raw == "":
		return header, "", "the credentials are repeated, joined, or no token"
	case len(raw) > token.MaxTokenBytes:
		return header, "", "it is longer than a token may be"
	case len(parts) != 3:
		return header, "", "it does not have the three parts of a signed token"
	}
	var decoded [2]string
	for i := range decoded {
		b, err := base64.RawURLEncoding.Strict().DecodeString(parts[i])
		if err != nil {
			return header, "", "its parts are not base64url without padding"
		}
		decoded[i] = string(b)
	}
	if token.ValidateJSON(decoded[0]) != nil {
		return header, "", "its header is not the strict JSON that is wanted"
	}
	return gjson.Parse(decoded[0]), decoded[1], ""
}

func signatureFindings(issuer *policydata.Issuer, header gjson.Result) []string {
	var out []string
	alg := header.Get("alg")
	if !slices.Contains(issuer.Algorithms, alg.Str) {
		out = append(out, `its "alg" is `+written(alg)+"; the Issuer accepts "+list(issuer.Algorithms))
	}
	var kids []string
	for _, k := range issuer.Keys {
		kids = append(kids, k.ID)
	}
	kid := header.Get("kid")
	switch {
	case len(kids) == 0:
		out = append(out, "the Issuer has no keys")
	case kid.Exists() && !slices.Contains(kids, kid.Str):
		out = append(out, `its "kid" is `+written(kid)+"; the Issuer's keys are "+list(kids))
	case !kid.Exists() && len(kids) > 1:
		out = append(out, `it has no "kid", and the Issuer has several keys`)
	}
	return out
}

func timeFindings(issuer *policydata.Issuer, claims gjson.Result, now int64) []string {
	var out []string
	for _, name := range []string{"exp", "nbf", "iat"} {
		if v := claims.Get(name); v.Type == gjson.Number {
			out = append(out, `its "`+name+`" is `+instant(v.Int()))
		} else if v.Exists() || name == "exp" {
			out = append(out, `its "`+name+`" is `+written(v))
		}
	}
	out = append(out, "now is "+instant(now)+"; the Issuer's clock skew is "+(time.Duration(issuer.ClockSkew)*time.Second).String()+
		" and its longest lifetime "+(time.Duration(issuer.MaxTokenLifetime)*time.Second).String())
	return append(out, `its "aud" is `+written(claims.Get("aud"))+"; the Issuer wants one of "+list(issuer.Audiences))
}

// mappingFindings says what of the claims can't be mapped, as far as mapping
// them tells.
func mappingFindings(issuer *policydata.Issuer, claims gjson.Result, payload string) []string {
	if _, reason := token.Map(issuer, payload); reason == policydata.ReasonAllowed {
		return nil
	}
	var paths []string
	for _, p := range issuer.UsernameClaims {
		paths = append(paths, strings.Join(p, "."))
	}
	return []string{"no user can be read from its claims: the user name is in " + strings.Join(paths, " or ") +
		`, a text that is a name; "sub" and the client are texts (sub is ` + written(claims.Get("sub")) + ")"}
}

func instant(seconds int64) string {
	const year9999 = 253402300799
	if seconds < 0 || seconds > year9999 {
		return "out of range; times are seconds since 1970"
	}
	return time.Unix(seconds, 0).UTC().Format(time.RFC3339)
}

// written returns a value as it stands in JSON, cut to what fits on a line.
func written(v gjson.Result) string {
	if !v.Exists() {
		return "missing"
	}
	const most = 100
	if len(v.Raw) > most {
		return strings.ToValidUTF8(v.Raw[:most], "") + "..."
	}
	return v.Raw
}

func list(values []string) string {
	if len(values) == 0 {
		return "none"
	}
	return strings.Join(values, ", ")
}
