package issuerkeys

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/e2e/logtest"
	"sallyport/host/internal/directory"
	"sallyport/host/internal/jwks"
	"sallyport/host/internal/keyfetch"
	"sallyport/host/internal/manifest"
	"sallyport/host/internal/model"
	"sallyport/host/internal/store"
	"sallyport/host/internal/store/mem"
	"sallyport/policydata"
)

// spki is a real public key; tests tell keys by their kid.
var spki = sync.OnceValue(func() []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		panic(err)
	}
	return der
})

// keySet returns a set of these kids.
func keySet(kids ...string) string {
	var list []policydata.Key
	for _, kid := range kids {
		list = append(list, policydata.Key{ID: kid, Algorithm: "ES256", SPKI: spki()})
	}
	set, err := jwks.Marshal(list)
	if err != nil {
		panic(err)
	}
	return string(set)
}

// network stands in for all issuers' servers: what each answers, by the URL of
// its set, or its "iss" for discovery.
type network struct {
	mu      sync.Mutex
	sets    map[string]string        // guarded by mu
	fails   map[string]error         // guarded by mu
	hangs   map[string]time.Duration // guarded by mu; how long an answer takes
	fresh   time.Duration            // guarded by mu
	fetches map[string]int           // guarded by mu
}

// set has a source answer a set, if text begins with "{", or an error.
func (n *network) set(source, text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.sets, source)
	delete(n.fails, source)
	if strings.HasPrefix(text, "{") {
		n.sets[source] = text
	} else {
		n.fails[source] = errors.New(text)
	}
}

func (n *network) hang(source string, d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hangs[source] = d
}

func (n *network) count(source string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.fetches[source]
}

type fakeFetcher struct {
	n      *network
	source string
}

func (f fakeFetcher) Fetch(ctx context.Context, _ bool) (keyfetch.Answer, error) {
	f.n.mu.Lock()
	f.n.fetches[f.source]++
	set, err, hang, fresh := f.n.sets[f.source], f.n.fails[f.source], f.n.hangs[f.source], f.n.fresh
	f.n.mu.Unlock()
	select {
	case <-time.After(hang):
	case <-ctx.Done():
		return keyfetch.Answer{}, ctx.Err()
	}
	if err != nil {
		return keyfetch.Answer{}, err
	}
	return keyfetch.Answer{Set: []byte(set), URI: f.source, Fresh: fresh}, nil
}

// world is a keeper over a store in memory, with a network.
type world struct {
	*network
	*testing.T
	store  store.Store
	dir    *directory.Directory
	keeper *Keeper
	log    *logtest.Buffer
	stop   func()
}

// inWorld runs a test with a clock of its own, which moves only while everybody
// waits.
func inWorld(t *testing.T, test func(w *world)) {
	t.Helper()
	spki() // crypto/rand is no matter of the bubble
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			T: t, store: mem.New(), log: &logtest.Buffer{},
			network: &network{
				sets: map[string]string{}, fails: map[string]error{}, hangs: map[string]time.Duration{},
				fresh: 10 * time.Minute, fetches: map[string]int{},
			},
		}
		w.start()
		defer func() { w.stop() }()
		test(w)
	})
}

// start starts a host on the store.
func (w *world) start() {
	checks := model.Checks{
		Keys:   func([]byte) error { return nil },
		KeyURL: func(string) error { return nil },
	}
	w.dir = directory.New(w.store, checks, time.Now)
	w.keeper = New(Options{Directory: w.dir, Logger: slog.New(slog.NewTextHandler(w.log, nil))})
	w.keeper.open = func(s keyfetch.Source) fetcher { return fakeFetcher{w.network, s.URI + s.Issuer} }
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.keeper.Run(ctx)
	}()
	w.stop = func() {
		cancel()
		<-done
	}
}

// apply applies issuers, each as a name and its "jwks".
func (w *world) apply(namesAndJWKS ...string) {
	w.Helper()
	var text strings.Builder
	for i := 0; i < len(namesAndJWKS); i += 2 {
		name := namesAndJWKS[i]
		fmt.Fprintf(&text, "---\napiVersion: sallyport/v1\nkind: Issuer\nmetadata: {name: %s}\nspec: {issuer: \"https://%s\", audiences: [a], algorithms: [ES256], shareNames: true, jwks: %s}\n",
			name, name, namesAndJWKS[i+1])
	}
	docs, err := manifest.Parse("test.yaml", []byte(text.String()))
	if err != nil {
		w.Fatal(err)
	}
	if _, err := w.dir.Apply(w.Context(), manifest.Entities(docs), directory.Options{}); err != nil {
		w.Fatal(err)
	}
	synctest.Wait()
}

func (w *world) sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (w *world) generation() uint64 {
	w.Helper()
	r, err := w.dir.Load(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	return r.Generation
}

// want wants the keys of an issuer in the store and in the status, "-" before
// those no longer listed.
func (w *world) want(name, want string) {
	w.Helper()
	r, err := w.dir.Load(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	var stored, reported []string
	if set := r.State.Keys[name]; set != nil {
		for _, k := range set.Keys {
			stored = append(stored, mark(k.ID, k.Removed))
		}
	}
	for _, k := range w.status(name).Keys {
		reported = append(reported, mark(k.ID, k.Removed))
	}
	if got := strings.Join(stored, " "); got != want || strings.Join(reported, " ") != want {
		w.Errorf("keys of %s: %q in the store, %q in the status, want %q", name, stored, reported, want)
	}
}

func mark(kid string, removed time.Time) string {
	if removed.IsZero() {
		return kid
	}
	return "-" + kid
}

func (w *world) status(name string) Status {
	w.Helper()
	s, ok := w.keeper.Status(name)
	if !ok {
		w.Fatalf("no status of %q", name)
	}
	return s
}
