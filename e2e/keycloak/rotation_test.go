//go:build keycloak

package keycloak

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/e2e/edge"
)

// startEdge starts a host that fetches the server's keys by discovery, with an
// Envoy.
func startEdge(t *testing.T, s *server) *edge.Edge {
	t.Helper()
	e := edge.Start(t, "--issuer-allow-http", "--issuer-allow-private")
	e.Host.Apply(document(s, "{discovery: true}") + "---" + story)
	return e
}

// testStoryInEnvoy asks the real Envoy, whose keys the host fetched.
func testStoryInEnvoy(t *testing.T, s *server) {
	e := startEdge(t, s)
	service, err := s.service(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e.Await(t, edge.Request{Method: http.MethodGet, Path: "/models/m", Token: service.Access}, http.StatusOK)

	// Keycloak makes the key for ES256 when a token first needs it, so the host
	// can't have it yet.
	if strings.Contains(string(s.keySet()), `"ES256"`) {
		t.Fatal("the key set has a key for ES256 already")
	}
	tokens := storyTokens(s)
	first := e.Ask(t, edge.Request{Method: http.MethodGet, Path: "/workspaces/foo/data", Token: tokens["eric, ES256"]})
	if first.Status != http.StatusOK {
		t.Errorf("the first token of a key that nobody has seen: %d %s", first.Status, first.Reason)
	}
	for _, c := range storyCases {
		got := e.Ask(t, edge.Request{Method: c.method, Path: c.path, Token: tokens[c.token]})
		if got.Reason != c.reason {
			t.Errorf("%s: %s %s: %d %s, want %s", c.token, c.method, c.path, got.Status, got.Reason, c.reason)
		}
	}
}

// wallet holds the service's tokens from the first to the last.
type wallet struct {
	mu     sync.Mutex
	tokens []string
}

// refresh gets a new token again and again, until the context ends.
func (w *wallet) refresh(ctx context.Context, t *testing.T, s *server) {
	for ctx.Err() == nil {
		token, err := s.service(ctx)
		if err != nil {
			if ctx.Err() == nil {
				t.Error(err)
			}
			return
		}
		w.mu.Lock()
		w.tokens = append(w.tokens, token.Access)
		w.mu.Unlock()
	}
}

// pick returns the newest token, or now and then any of the older.
func (w *wallet) pick() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if rand.N(4) == 0 {
		return w.tokens[rand.N(len(w.tokens))]
	}
	return w.tokens[len(w.tokens)-1]
}

// kid returns the key of the newest token.
func (w *wallet) kid(t *testing.T) string {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.tokens) == 0 {
		return ""
	}
	header, _, _ := strings.Cut(w.tokens[len(w.tokens)-1], ".")
	b, err := base64.RawURLEncoding.DecodeString(header)
	if err != nil {
		t.Fatal(err)
	}
	var h struct{ Kid string }
	if err := json.Unmarshal(b, &h); err != nil {
		t.Fatal(err)
	}
	return h.Kid
}

// testRotation rotates the realm's keys as an administrator does, while clients
// use new tokens and old ones. None of them may be refused.
func testRotation(t *testing.T, s *server) {
	e := startEdge(t, s)
	var w wallet
	ctx, cancel := context.WithCancel(t.Context())
	var refreshing sync.WaitGroup
	refreshing.Go(func() { w.refresh(ctx, t, s) })
	defer refreshing.Wait()
	defer cancel()
	eventually(t, "a token", func() bool { return w.kid(t) != "" })
	first := w.kid(t)
	e.Await(t, edge.Request{Method: http.MethodGet, Path: "/models/m", Token: w.pick()}, http.StatusOK)

	load := e.Load(t, 4, func() edge.Request {
		return edge.Request{Method: http.MethodGet, Path: "/models/m", Token: w.pick()}
	})
	const some = 300
	more := func() {
		t.Helper()
		before := load.Requests()
		eventually(t, "more requests", func() bool { return load.Requests() >= before+some })
	}
	more()
	s.addKey("rsa-next", "rsa-generated", url.Values{"algorithm": {"RS256"}, "keySize": {"2048"}})
	eventually(t, "tokens of the new key", func() bool { return w.kid(t) != first })
	more()
	s.setKey("rsa-generated", "active", "false")
	more()
	s.setKey("rsa-generated", "enabled", "false")
	if strings.Contains(string(s.keySet()), first) {
		t.Error("the disabled key is still published")
	}
	// The host learns that the key is gone, and keeps it for tokens such as ours.
	e.Host.Run(0, "", "issuer", "refresh", "keycloak")
	more()

	result := load.Stop()
	for status, n := range result.Statuses {
		if status != http.StatusOK {
			t.Errorf("%d times %d", n, status)
		}
	}
	for _, err := range result.Errors {
		t.Error(err)
	}
	t.Logf("%d requests, the slowest took %v", result.Requests(), result.Slowest)
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	const patience = time.Minute
	for deadline := time.Now().Add(patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}
