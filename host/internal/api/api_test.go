package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sallyport/host/internal/api"
	"sallyport/host/internal/condition"
	"sallyport/host/internal/devissuer"
	"sallyport/host/internal/directory"
	"sallyport/host/internal/fleet"
	"sallyport/host/internal/issuerkeys"
	"sallyport/host/internal/jwks"
	"sallyport/host/internal/keyfetch"
	"sallyport/host/internal/manifest"
	"sallyport/host/internal/model"
	"sallyport/host/internal/poll"
	"sallyport/host/internal/proxyauth"
	"sallyport/host/internal/publish"
	"sallyport/host/internal/signing"
	"sallyport/host/internal/store/mem"
	"sallyport/policydata"
	"sallyport/policydata/pushapi"
)

var module = []byte("\x00asm\x01\x00\x00\x00")

// fixture is an API over a store in memory, with the first user, and the
// development issuer trusted.
type fixture struct {
	handler   http.Handler
	store     *mem.Store
	directory *directory.Directory
	publisher *publish.Publisher
	keys      *issuerkeys.Keeper
	proxies   api.Proxies
	dev       *devissuer.Issuer
	key       string // access key of the first user
	secret    string
	log       *bytes.Buffer
	t         *testing.T
}

// openDev makes the development issuer once: an RSA key takes its time.
var openDev = sync.OnceValues(func() (*devissuer.Issuer, error) {
	dir, err := os.MkdirTemp("", "sallyport-api-test-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	return devissuer.Open(dir)
})

type options struct {
	unpublished     bool // the publisher does not run
	keyPolicy       keyfetch.Policy
	firstUserIssuer string
	proof           bool // proxies must prove who they are
	streams         api.Streams
}

func newFixture(t *testing.T, o options) *fixture {
	t.Helper()
	checks := model.Checks{
		Condition: func(src string, path, host []string) error {
			_, err := condition.Compile(src, path, host)
			return err
		},
		Keys: func(set []byte) error {
			_, err := jwks.Parse(set)
			return err
		},
		KeyURL: o.keyPolicy.CheckURL,
	}
	f := &fixture{store: mem.New(), log: &bytes.Buffer{}, t: t}
	f.directory = directory.New(f.store, checks, time.Now)
	creds, err := f.directory.EnsureAdmin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.key, f.secret = creds.AccessKeyID, creds.Secret.Reveal()
	if f.dev, err = openDev(); err != nil {
		t.Fatal(err)
	}
	key, err := signing.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	f.publisher = publish.New(publish.Options{
		Directory: f.directory, Key: key, Extra: []policydata.Issuer{f.dev.Source()}, Logger: slog.New(slog.DiscardHandler),
		Sinks: []publish.Sink{func(_ context.Context, p *publish.Published) error {
			return f.proxies.Feed.Set(pushapi.Version{Epoch: p.Version.Epoch, Generation: p.Version.Generation}, p.Bytes)
		}},
	})
	f.keys = issuerkeys.New(issuerkeys.Options{
		Directory: f.directory, Client: keyfetch.New(o.keyPolicy), Logger: slog.New(slog.DiscardHandler),
	})
	f.proxies = api.Proxies{
		Guard: proxyauth.New(proxyauth.Options{Directory: f.directory, Logger: slog.New(slog.NewTextHandler(f.log, nil)), Now: time.Now}),
		Feed:  poll.New(poll.Options{}), Fleet: fleet.New(time.Now), Proof: o.proof, Streams: o.streams,
	}
	f.handler = api.New(api.Options{
		Directory: f.directory, Store: f.store, Publisher: f.publisher, Keys: f.keys, Registry: prometheus.NewRegistry(),
		Module: api.NewModule(module), Logger: slog.New(slog.NewTextHandler(f.log, nil)), Now: time.Now,
		FirstUserIssuer: o.firstUserIssuer, Proxies: f.proxies,
	})
	if !o.unpublished {
		f.publish(t)
	}
	return f
}

// publish runs the publisher until the test ends.
func (f *fixture) publish(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.publisher.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	if _, err := f.publisher.Wait(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
}

// apply commits documents and waits until they are published.
func (f *fixture) apply(t *testing.T, text string) {
	t.Helper()
	docs, err := manifest.Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	result, err := f.directory.Apply(t.Context(), manifest.Entities(docs), directory.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.publisher.Wait(t.Context(), result.Generation); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) token(t *testing.T, r devissuer.MintRequest) string {
	t.Helper()
	r.TTL, r.Alg, r.Now = time.Hour, "ES256", time.Now()
	minted, err := f.dev.Mint(r)
	if err != nil {
		t.Fatal(err)
	}
	return minted
}

// do answers a request. Each answer must be as the OpenAPI document says.
func (f *fixture) do(req *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, req)
	conform(f.t, req, w)
	return w
}

// admin returns a request of the first user.
func (f *fixture) admin(method, target string, body io.Reader) *http.Request {
	req := httptest.NewRequest(method, target, body)
	req.SetBasicAuth(f.key, f.secret)
	return req
}

type problem struct {
	Type, Title, Detail string
	Status              int
	Errors              []struct {
		File, Field, Detail string
		Line, Column        int
	}
}

// wantProblem fails unless an answer is the problem document of a status, with a
// detail that contains a text.
func wantProblem(t *testing.T, w *httptest.ResponseRecorder, status int, detail string) problem {
	t.Helper()
	var p problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	if ct := w.Header().Get("Content-Type"); ct != "application/problem+json" {
		t.Errorf("content type %q", ct)
	}
	if w.Code != status || p.Status != status || p.Type != "about:blank" || p.Title != http.StatusText(status) || !strings.Contains(p.Detail, detail) {
		t.Errorf("got %d %+v, want %d with %q", w.Code, p, status, detail)
	}
	return p
}

const readers = `
apiVersion: sallyport/v1
kind: Policy
metadata: {name: readers}
spec:
  rules:
  - {effect: allow, methods: [GET], hosts: ["system:api"], paths: ["/api/v1/generation"]}
---
apiVersion: sallyport/v1
kind: Policy
metadata: {name: everything}
spec:
  rules:
  - {effect: allow, methods: ["*"], paths: ["/**"]}
---
apiVersion: sallyport/v1
kind: User
metadata: {name: rita}
spec: {policies: [readers]}
---
apiVersion: sallyport/v1
kind: User
metadata: {name: oscar}
spec: {disabled: true, policies: [readers]}
---
apiVersion: sallyport/v1
kind: Group
metadata: {name: reading}
spec: {policies: [readers]}
---
apiVersion: sallyport/v1
kind: Group
metadata: {name: "system:authenticated"}
spec: {policies: [everything]}
---
apiVersion: sallyport/v1
kind: Group
metadata: {name: "system:unauthenticated"}
spec: {policies: [everything]}
`

func TestWhoMayUseTheAPI(t *testing.T) {
	f := newFixture(t, options{})
	f.apply(t, readers)
	basic := func(key, secret string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(key, secret) }
	}
	header := func(values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header["Authorization"] = values }
	}
	bearer := func(m devissuer.MintRequest) func(*http.Request) { return header("Bearer " + f.token(t, m)) }
	oscar, err := f.directory.CreateCredentials(t.Context(), model.Key{Kind: model.KindUser, Name: "oscar"}, directory.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.publisher.Wait(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	good := "Bearer " + f.token(t, devissuer.MintRequest{User: "rita"})
	tests := map[string]struct {
		credentials func(*http.Request)
		status      int
		detail      string
	}{
		"nobody, and rules without the API's host don't count": {func(*http.Request) {}, 401, "no_token"},
		"the first user by access key":                         {basic(f.key, f.secret), 200, ""},
		"a wrong secret":                                       {basic(f.key, "guess"), 401, "bad_token"},
		"no secret":                                            {basic(f.key, ""), 401, "bad_token"},
		"an unknown key":                                       {basic("SPX", f.secret), 401, "bad_token"},
		"the key of a disabled user":                           {basic(oscar.AccessKeyID, oscar.Secret.Reveal()), 403, "user_disabled"},
		"a token of a user with a policy":                      {header(good), 200, ""},
		"a token of a group with a policy":                     {bearer(devissuer.MintRequest{User: "x", Groups: []string{"reading"}}), 200, ""},
		"a token of somebody, and rules without the API's host don't count": {bearer(devissuer.MintRequest{User: "x"}), 403, "no_matching_rule"},
		"a token of a disabled user":                                        {bearer(devissuer.MintRequest{User: "oscar"}), 403, "user_disabled"},
		"a token that names the first user":                                 {bearer(devissuer.MintRequest{User: "admin"}), 403, "acts by access key only"},
		"a token that is none":                                              {header("Bearer x.y.z"), 401, "bad_token"},
		"a tampered token":                                                  {header(good[:len(good)-6] + "AAAAAA"), 401, "bad_signature"},
		"an empty token":                                                    {header("Bearer"), 401, "bad_token"},
		"another scheme":                                                    {header("Digest x"), 401, "no_token"},
		"Basic that can't be read":                                          {header("Basic !"), 401, "no_token"},
		"two tokens":                                                        {header(good, good), 401, "bad_token"},
		"a good token and a wrong key":                                      {header("Basic eDp5", good), 401, "bad_token"},
		"a token behind a comma":                                            {header("Basic eDp5, " + good), 401, "bad_token"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			req := httptest.NewRequest("GET", "/api/v1/generation", nil)
			tt.credentials(req)
			w := f.do(req)
			if tt.status == 200 {
				if w.Code != 200 {
					t.Errorf("got %d %s", w.Code, w.Body)
				}
				return
			}
			wantProblem(t, w, tt.status, tt.detail)
			if got := len(w.Header().Values("WWW-Authenticate")); (got == 2) != (tt.status == 401) {
				t.Errorf("%d challenges with %d", got, w.Code)
			}
		})
	}
	if strings.Contains(f.log.String(), f.secret) || strings.Contains(f.log.String(), "guess") || strings.Contains(f.log.String(), good) {
		t.Error("a secret is in the log")
	}
}

func TestTheFirstUserByTokenNeedsTheIssuerThatMayNameIt(t *testing.T) {
	for iss, want := range map[string]int{devissuer.Iss: 200, "https://other.example": 403, "": 403} {
		f := newFixture(t, options{firstUserIssuer: iss})
		req := httptest.NewRequest("GET", "/api/v1/generation", nil)
		req.Header.Set("Authorization", "Bearer "+f.token(t, devissuer.MintRequest{User: "admin"}))
		if w := f.do(req); w.Code != want {
			t.Errorf("issuer %q: got %d, want %d", iss, w.Code, want)
		}
	}
}

func TestRightsOfTheNextSnapshotCountAtOnce(t *testing.T) {
	f := newFixture(t, options{})
	req := func() *http.Request {
		r := httptest.NewRequest("GET", "/api/v1/generation", nil)
		r.Header.Set("Authorization", "Bearer "+f.token(t, devissuer.MintRequest{User: "rita"}))
		return r
	}
	wantProblem(t, f.do(req()), 403, "no_matching_rule")
	f.apply(t, readers)
	if w := f.do(req()); w.Code != 200 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

// TestMuxAndEngineSeeTheSamePath sends raw request targets: what the engine would
// read otherwise than the mux is refused before either acts.
func TestMuxAndEngineSeeTheSamePath(t *testing.T) {
	f := newFixture(t, options{})
	server := httptest.NewServer(f.handler)
	defer server.Close()
	tests := map[string]int{
		"/api/v1/generation":                200,
		"/api/v1/generation?x=/../y":        200,
		"/api/v1/%67eneration":              200,
		"/api/v1%2Fgeneration":              400,
		"/api%2fv1/generation":              400,
		"//api/v1/generation":               400,
		"/api//v1/generation":               400,
		"/api/v1/./generation":              400,
		"/api/v1/x/../generation":           400,
		"/api/v1/x/%2e%2e/generation":       400,
		"/healthz/../api/v1/generation":     400,
		"/api/v1/generation;x=y":            400,
		"/api/v1/generation%00":             400,
		"/api/v1/%2567eneration":            400,
		"/api/v1/generation%5c":             400,
		"/API/v1/generation":                404,
		"/api/v1/generation/":               404,
		server.URL + "/api/v1/generation":   400,
		"/api/v1/generation%20":             404,
		"/api/v1/generation%e2%80%8b":       404,
		"/api/v1/generation#/../../healthz": 400,
		"/healthz%2f..%2fapi/v1/generation": 400,
	}
	for target, want := range tests {
		req, err := http.NewRequest(http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.URL.Opaque = target // goes out as it is
		if !strings.HasPrefix(target, "/") || strings.HasPrefix(target, "//") || strings.ContainsAny(target, "#") {
			if got := rawStatus(t, server, f, target); got != want {
				t.Errorf("%s: got %d, want %d", target, got, want)
			}
			continue
		}
		req.SetBasicAuth(f.key, f.secret)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: got %d, want %d", target, resp.StatusCode, want)
		}
	}
}

// rawStatus sends a request line as it is written.
func rawStatus(t *testing.T, server *httptest.Server, f *fixture, target string) int {
	t.Helper()
	conn, err := (&netDialer{}).dial(t.Context(), server)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	with := httptest.NewRequest(http.MethodGet, "/", nil)
	with.SetBasicAuth(f.key, f.secret)
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nConnection: close\r\n\r\n", target, with.Header.Get("Authorization"))
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	var status int
	if _, err := fmt.Sscanf(string(answer), "HTTP/1.1 %d", &status); err != nil {
		t.Fatalf("%q: %v", answer, err)
	}
	return status
}

func TestOtherMethodsAndResources(t *testing.T) {
	f := newFixture(t, options{})
	tests := []struct {
		method, path string
		status       int
		allow        string
	}{
		{"POST", "/healthz", 405, "GET, HEAD"},
		{"DELETE", "/metrics", 405, "GET, HEAD"},
		{"GET", "/api/v1/apply", 405, "POST"},
		{"PUT", "/api/v1/check", 405, "POST"},
		{"POST", "/api/v1/generation", 405, "GET, HEAD"},
		{"BREW", "/api/v1/generation", 405, "GET, HEAD"},
		{"GET", "/api/v1/nothing", 404, ""},
		{"GET", "/api", 404, ""},
		{"GET", "/", 404, ""},
		{"GET", "/plugin/other.wasm", 404, ""},
	}
	for _, tt := range tests {
		t.Run(tt.method+tt.path, func(t *testing.T) {
			w := f.do(f.admin(tt.method, tt.path, nil))
			wantProblem(t, w, tt.status, "")
			if w.Header().Get("Allow") != tt.allow {
				t.Errorf("Allow: %q, want %q", w.Header().Get("Allow"), tt.allow)
			}
		})
	}
	// Who may not ask learns nothing about what there is.
	for _, path := range []string{"/api/v1/nothing", "/api/v1/apply"} {
		wantProblem(t, f.do(httptest.NewRequest("PATCH", path, nil)), 401, "no_token")
	}
	if w := f.do(f.admin("HEAD", "/api/v1/generation", nil)); w.Code != 200 {
		t.Errorf("HEAD: got %d", w.Code)
	}
}

func TestPagesOfOtherOriginsCanNotWrite(t *testing.T) {
	f := newFixture(t, options{})
	req := f.admin("POST", "/api/v1/apply", strings.NewReader(policy))
	req.Header.Set("Origin", "https://evil.example")
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	wantProblem(t, f.do(req), 403, "another origin")
}

func TestProbes(t *testing.T) {
	f := newFixture(t, options{unpublished: true})
	get := func(path string) *httptest.ResponseRecorder { return f.do(httptest.NewRequest("GET", path, nil)) }
	if w := get("/healthz"); w.Code != 200 || w.Body.String() != "ok\n" {
		t.Errorf("/healthz: %d %s", w.Code, w.Body)
	}
	wantProblem(t, get("/readyz"), 503, "no snapshot yet")
	wantProblem(t, f.do(f.admin("GET", "/api/v1/generation", nil)), 503, "no_snapshot")
	f.publish(t)
	if w := get("/readyz"); w.Code != 200 || w.Body.String() != "ok 1.1\n" {
		t.Errorf("/readyz: %d %s", w.Code, w.Body)
	}
	f.do(f.admin("GET", "/api/v1/generation", nil))
	if w := get("/metrics"); w.Code != 200 || !strings.Contains(w.Body.String(), `sallyport_api_requests_total{code="2xx"} 1`) ||
		!strings.Contains(w.Body.String(), `sallyport_api_requests_total{code="5xx"} 1`) {
		t.Errorf("/metrics: %d %s", w.Code, w.Body)
	}
}

func TestTheFilterComesWithItsDigest(t *testing.T) {
	f := newFixture(t, options{})
	w := f.do(httptest.NewRequest("GET", api.ModulePath, nil))
	digest := sha256.Sum256(module)
	want := hex.EncodeToString(digest[:])
	if w.Code != 200 || !bytes.Equal(w.Body.Bytes(), module) || w.Header().Get("Content-Type") != "application/wasm" {
		t.Errorf("got %d %q %v", w.Code, w.Body, w.Header())
	}
	if w.Header().Get("X-Checksum-Sha256") != want || w.Header().Get("ETag") != `"`+want+`"` {
		t.Errorf("digest in %v, want %s", w.Header(), want)
	}
	again := httptest.NewRequest("GET", api.ModulePath, nil)
	again.Header.Set("If-None-Match", `"`+want+`"`)
	if w := f.do(again); w.Code != http.StatusNotModified {
		t.Errorf("got %d, want 304", w.Code)
	}
}

const policy = `apiVersion: sallyport/v1
kind: Policy
metadata: {name: open}
spec:
  rules:
  - {effect: allow, methods: [GET], paths: ["/open"]}
`

func form(t *testing.T, files ...string) (io.Reader, string) {
	t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for i := 0; i < len(files); i += 2 {
		part, err := w.CreateFormFile("file", files[i])
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(part, files[i+1]) // to memory
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &body, w.FormDataContentType()
}
