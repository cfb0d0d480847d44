package demo

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"sallyport/host/internal/check"
	"sallyport/host/internal/devissuer"
)

// trial is a request that the demo suggests.
type trial struct {
	user, method, path string
}

var trials = []trial{
	{"eric", "GET", "/workspaces/foo/data"},
	{"eric", "DELETE", "/workspaces/foo/data"},
	{"eric", "GET", "/workspaces/bar/data"},
	{"eric", "GET", "/workspaces/"},
	{"bob", "GET", "/workspaces/bar/data"},
	{"bob", "GET", "/stac/collections"},
	{"bob", "POST", "/stac/collections/sentinel/items"},
	{"", "GET", "/workspaces/foo/data"},
	{"", "GET", "/healthz"},
}

// teams are the groups of the story's users.
var teams = map[string][]string{"eric": {"foo"}, "bob": {"bar"}}

// defaultDataDir is where the commands look without --data-dir.
const defaultDataDir = "./sallyport-data"

// quote returns s as a word of a shell.
func quote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+=:@,", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// tell prints what to try, with the answers that the policies of now give.
func (d *demo) tell(ctx context.Context) error {
	issuer, err := devissuer.Open(d.Config.Host.DataDir)
	if err != nil {
		return err
	}
	tokens := map[string]string{"": ""}
	for user, groups := range teams {
		tokens[user], err = issuer.Mint(devissuer.MintRequest{User: user, Groups: groups, TTL: 12 * time.Hour, Alg: "ES256", Now: time.Now()})
		if err != nil {
			return err
		}
	}
	var out strings.Builder
	fmt.Fprintf(&out, "\nThe proxy listens on http://%s, with the filter in %s. eric is in team foo, bob in team bar.\nTry, in a second terminal:\n\n", d.ProxyAddr, d.Proxy)
	if err := d.tellTrials(ctx, &out, tokens); err != nil {
		return err
	}
	dir := quote(d.Config.Host.DataDir)
	flag := ""
	if dir != defaultDataDir {
		flag = " --data-dir " + dir
	}
	if !d.credentials {
		out.WriteString("# The store is older than the demo: apply wants the credentials that the first serve printed, as\n" +
			"# SALLYPORT_ACCESS_KEY_ID and SALLYPORT_SECRET_ACCESS_KEY in the environment.\n\n")
	}
	fmt.Fprintf(&out, `# Change the policies in %[2]s/story.yaml, and apply them without a restart:
%[1]s apply%[3]s -f %[2]s/story.yaml

# A token that the proxy accepts:
%[1]s token mint%[3]s --user eric --group foo

The host's API is http://%[4]s; Ctrl-C ends all of it.

`, quote(d.Program), dir, flag, d.host.HTTPAddr())
	_, err = fmt.Fprint(d.Out, out.String())
	return err
}

func (d *demo) tellTrials(ctx context.Context, out *strings.Builder, tokens map[string]string) error {
	current, _ := d.host.Publisher().Current()
	engine, err := check.NewGo(current.Loaded, time.Now)
	if err != nil {
		return err
	}
	for _, t := range trials {
		answer, err := engine.Decide(ctx, &check.Query{Token: tokens[t.user], Method: t.method, Path: t.path})
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "# %s %s by %s: %s\ncurl -i", t.method, t.path, cmp.Or(t.user, "nobody"), summary(answer))
		if t.method != http.MethodGet {
			out.WriteString(" -X " + t.method)
		}
		if t.user != "" {
			out.WriteString(" -H 'Authorization: Bearer " + tokens[t.user] + "'")
		}
		fmt.Fprintf(out, " http://%s%s\n\n", d.ProxyAddr, t.path)
	}
	return nil
}

func summary(decision json.RawMessage) string {
	v := gjson.ParseBytes(decision)
	text := fmt.Sprintf("%d", v.Get("status").Int())
	if reason := v.Get("reason").Str; reason != "allowed" {
		text += " " + reason
	}
	return text
}
