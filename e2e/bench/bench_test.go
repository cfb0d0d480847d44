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
	"slices"
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

// variant is an Envoy of its own, and what is asked of it.
type variant struct {
	name    string
	filters []any
	path    string
	want    int
	tokens  []string // each request takes the next; none: no token

	envoy *envoytest.Envoy
	next  atomic.Int64
	cost  []float64 // CPU time a request in µs, by round
}

const (
	rounds   = 7
	requests = 2000 // a round
	warmUp   = 3000 // for caches, and V8's optimizer
)

// BenchmarkEnvoyCPU prints CPU time of Envoy a request, as medians of rounds in
// which the variants take turns: so what else the machine does hits all alike.
func BenchmarkEnvoyCPU(b *testing.B) {
	f := newFixture(b)
	variants := f.variants(b)
	for _, v := range variants {
		v.envoy = envoytest.Start(b, f.bootstrap(b, v.filters), "--concurrency", "1")
		v.load(b, warmUp)
	}
	b.ResetTimer()
	for range rounds {
		for _, v := range variants {
			before := v.envoy.CPU()
			v.load(b, requests)
			v.cost = append(v.cost, float64(v.envoy.CPU()-before)/requests/1000)
		}
	}
	b.StopTimer()
	for _, v := range variants {
		b.Logf("%-36s %6.1f µs  %+7.1f beside bare  %5d MB", v.name, median(v.cost), median(v.added(variants[0])), v.envoy.RSS()>>20)
	}
	b.ReportMetric(median(variants[1].added(variants[0])), "added-µs/req")
	b.ReportMetric(0, "ns/op") // it would be the client's time
}

func (f *fixture) variants(b *testing.B) []*variant {
	const own, public = "/workspaces/team0/x", "/public"
	rs, es := f.tokens(b, "RS256", 1), f.tokens(b, "ES256", 1)
	const fresh = warmUp + rounds*requests
	freshRS, freshES := f.tokens(b, "RS256", fresh), f.tokens(b, "ES256", fresh)
	sallyport, cached, uncached := f.sallyport(b), f.native(b, true), f.native(b, false)
	return []*variant{
		{name: "bare", path: own, want: 200, tokens: rs},
		{name: "sallyport, RS256 seen before", filters: sallyport, path: own, want: 200, tokens: rs},
		{name: "sallyport, ES256 seen before", filters: sallyport, path: own, want: 200, tokens: es},
		{name: "sallyport, no token", filters: sallyport, path: public, want: 200},
		{name: "sallyport, refused path", filters: sallyport, path: "/workspaces//x", want: 400},
		{name: "jwt_authn with cache, rbac, RS256", filters: cached, path: own, want: 200, tokens: rs},
		{name: "sallyport, RS256 never seen", filters: sallyport, path: own, want: 200, tokens: freshRS},
		{name: "jwt_authn, rbac, RS256", filters: uncached, path: own, want: 200, tokens: freshRS},
		{name: "sallyport, ES256 never seen", filters: sallyport, path: own, want: 200, tokens: freshES},
		{name: "jwt_authn, rbac, ES256", filters: uncached, path: own, want: 200, tokens: freshES},
	}
}

// added returns by how much v costs more than another, round by round.
func (v *variant) added(other *variant) []float64 {
	out := make([]float64, len(v.cost))
	for i := range out {
		out[i] = v.cost[i] - other.cost[i]
	}
	return out
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
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

// load sends n requests over a few connections.
func (v *variant) load(b *testing.B, n int64) {
	b.Helper()
	url := "http://" + v.envoy.Address("ingress") + v.path
	transport := &http.Transport{MaxIdleConnsPerHost: connections}
	defer transport.CloseIdleConnections()
	var next atomic.Int64
	var failed atomic.Pointer[string]
	var clients sync.WaitGroup
	for range connections {
		clients.Go(func() {
			for i := next.Add(1); i <= n && failed.Load() == nil; i = next.Add(1) {
				if err := get(transport, url, v.token(), v.want); err != nil {
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

func (v *variant) token() string {
	if len(v.tokens) == 0 {
		return ""
	}
	return v.tokens[(v.next.Add(1)-1)%int64(len(v.tokens))]
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

// tokens returns n tokens of a member of team0, all different.
func (f *fixture) tokens(b *testing.B, alg string, n int) []string {
	b.Helper()
	out := make([]string, n)
	for i := range out {
		out[i] = f.token(b, alg, i)
	}
	return out
}

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

// TestVariantsAnswer keeps this package from being one without tests, in which a
// mistake would show at the next measurement only: each variant allows and
// refuses as the others do.
func TestVariantsAnswer(t *testing.T) {
	result := testing.Benchmark(func(b *testing.B) {
		f := newFixture(b)
		for _, filters := range [][]any{f.sallyport(b), f.native(b, true)} {
			v := &variant{path: "/workspaces/team0/x", want: 200, tokens: f.tokens(b, "RS256", 1)}
			v.envoy = envoytest.Start(b, f.bootstrap(b, filters), "--concurrency", "1")
			v.load(b, 10)
			v.path, v.want = "/workspaces/team1/x", 403
			v.load(b, 10)
			v.envoy.Stop()
		}
	})
	if result.N == 0 {
		t.Error("a variant does not answer as it should; run the benchmark to see which")
	}
}
