package rotation

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"sallyport/e2e/edge"
	"sallyport/e2e/oidctest"
)

// loopback lets the host fetch from the providers of these tests.
var loopback = []string{"--issuer-allow-http", "--issuer-allow-private"}

const policies = `
apiVersion: sallyport/v1
kind: Policy
metadata: {name: own-workspace}
spec:
  rules:
  - {name: members, effect: allow, methods: ["*"], paths: ["/workspaces/{team}/**"], when: path.team in token.groups}
---
apiVersion: sallyport/v1
kind: Group
metadata: {name: "system:authenticated"}
spec: {policies: [own-workspace]}
`

// document returns an Issuer document for a provider.
func document(name string, p *oidctest.Provider, keepRemoved string) string {
	return fmt.Sprintf(`---
apiVersion: sallyport/v1
kind: Issuer
metadata: {name: %s}
spec:
  issuer: %s
  audiences: [workspace-api]
  algorithms: [RS256, ES256]
  jwks: {discovery: true, keepRemoved: %s}
  shareNames: true
`, name, p.Issuer(), keepRemoved)
}

// foo asks for the workspace of team foo.
func foo(token string) edge.Request {
	return edge.Request{Method: http.MethodGet, Path: "/workspaces/foo/data", Token: token}
}

// eric are the claims of a member of team foo.
func eric() oidctest.Claims {
	return oidctest.Claims{"sub": "eric", "aud": "workspace-api", "groups": []string{"foo"}}
}

// wallet remembers the tokens of keys that signed before, which are good until
// they expire.
type wallet struct {
	p *oidctest.Provider

	mu  sync.Mutex
	old []string // guarded by mu
}

// retire keeps a token of the key that is active now.
func (w *wallet) retire() {
	t := w.p.Mint(eric())
	w.mu.Lock()
	defer w.mu.Unlock()
	w.old = append(w.old, t)
}

// next is a request with a token that was never seen or, now and then, with one
// of a retired key.
func (w *wallet) next() edge.Request {
	w.mu.Lock()
	old := slices.Clone(w.old)
	w.mu.Unlock()
	if len(old) > 0 && rand.N(3) == 0 {
		return foo(old[rand.N(len(old))])
	}
	return foo(w.p.Mint(eric()))
}

// more waits until the load went on for a while.
func more(t *testing.T, l *edge.Load) {
	t.Helper()
	const some = 200
	before := l.Requests()
	eventually(t, "more requests", func() bool { return l.Requests() >= before+some })
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	const patience = 30 * time.Second
	for deadline := time.Now().Add(patience); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// onlyOK fails the test unless every request of a load was allowed.
func onlyOK(t *testing.T, l *edge.Load) {
	t.Helper()
	result := l.Stop()
	for status, n := range result.Statuses {
		if status != http.StatusOK {
			t.Errorf("%d of %d requests were answered by %d", n, result.Requests(), status)
		}
	}
	for _, err := range result.Errors {
		t.Error(err)
	}
	t.Logf("%d requests, the slowest took %v", result.Requests(), result.Slowest)
}

// TestKeys starts one host and one Envoy for all, since that takes long.
func TestKeys(t *testing.T) {
	e := edge.Start(t, loopback...)
	t.Run("rotation under load", func(t *testing.T) { testRotationUnderLoad(t, e) })
	t.Run("issuer that fails", func(t *testing.T) { testIssuerThatFails(t, e) })
	t.Run("withdrawn key", func(t *testing.T) { testWithdrawnKey(t, e) })
	t.Run("broken issuer beside a good one", func(t *testing.T) { testBrokenIssuerBesideAGoodOne(t, e) })
	t.Run("flood of unknown keys", func(t *testing.T) { testFloodOfUnknownKeys(t, e) })
}

func testRotationUnderLoad(t *testing.T, e *edge.Edge) {
	for _, tc := range []struct {
		name   string
		rotate func(p *oidctest.Provider, pause func())
	}{
		{"published, then activated, then the old one withdrawn", func(p *oidctest.Provider, pause func()) {
			old, next := p.Active(), p.Publish("RS256")
			pause()
			p.Activate(next)
			pause()
			p.Withdraw(old)
		}},
		{"activated at once", func(p *oidctest.Provider, _ func()) {
			p.Rotate("RS256")
		}},
		{"activated at once, and the old one withdrawn at once", func(p *oidctest.Provider, _ func()) {
			old := p.Active()
			p.Rotate("RS256")
			p.Withdraw(old)
		}},
		{"to another algorithm", func(p *oidctest.Provider, _ func()) {
			p.Rotate("ES256")
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			// What is cached for long must be asked for all the same.
			p := oidctest.Start(t, oidctest.Options{Path: "/realms/eo", CacheControl: "max-age=86400", ETag: true})
			p.PublishEncryptionKey()
			e.Host.Apply(document("provider", p, "10m")+"---"+policies, "--prune")
			e.Await(t, foo(p.Mint(eric())), http.StatusOK)

			w := &wallet{p: p}
			load := e.Load(t, 4, w.next)
			more(t, load)
			w.retire()
			tc.rotate(p, func() { more(t, load) })
			more(t, load)
			onlyOK(t, load)
		})
	}
}

// An issuer that is down has not withdrawn its keys.
func testIssuerThatFails(t *testing.T, e *edge.Edge) {
	p := oidctest.Start(t, oidctest.Options{CacheControl: "max-age=60"})
	e.Host.Apply(document("provider", p, "0s")+"---"+policies, "--prune")
	e.Await(t, foo(p.Mint(eric())), http.StatusOK)
	w := &wallet{p: p}
	load := e.Load(t, 2, w.next)
	for _, f := range []struct {
		name     string
		endpoint oidctest.Endpoint
		fault    oidctest.Fault
	}{
		{"down", oidctest.Keys, oidctest.Down},
		{"failing", oidctest.Keys, oidctest.Failing},
		{"garbage", oidctest.Keys, oidctest.Garbage},
		{"discovery of another issuer", oidctest.Discovery, oidctest.WrongIssuer},
		{"redirected to where nobody may go", oidctest.Keys, oidctest.Redirect("http://169.254.169.254/keys")},
	} {
		t.Run(f.name, func(t *testing.T) {
			p.Fail(f.endpoint, f.fault)
			defer p.Fail(f.endpoint, oidctest.Healthy)
			// Asked by hand, the host tells what is wrong, and goes on.
			e.Host.Run(1, "", "issuer", "refresh", "provider")
			more(t, load)
		})
	}
	onlyOK(t, load)
	stranger := e.Ask(t, foo(p.MintWith(oidctest.NewKey(t, "RS256"), eric())))
	if stranger.Status != http.StatusUnauthorized || stranger.Reason != "bad_token" {
		t.Errorf("a token of a key that is not the issuer's: %d %s", stranger.Status, stranger.Reason)
	}
}

// A key that the issuer lists no longer is accepted for keepRemoved, and no
// longer.
func testWithdrawnKey(t *testing.T, e *edge.Edge) {
	p := oidctest.Start(t, oidctest.Options{})
	e.Host.Apply(document("provider", p, "3s")+"---"+policies, "--prune")
	old := p.Mint(eric())
	e.Await(t, foo(old), http.StatusOK)
	p.Withdraw(p.Active())
	p.Rotate("ES256")
	if got := e.Ask(t, foo(p.Mint(eric()))); got.Status != http.StatusOK {
		t.Errorf("the new key: %d %s", got.Status, got.Reason)
	}
	if got := e.Ask(t, foo(old)); got.Status != http.StatusOK {
		t.Errorf("the withdrawn key, at once: %d %s", got.Status, got.Reason)
	}
	e.Await(t, foo(old), http.StatusUnauthorized)
	if got := e.Ask(t, foo(old)); got.Reason != "bad_token" {
		t.Errorf("the withdrawn key, later: %d %s", got.Status, got.Reason)
	}
	if got := e.Ask(t, foo(p.Mint(eric()))); got.Status != http.StatusOK {
		t.Errorf("the new key, later: %d %s", got.Status, got.Reason)
	}
}

func testBrokenIssuerBesideAGoodOne(t *testing.T, e *edge.Edge) {
	broken := oidctest.Start(t, oidctest.Options{Algorithm: "ES256"})
	broken.Fail(oidctest.Discovery, oidctest.Slow)
	good := oidctest.Start(t, oidctest.Options{Algorithm: "ES256"})
	e.Host.Apply(document("broken", broken, "10m")+document("good", good, "10m")+"---"+policies, "--prune")
	e.Await(t, foo(good.Mint(eric())), http.StatusOK)

	w := &wallet{p: good}
	load := e.Load(t, 2, w.next)
	good.Rotate("ES256")
	more(t, load)
	onlyOK(t, load)
	if got := e.Ask(t, foo(broken.Mint(eric()))); got.Status != http.StatusUnauthorized {
		t.Errorf("the broken issuer: %d %s", got.Status, got.Reason)
	}
	broken.Fail(oidctest.Discovery, oidctest.Healthy)
	e.Await(t, foo(broken.Mint(eric())), http.StatusOK)
}

// Whoever sends tokens chooses their kid, so neither the issuer nor those with
// good tokens may suffer from it, even when the key rotates meanwhile.
func testFloodOfUnknownKeys(t *testing.T, e *edge.Edge) {
	p := oidctest.Start(t, oidctest.Options{Algorithm: "ES256"})
	e.Host.Apply(document("provider", p, "10m")+"---"+policies, "--prune")
	e.Await(t, foo(p.Mint(eric())), http.StatusOK)
	before, began := p.Requests(oidctest.Keys), time.Now()

	stranger := oidctest.NewKey(t, "ES256")
	flood := e.Load(t, 40, func() edge.Request { return foo(forged(t, p, stranger)) })
	w := &wallet{p: p}
	load := e.Load(t, 2, w.next)
	more(t, flood)
	p.Rotate("ES256")
	more(t, load)
	more(t, flood)
	result := flood.Stop()
	onlyOK(t, load)
	if n := result.Statuses[http.StatusUnauthorized]; n != result.Requests() {
		t.Errorf("%d of %d forged tokens were refused: %v", n, result.Requests(), result.Statuses)
	}
	// Some before the limit is reached, then one each two seconds.
	if n, most := p.Requests(oidctest.Keys)-before, 5+int(time.Since(began)/(2*time.Second)); n > most {
		t.Errorf("%d forged tokens made %d requests to the issuer, more than %d", result.Requests(), n, most)
	}
	t.Logf("%d forged tokens, %d requests to the issuer", result.Requests(), p.Requests(oidctest.Keys)-before)
}

// forged returns a token that another key has signed, with a kid that nobody has.
func forged(t *testing.T, p *oidctest.Provider, key *oidctest.Key) string {
	claims := eric()
	now := time.Now()
	claims["iss"], claims["iat"], claims["exp"] = p.Issuer(), now.Unix(), now.Add(oidctest.Lifetime).Unix()
	return key.Sign(t, map[string]any{"kid": fmt.Sprintf("%x", rand.Uint64())}, claims)
}
