package bypass

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"sallyport/e2e/envoytest"
	"sallyport/e2e/hosttest"
	"sallyport/policydata/pluginconfig"
)

var update = flag.Bool("update", false, "write testdata/settings.txt anew")

// setting is how an operator may have configured Envoy before the filter.
type setting struct {
	name   string // "NMR": N normalize_path, M merge_slashes, then the action
	change func(manager map[string]any)
}

var escapedSlashes = map[byte]string{
	'K': "KEEP_UNCHANGED",
	'R': "REJECT_REQUEST",
	'D': "UNESCAPE_AND_REDIRECT",
	'F': "UNESCAPE_AND_FORWARD",
}

// settings are all that Envoy can do with a path, and a listener that lets
// everything pass that can be let pass.
func settings() []setting {
	var list []setting
	for _, normalize := range []bool{false, true} {
		for _, merge := range []bool{false, true} {
			for _, action := range []byte("KRDF") {
				name := []byte("--" + string(action))
				if normalize {
					name[0] = 'N'
				}
				if merge {
					name[1] = 'M'
				}
				list = append(list, setting{string(name), func(manager map[string]any) {
					manager["normalize_path"] = normalize
					manager["merge_slashes"] = merge
					manager["path_with_escaped_slashes_action"] = escapedSlashes[action]
				}})
			}
		}
	}
	return append(list, setting{"lax", lax})
}

// lax is what our configuration advises against, but for upgrades, of which
// package streams tells.
func lax(manager map[string]any) {
	common := manager["common_http_protocol_options"].(map[string]any)
	common["headers_with_underscores_action"] = "ALLOW"
	common["max_headers_count"] = 2000
	manager["max_request_headers_kb"] = 1024
	manager["use_remote_address"] = false
	delete(manager, "internal_address_config")
	manager["strip_any_host_port"] = true
	manager["strip_trailing_host_dot"] = true
	manager["http_protocol_options"] = map[string]any{
		"accept_http_10": true, "default_host_for_http_10": "a",
		"allow_chunked_length": true, "enable_trailers": true,
		"override_stream_error_on_invalid_http_message": true,
	}
	manager["http2_protocol_options"] = map[string]any{"override_stream_error_on_invalid_http_message": true}
}

// startSettings starts one Envoy with a listener for each setting, with a
// snapshot and no host.
func startSettings(t *testing.T, list []setting) (*upstream, map[string]client, judge) {
	t.Helper()
	dir, is, up := t.TempDir(), newIssuers(t), startUpstream(t)
	files, snapshotFile := filepath.Join(dir, "policies.yaml"), filepath.Join(dir, "snapshot")
	if err := os.WriteFile(files, []byte(is.policies(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	hosttest.Run(t, 0, "", "snapshot", "build", "-f", files, "-o", snapshotFile, "--data-dir", dir)
	snapshot, err := os.ReadFile(snapshotFile)
	if err != nil {
		t.Fatal(err)
	}
	b := envoytest.ParseBootstrap(t, hosttest.Run(t, 0, "", "envoy", "config", "--push", "static", "--snapshot", snapshotFile, "--data-dir", dir,
		"--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--module", hosttest.Module(t), "--upstream", up.listener.Addr().String()))
	for _, s := range list {
		b.Add(s.name, func(l *envoytest.Listener) {
			config, err := pluginconfig.Parse([]byte(l.Plugin()["configuration"].(map[string]any)["value"].(string)))
			if err != nil {
				t.Fatal(err)
			}
			config.IdentityHeaders = true
			l.Configure(config.AppendJSON(nil))
			s.change(l.Manager)
		})
	}
	envoy := envoytest.Start(t, b.Text())
	clients := map[string]client{}
	for _, s := range list {
		clients[s.name] = client{envoy.Address(s.name), is.tokens(t)}
	}
	return up, clients, newJudge(t, snapshot)
}

// row is an attack, or a good request, in one protocol.
type row struct {
	name string
	send func(c client) (answer, error)
}

func rows() []row {
	var list []row
	http1 := func(name, raw string) {
		list = append(list, row{"HTTP/1.1 " + name, func(c client) (answer, error) { return c.http1(raw) }})
	}
	http2 := func(name string, s stream) {
		list = append(list, row{"HTTP/2 " + name, func(c client) (answer, error) { return c.http2(s) }})
	}
	for _, a := range refusedHTTP1() {
		http1(a.rule, a.raw)
	}
	for _, a := range refusedHTTP2() {
		http2(a.rule, a.stream)
	}
	for _, p := range passedHTTP1() {
		http1("passes: "+p.rule, p.raw)
	}
	for _, p := range passedHTTP2() {
		http2("passes: "+p.rule, p.stream)
	}
	return list
}

// outcomes are by row and setting.
type outcomes map[string]map[string]string

// Every attack under every setting of Envoy: what arrives is allowed to who sent
// it, judged by what arrived. What became of each is in testdata/settings.txt,
// which a change must not alter unnoticed.
func TestBypassesUnderEverySetting(t *testing.T) {
	up, clients, j := startSettings(t, settings())
	got, arrived := outcomes{}, map[string][]*message{}
	all := rows()
	if len(all) < 300 || len(clients) != 17 {
		t.Fatalf("%d rows, %d settings", len(all), len(clients))
	}
	for _, r := range all {
		if got[r.name] != nil {
			t.Fatalf("two rows are called %q", r.name)
		}
		got[r.name] = map[string]string{}
	}
	j.try(t, clients["--K"])
	for name, c := range clients {
		answered := send(t, name, c, all, got)
		arrived[name] = up.take()
		if n := len(arrived[name]); n != answered || n < len(passedHTTP1()) {
			t.Errorf("%s: %d messages arrived, and %d were answered", name, n, answered)
		}
	}
	up.wait()
	arrived["after all"] = up.take()
	for name, messages := range arrived {
		for _, m := range messages {
			if err := j.check(m); err != nil {
				t.Errorf("%s: this arrived: %v\n%s", name, err, m.raw)
			}
		}
	}
	compare(t, got)
}

// send sends all rows to a listener, side by side, and returns how many answers
// were the upstream's.
func send(t *testing.T, name string, c client, all []row, got outcomes) (answered int) {
	t.Helper()
	var g errgroup.Group
	var mu sync.Mutex
	g.SetLimit(32)
	for _, r := range all {
		g.Go(func() error {
			a, err := r.send(c)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				t.Errorf("%s: %s: %v", name, r.name, err)
			case a.line != "":
				answered++
				got[r.name][name] = "arrives as " + a.line
			case a.status == 0:
				got[r.name][name] = "reset"
			default:
				got[r.name][name] = fmt.Sprint(a.status)
			}
			return nil
		})
	}
	_ = g.Wait() // the errors are reported
	return answered
}

// compare compares with what is committed: of each row its outcome where that is
// the same everywhere, else the settings of each.
func compare(t *testing.T, got outcomes) {
	t.Helper()
	var out bytes.Buffer
	out.WriteString(legend)
	for _, name := range slices.Sorted(maps.Keys(got)) {
		by := map[string][]string{}
		for _, s := range settings() {
			by[got[name][s.name]] = append(by[got[name][s.name]], s.name)
		}
		if len(by) == 1 {
			fmt.Fprintf(&out, "%s: %s\n", name, got[name]["--K"])
			continue
		}
		fmt.Fprintf(&out, "%s:\n", name)
		for _, outcome := range slices.Sorted(maps.Keys(by)) {
			fmt.Fprintf(&out, "    %s: %s\n", outcome, strings.Join(by[outcome], " "))
		}
	}
	path := filepath.Join("testdata", "settings.txt")
	if *update {
		if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(out.String(), "\n")); diff != "" {
		t.Errorf("what became of the attacks (-want +got; go test ./e2e/bypass -update writes it anew):\n%s", diff)
	}
}

const legend = `What becomes of each attack under Envoy's settings for paths. A setting is three
letters: N normalize_path, M merge_slashes, and of path_with_escaped_slashes_action
K KEEP_UNCHANGED, R REJECT_REQUEST, D UNESCAPE_AND_REDIRECT, F UNESCAPE_AND_FORWARD.
"--K" is what we print. "lax" has our settings for paths, and lets pass all else.

`
