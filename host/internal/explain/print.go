package explain

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/tidwall/gjson"

	"sallyport/policydata"
)

// maxPrinted is how many rules of a gate are printed in full, and maxNames how
// many groups, roles or policies.
const (
	maxPrinted = 10
	maxNames   = 20
)

// Print writes an explanation for people.
func Print(w io.Writer, e *Explained) error {
	p := &printer{}
	d := gjson.ParseBytes(e.Decision)
	p.line("%s  %d %s", strings.ToUpper(d.Get("decision").Str), d.Get("status").Int(), d.Get("reason").Str)
	x := &e.Explanation
	p.line("")
	for _, s := range x.Summary {
		p.line("  %s", s)
	}
	p.line("")
	p.request(x)
	p.token(&x.Token)
	p.principal(x)
	for i := range x.Gates {
		p.gate(&x.Gates[i])
	}
	_, err := io.WriteString(w, p.String())
	return err
}

type printer struct{ strings.Builder }

// line writes a line.
func (p *printer) line(format string, args ...any) {
	p.WriteString(Printable(fmt.Sprintf(format, args...)))
	p.WriteByte('\n')
}

// Printable escapes what could move a terminal's cursor or turn its text around:
// what is printed comes from requests and tokens.
func Printable(text string) string {
	var out strings.Builder
	for _, r := range text {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			fmt.Fprintf(&out, `\u%04x`, r)
			continue
		}
		out.WriteRune(r)
	}
	return out.String()
}

func (p *printer) field(name, text string) { p.line("%-9s %s", name, text) }

func (p *printer) request(x *Explanation) {
	text := x.Request.Method + " " + x.Request.Path
	if x.Request.Host != "" {
		text += ", host " + x.Request.Host
	}
	if x.Request.Preflight {
		text += ", a CORS preflight"
	}
	p.field("request", text)
}

func (p *printer) token(t *Token) {
	texts := map[string]string{
		TokenNone: "none", TokenVerified: "verified", TokenClaims: "claims in its place, not checked",
		TokenRefused: "refused: " + t.Reason, TokenUnread: "not looked at",
	}
	text := texts[t.State]
	for _, f := range [][2]string{{"issuer", t.Issuer}, {"iss", t.Iss}, {"sub", t.Subject}, {"user", t.User}, {"client", t.Client}, {"actor", t.Actor}} {
		if f[1] != "" {
			text += "; " + f[0] + " " + f[1]
		}
	}
	p.field("token", text)
	for _, f := range t.Findings {
		p.field("", f)
	}
}

func (p *printer) principal(x *Explanation) {
	if s := x.Service; s != nil {
		text := s.Name + ", for itself by role " + s.Role
		if s.OnBehalf {
			text = s.Name + ", on behalf of the user"
		}
		if s.Disabled {
			text += ", disabled"
		}
		p.field("service", text)
	}
	if x.User != "" {
		text := x.User
		if !x.KnownUser {
			text += " (not in the store)"
		}
		p.field("user", text)
	}
	p.names("groups", textsOf(x.Groups, func(g policydata.GroupTrace) string {
		text := g.Name + " (" + Origins(g.From)
		if !g.Known {
			text += "; not in the store"
		}
		return text + ")"
	}))
	p.names("roles", textsOf(x.Roles, func(r policydata.RoleTrace) string { return r.Name + " (" + Origins(r.From) + ")" }))
}

func (p *printer) gate(g *policydata.GateTrace) {
	p.line("")
	p.line("%s GATE  %s", strings.ToUpper(g.Gate), g.Reason)
	p.names("policies", textsOf(g.Policies, func(x policydata.PolicyTrace) string { return x.Name + " (" + Origins(x.From) + ")" }))
	shown := 0
	for i := range g.Rules {
		v := &g.Rules[i]
		if shown == maxPrinted || !v.Decides && shown > 2 && slices.Contains(v.Obstacles, policydata.ObstaclePath) {
			break
		}
		p.rule(v)
		shown++
	}
	p.others(g, shown)
}

// others counts the rules that are not printed.
func (p *printer) others(g *policydata.GateTrace, shown int) {
	rest := len(g.Rules) - shown + g.Omitted
	if rest == 0 {
		return
	}
	path := g.Omitted
	for _, v := range g.Rules[shown:] {
		if slices.Contains(v.Obstacles, policydata.ObstaclePath) {
			path++
		}
	}
	noun := "rules"
	if rest == 1 {
		noun = "rule"
	}
	switch {
	case path == rest:
		p.line("  and %d %s of other paths", rest, noun)
	case path == 0:
		p.line("  and %d more %s", rest, noun)
	default:
		p.line("  and %d more rules, %d of them of other paths", rest, path)
	}
}

func (p *printer) rule(v *policydata.RuleVerdict) {
	mark := map[string]string{policydata.OutcomeMatch: "matches", policydata.OutcomeNoMatch: "no match", policydata.OutcomeError: "error"}[v.Outcome]
	if v.Decides {
		mark = "decides"
	}
	p.line("  %-8s  %s %s/%s", mark, v.Effect, v.Policy, v.Rule)
	has := func(o policydata.Obstacle) string {
		if slices.Contains(v.Obstacles, o) {
			return "no "
		}
		return "ok "
	}
	p.line("            %smethod %s", has(policydata.ObstacleMethod), strings.Join(v.Methods, " "))
	if len(v.Hosts) > 0 || slices.Contains(v.Obstacles, policydata.ObstacleHost) {
		p.line("            %shost   %s", has(policydata.ObstacleHost), orAny(v.Hosts))
	}
	path := some(v.Paths)
	if v.Path != "" {
		path = v.Path
	}
	p.line("            %spath   %s%s", has(policydata.ObstaclePath), path, capturesText(v.Captures))
	if v.Condition != nil {
		p.condition(v, has(policydata.ObstacleCondition))
	}
}

func (p *printer) condition(v *policydata.RuleVerdict, mark string) {
	c := v.Condition
	if c.Result == policydata.ResultNotEvaluated {
		p.line("            -  when   %s (not evaluated)", c.Text)
		return
	}
	p.line("            %swhen   %s", mark, c.Text)
	for _, part := range c.Parts {
		if part.Expr == c.Text {
			continue
		}
		arrow := " "
		if part.Decides && c.Result != policydata.ResultTrue {
			arrow = ">"
		}
		p.line("                   %s %s: %s", arrow, part.Expr, Value(part))
	}
}

func orAny(hosts []string) string {
	if len(hosts) == 0 {
		return "any but the API's own"
	}
	return some(hosts)
}

func capturesText(captures map[string]string) string {
	var out []string
	for name, value := range captures {
		out = append(out, name+"="+value)
	}
	if len(out) == 0 {
		return ""
	}
	slices.Sort(out)
	return "  " + strings.Join(out, " ")
}

// Origins says where something comes from.
func Origins(from []policydata.Origin) string {
	var out []string
	for _, o := range from {
		text := string(o.Kind)
		if o.Name != "" {
			text += " " + o.Name
		}
		out = append(out, text)
	}
	if len(out) > 3 {
		out = append(out[:3], "...")
	}
	return strings.Join(out, ", ")
}

// names writes a list of named things, a line each, the first of many.
func (p *printer) names(label string, texts []string) {
	for i, text := range texts {
		if i == maxNames {
			p.field("", fmt.Sprintf("and %d more", len(texts)-maxNames))
			return
		}
		p.field(label, text)
		label = ""
	}
}

func textsOf[T any](list []T, text func(T) string) []string {
	out := make([]string, len(list))
	for i := range list {
		out[i] = text(list[i])
	}
	return out
}
