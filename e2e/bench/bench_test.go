// Package bench measures what the filter costs Envoy a request, in CPU time of
// the process, beside the same Envoy without it and beside Envoy's own jwt_authn
// and rbac with the same rules. Machines differ and are noisy: the ratios of one
// run are what counts.
package bench

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.yaml.in/yaml/v3"

	"sallyport/e2e/envoytest"
	"sallyport/e2e/hosttest"
)

const (
	teams       = 10
	connections = 4
	issuer      = "https://idp.example.com"
	audience    = "bench"
)

// BenchmarkEnvoyCPU reports CPU time of Envoy a request. Each variant is an
// Envoy of its own; the requests of all go to one upstream.
func BenchmarkEnvoyCPU(b *testing.B) {
	f := newFixture(b)
	token := map[string]string{"RS256": f.token(b, "RS256", 0), "ES256": f.token(b, "ES256", 0)}
	for _, v := range []struct {
		name    string
		filters []any
		path    string
		token   func(i int64) string
	}{
		{"bare", nil, "/workspaces/team0/x", always(token["RS256"])},
		{"sallyport/public", f.sallyport(b), "/public", always("")},
		{"sallyport/RS256", f.sallyport(b), "/workspaces/team0/x", always(token["RS256"])},
		{"sallyport/ES256", f.sallyport(b), "/workspaces/team0/x", always(token["ES256"])},
		{"sallyport/refused-path", f.sallyport(b), "/workspaces//x", always("")},
		{"jwt_authn-cache+rbac/RS256", f.native(b, true), "/workspaces/team0/x", always(token["RS256"])},
		{"jwt_authn+rbac/RS256", f.native(b, false), "/workspaces/team0/x", always(token["RS256"])},
		{"jwt_authn+rbac/ES256", f.native(b, false), "/workspaces/team0/x", always(token["ES256"])},
	} {
		b.Run(v.name, func(b *testing.B) {
			e := envoytest.Start(b, f.bootstrap(b, v.filters), "--concurrency", "1")
			address := e.Address("ingress")
			want := http.StatusOK
			if v.name == "sallyport/refused-path" {
				want = http.StatusBadRequest
			}
			load(b, address, v.path, want, v.token, 2000) // warm: caches, and V8's optimizer
			before := e.CPU()
			b.ResetTimer()
			load(b, address, v.path, want, v.token, int64(b.N))
			b.StopTimer()
			b.ReportMetric(float64(e.CPU()-before)/float64(b.N)/1000, "envoy-µs/req")
			b.ReportMetric(float64(e.RSS())/(1<<20), "envoy-MB")
			b.ReportMetric(0, "ns/op") // it is the client's time
		})
	}
}

// BenchmarkEnvoyReady reports how long Envoy takes from its start until it is
// ready, without and with the filter.
func BenchmarkEnvoyReady(b *testing.B) {
	f := newFixture(b)
	for _, v := range []struct {
		name    string
		filters []any
	}{{"bare", nil}, {"sallyport", f.sallyport(b)}} {
		b.Run(v.name, func(b *testing.B) {
			bootstrap := f.bootstrap(b, v.filters)
			var took time.Duration
			const starts = 3
			for range starts {
				begun := time.Now()
				e := envoytest.Start(b, bootstrap, "--concurrency", "2")
				took += time.Since(begun)
				e.Stop()
			}
			b.ReportMetric(took.Seconds()/starts, "s/start")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func always(token string) func(int64) string { return func(int64) string { return token } }

// load sends n requests over a few connections.
func load(b *testing.B, address, path string, want int, token func(int64) string, n int64) {
	b.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: connections}
	defer transport.CloseIdleConnections()
	var next atomic.Int64
	var failed atomic.Pointer[string]
	var clients sync.WaitGroup
	for range connections {
		clients.Go(func() {
			for i := next.Add(1); i <= n && failed.Load() == nil; i = next.Add(1) {
				if err := get(transport, "http://"+address+path, token(i), want); err != nil {
					text := err.Error()
					failed.Store(&text)
				}
			}
		})
	}
	clients.Wait()
	if text := failed.Load(); text != nil {
		b.Fatal(*text)
	}
}

func get(transport *http.Transport, url, token string, want int) error {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := transport.RoundTrip(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != want {
		return fmt.Errorf("%s: %s, want %d", url, answer.Status, want)
	}
	return nil
}

// fixture is what all variants share.
type fixture struct {
	dir      string
	upstream string
	keys     map[string]crypto.Signer // by algorithm
	static   map[string]any           // the bootstrap with the filter
}

func newFixture(b *testing.B) *fixture {
	b.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok")
	}))
	b.Cleanup(upstream.Close)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	f := &fixture{
		dir: b.TempDir(), upstream: upstream.Listener.Addr().String(),
		keys: map[string]crypto.Signer{"RS256": rsaKey, "ES256": ecKey},
	}
	f.static = f.build(b)
	return f
}

// build makes a snapshot of the policies and the bootstrap that holds it.
func (f *fixture) build(b *testing.B) map[string]any {
	b.Helper()
	policies := filepath.Join(f.dir, "policies.yaml")
	snapshot := filepath.Join(f.dir, "snapshot")
	text := fmt.Sprintf(`
apiVersion: sallyport/v1
kind: Issuer
metadata: {name: idp}
spec:
  issuer: %s
  audiences: [%s]
  algorithms: [RS256, ES256]
  jwks: {inline: %s}
---
apiVersion: sallyport/v1
kind: Policy
metadata: {name: own-workspace}
spec:
  rules:
  - {effect: allow, methods: ["*"], paths: ["/workspaces/{team}/**"], when: path.team in token.groups}
---
apiVersion: sallyport/v1
kind: Policy
metadata: {name: public}
spec:
  rules:
  - {effect: allow, methods: [GET], paths: ["/public"]}
---
apiVersion: sallyport/v1
kind: Group
metadata: {name: "system:authenticated"}
spec: {policies: [own-workspace]}
---
apiVersion: sallyport/v1
kind: Group
metadata: {name: "system:unauthenticated"}
spec: {policies: [public]}
`, issuer, audience, f.jwks(b))
	if err := os.WriteFile(policies, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	hosttest.Run(b, 0, "", "snapshot", "build", "-f", policies, "-o", snapshot, "--data-dir", f.dir)
	out := hosttest.Run(b, 0, "", "envoy", "config", "--push", "static", "--snapshot", snapshot, "--data-dir", f.dir,
		"--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--module", hosttest.Module(b), "--upstream", f.upstream)
	var bootstrap map[string]any
	if err := yaml.Unmarshal([]byte(out), &bootstrap); err != nil {
		b.Fatal(err)
	}
	return bootstrap
}

func (f *fixture) jwks(b *testing.B) string {
	b.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	public := f.keys["RS256"].Public().(*rsa.PublicKey)
	point, err := f.keys["ES256"].Public().(*ecdsa.PublicKey).Bytes() // 4, x, y
	if err != nil {
		b.Fatal(err)
	}
	set, err := json.Marshal(map[string]any{"keys": []map[string]string{
		{"kty": "RSA", "kid": "RS256", "alg": "RS256", "n": encode(public.N.Bytes()), "e": encode(big.NewInt(int64(public.E)).Bytes())},
		{"kty": "EC", "kid": "ES256", "alg": "ES256", "crv": "P-256", "x": encode(point[1:33]), "y": encode(point[33:])},
	}})
	if err != nil {
		b.Fatal(err)
	}
	return string(set)
}

// token returns a token of a member of team0.
func (f *fixture) token(b *testing.B, alg string, n int) string {
	b.Helper()
	t := jwt.NewWithClaims(jwt.GetSigningMethod(alg), jwt.MapClaims{
		"iss": issuer, "aud": audience, "sub": "eric", "groups": []string{"team0"}, "jti": fmt.Sprint(n),
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	})
	t.Header["kid"] = alg
	signed, err := t.SignedString(f.keys[alg])
	if err != nil {
		b.Fatal(err)
	}
	return signed
}

// connectionManager returns the HTTP connection manager's settings.
func connectionManager(bootstrap map[string]any) map[string]any {
	listener := bootstrap["static_resources"].(map[string]any)["listeners"].([]any)[0].(map[string]any)
	chain := listener["filter_chains"].([]any)[0].(map[string]any)
	return chain["filters"].([]any)[0].(map[string]any)["typed_config"].(map[string]any)
}

// sallyport returns the filter as the bootstrap has it.
func (f *fixture) sallyport(b *testing.B) []any {
	b.Helper()
	filters := connectionManager(f.static)["http_filters"].([]any)
	for i, filter := range filters {
		if filter.(map[string]any)["name"] == "sallyport" {
			return filters[i : i+1]
		}
	}
	b.Fatal("the bootstrap has no filter")
	return nil
}

// bootstrap returns the bootstrap with other filters before the router.
func (f *fixture) bootstrap(b *testing.B, filters []any) string {
	b.Helper()
	var copied map[string]any
	var text bytes.Buffer
	if err := yaml.NewEncoder(&text).Encode(f.static); err != nil {
		b.Fatal(err)
	}
	if err := yaml.Unmarshal(text.Bytes(), &copied); err != nil {
		b.Fatal(err)
	}
	manager := connectionManager(copied)
	all := manager["http_filters"].([]any)
	manager["http_filters"] = append(append([]any{}, filters...), all[len(all)-1])
	text.Reset()
	if err := yaml.NewEncoder(&text).Encode(copied); err != nil {
		b.Fatal(err)
	}
	return text.String()
}

// native returns Envoy's own filters with the same rules: one policy a team,
// since rbac has no captures.
func (f *fixture) native(b *testing.B, cache bool) []any {
	b.Helper()
	var policies strings.Builder
	for i := range teams {
		fmt.Fprintf(&policies, `
        team%[1]d:
          permissions: [{url_path: {path: {prefix: "/workspaces/team%[1]d/"}}}]
          principals:
          - metadata:
              filter: envoy.filters.http.jwt_authn
              path: [{key: payload}, {key: groups}]
              value: {list_match: {one_of: {string_match: {exact: "team%[1]d"}}}}`, i)
	}
	size := ""
	if cache {
		size = "jwt_cache_config: {jwt_cache_size: 1000}"
	}
	text := fmt.Sprintf(`
- name: envoy.filters.http.jwt_authn
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
    providers:
      idp:
        issuer: %s
        audiences: [%s]
        local_jwks: {inline_string: '%s'}
        payload_in_metadata: payload
        forward: true
        %s
    rules: [{match: {prefix: "/"}, requires: {provider_name: idp}}]
- name: envoy.filters.http.rbac
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
    rules:
      action: ALLOW
      policies:%s
`, issuer, audience, f.jwks(b), size, policies.String())
	var filters []any
	if err := yaml.Unmarshal([]byte(text), &filters); err != nil {
		b.Fatal(err)
	}
	return filters
}

// TestVariantsAnswer keeps this package from being one without tests, in which
// a mistake would show at the next measurement only: each variant once.
func TestVariantsAnswer(t *testing.T) {
	result := testing.Benchmark(func(b *testing.B) {
		f := newFixture(b)
		for name, filters := range map[string][]any{"sallyport": f.sallyport(b), "native": f.native(b, true)} {
			e := envoytest.Start(b, f.bootstrap(b, filters), "--concurrency", "1")
			load(b, e.Address("ingress"), "/workspaces/team0/x", http.StatusOK, always(f.token(b, "RS256", 0)), 10)
			load(b, e.Address("ingress"), "/workspaces/team1/x", http.StatusForbidden, always(f.token(b, "RS256", 0)), 10)
			b.Log(name)
		}
	})
	if result.N == 0 {
		t.Error("a variant does not answer as it should; run the benchmark to see which")
	}
}
