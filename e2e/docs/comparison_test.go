package docs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"sallyport/e2e/envoytest"
	"sallyport/e2e/hosttest"
	"sallyport/e2e/oidctest"
)

const issuer = `apiVersion: sallyport/v1
kind: Issuer
metadata: {name: idp}
spec:
  issuer: https://idp.example.com
  audiences: [workspace-api]
  algorithms: [RS256]
  jwks: {inline: %s}
---
`

// comparison is envoy/COMPARISON.md as it is run.
type comparison struct {
	blocks   []block
	key      *oidctest.Key
	jwks     string
	upstream string
}

// TestComparison starts Envoy with each configuration of envoy/COMPARISON.md
// and sends it the page's requests.
func TestComparison(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(upstream.Close)
	c := &comparison{blocks: readPage(t, "envoy", "COMPARISON.md"), key: oidctest.NewKey(t, "RS256"), upstream: upstream.Listener.Addr().String()}
	set, err := json.Marshal(map[string]any{"keys": []any{c.key.JWK()}})
	if err != nil {
		t.Fatal(err)
	}
	c.jwks = string(set)
	rows := c.block(t, "request | groups in the token | Sallyport | RBAC, a policy a team | RBAC with CEL").rows
	if len(rows) < 10 {
		t.Fatalf("%d requests", len(rows))
	}
	static := c.static(t)
	for column, filters := range []func(*testing.T) []any{
		func(t *testing.T) []any { return httpFilters(t, static)[:1] },
		func(t *testing.T) []any { return c.native(t, "yaml rbac") },
		func(t *testing.T) []any { return c.native(t, "yaml rbac-cel") },
	} {
		name := []string{"sallyport", "rbac", "rbac-cel"}[column]
		t.Run(name, func(t *testing.T) {
			all := httpFilters(t, static)
			router := all[len(all)-1]
			envoy := envoytest.Start(t, c.bootstrap(t, static, append(filters(t)[:len(filters(t)):len(filters(t))], router)), "--concurrency", "1")
			for _, row := range rows {
				if got := c.status(t, envoy.Address("ingress"), row); got != row[2+column] {
					t.Errorf("%s of %s: %s, want %s", row[0], row[1], got, row[2+column])
				}
			}
			envoy.Stop()
		})
	}
}

func (c *comparison) block(t *testing.T, kind string) *block {
	t.Helper()
	for i := range c.blocks {
		if c.blocks[i].kind == kind {
			return &c.blocks[i]
		}
	}
	t.Fatalf("the page has no %q", kind)
	return nil
}

// static returns the bootstrap with the filter and the page's policies.
func (c *comparison) static(t *testing.T) map[string]any {
	t.Helper()
	dir := t.TempDir()
	policies, snapshot := filepath.Join(dir, "policies.yaml"), filepath.Join(dir, "snapshot")
	if err := os.WriteFile(policies, []byte(fmt.Sprintf(issuer, c.jwks)+c.block(t, "yaml sallyport").text), 0o600); err != nil {
		t.Fatal(err)
	}
	hosttest.Run(t, 0, "", "snapshot", "build", "-f", policies, "-o", snapshot, "--data-dir", dir)
	out := hosttest.Run(t, 0, "", "envoy", "config", "--push", "static", "--snapshot", snapshot, "--data-dir", dir,
		"--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--module", hosttest.Module(t), "--upstream", c.upstream)
	var bootstrap map[string]any
	if err := yaml.Unmarshal([]byte(out), &bootstrap); err != nil {
		t.Fatal(err)
	}
	return bootstrap
}

// native returns Envoy's own filters as the page has them.
func (c *comparison) native(t *testing.T, kind string) []any {
	t.Helper()
	quoted := "'" + c.jwks + "'"
	text := strings.ReplaceAll(c.block(t, "yaml jwt_authn").text, "JWKS}", quoted+"}") + c.block(t, kind).text
	var filters []any
	if err := yaml.Unmarshal([]byte(text), &filters); err != nil {
		t.Fatal(err)
	}
	return filters
}

// manager returns the settings of the HTTP connection manager.
func manager(bootstrap map[string]any) map[string]any {
	listener := bootstrap["static_resources"].(map[string]any)["listeners"].([]any)[0].(map[string]any)
	chain := listener["filter_chains"].([]any)[0].(map[string]any)
	return chain["filters"].([]any)[0].(map[string]any)["typed_config"].(map[string]any)
}

func httpFilters(t *testing.T, bootstrap map[string]any) []any {
	t.Helper()
	filters := manager(bootstrap)["http_filters"].([]any)
	if first := filters[0].(map[string]any)["name"]; first != "sallyport" || len(filters) < 2 {
		t.Fatalf("the first of %d filters is %v", len(filters), first)
	}
	return filters
}

// bootstrap returns a copy of the bootstrap with other filters.
func (c *comparison) bootstrap(t *testing.T, static map[string]any, filters []any) string {
	t.Helper()
	var text bytes.Buffer
	if err := yaml.NewEncoder(&text).Encode(static); err != nil {
		t.Fatal(err)
	}
	var copied map[string]any
	if err := yaml.Unmarshal(text.Bytes(), &copied); err != nil {
		t.Fatal(err)
	}
	manager(copied)["http_filters"] = filters
	text.Reset()
	if err := yaml.NewEncoder(&text).Encode(copied); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// status sends a row's request, with the very bytes of its target.
func (c *comparison) status(t *testing.T, address string, row []string) string {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	request := spans(row[0])[0] + " HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n"
	if groups := spans(row[1]); len(groups) > 0 {
		request += "authorization: Bearer " + c.token(t, groups) + "\r\n"
	}
	if _, err := io.WriteString(conn, request+"\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(answer))[1]
}

func (c *comparison) token(t *testing.T, groups []string) string {
	t.Helper()
	return c.key.Sign(t, nil, oidctest.Claims{
		"iss": "https://idp.example.com", "aud": "workspace-api", "sub": "eric", "groups": groups,
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	})
}

// TestComparisonWithIstio holds the page's AuthorizationPolicy to the form that
// it is said to have: for each team a rule with its paths and its claim, and
// nothing beside.
func TestComparisonWithIstio(t *testing.T) {
	c := &comparison{blocks: readPage(t, "envoy", "COMPARISON.md")}
	type rule struct {
		To []struct {
			Operation struct {
				Paths []string `yaml:"paths"`
			} `yaml:"operation"`
		} `yaml:"to"`
		When []struct {
			Key    string   `yaml:"key"`
			Values []string `yaml:"values"`
		} `yaml:"when"`
	}
	var policy struct {
		APIVersion string            `yaml:"apiVersion"`
		Kind       string            `yaml:"kind"`
		Metadata   map[string]string `yaml:"metadata"`
		Spec       struct {
			Action string `yaml:"action"`
			Rules  []rule `yaml:"rules"`
		} `yaml:"spec"`
	}
	decoder := yaml.NewDecoder(strings.NewReader(c.block(t, "yaml istio").text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&policy); err != nil {
		t.Fatal(err)
	}
	for i, team := range []string{"foo", "bar"} {
		got, err := json.Marshal(policy.Spec.Rules[i])
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf(`{"To":[{"Operation":{"Paths":["/workspaces/%[1]s","/workspaces/%[1]s/*"]}}],"When":[{"Key":"request.auth.claims[groups]","Values":["%[1]s"]}]}`, team)
		if string(got) != want {
			t.Errorf("rule of %s: %s, want %s", team, got, want)
		}
	}
}
