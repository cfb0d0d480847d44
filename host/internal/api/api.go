package api

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"sallyport/host/internal/check"
	"sallyport/host/internal/compile"
	"sallyport/host/internal/directory"
	"sallyport/host/internal/issuerkeys"
	"sallyport/host/internal/logins"
	"sallyport/host/internal/proxyauth"
	"sallyport/host/internal/publish"
	"sallyport/host/internal/store"
	"sallyport/policydata"
	"sallyport/policydata/pushapi"
)

// maxCheckBytes bounds the body of a check.
const maxCheckBytes = 1 << 20

// Options is what the API serves from.
type Options struct {
	Directory *directory.Directory
	Store     store.Store // of the directory, for backups
	Publisher *publish.Publisher
	Keys      *issuerkeys.Keeper
	Registry  *prometheus.Registry
	Module    Module // the filter, for proxies that fetch it
	Logger    *slog.Logger
	Now       func() time.Time

	// FirstUserIssuer is the "iss" of tokens that may name the first user: the
	// development issuer's, where it is trusted. Empty: there are none.
	FirstUserIssuer string

	// Proxies is what is for proxies. Where these must prove who they are, metrics
	// are for who shows a certificate, or for whom the policies allow them.
	Proxies Proxies
}

type api struct {
	Options
	decider   decider
	routes    []string          // that mean something, "GET /healthz"
	compiler  *compile.Compiler // of states that tests are run on
	requests  *prometheus.CounterVec
	backingUp sync.Mutex // held while a backup is taken

	logins       *logins.Limiter
	failedLogins *prometheus.CounterVec
	keyWaits     chan struct{} // one for each request that waits for a key

	pollers     *proxyauth.Gate
	polls       *prometheus.CounterVec
	polledBytes prometheus.Counter
}

// New returns the handler of all paths.
func New(o Options) http.Handler {
	handler, _ := newHandler(o)
	return handler
}

// newHandler returns the handler of all paths, and its routes.
func newHandler(o Options) (http.Handler, []string) {
	a := &api{
		Options: o, compiler: compile.New(), logins: logins.New(o.Now), keyWaits: make(chan struct{}, maxKeyWaits),
		pollers: proxyauth.NewGate(MaxPollers),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_api_requests_total", Help: "Requests to the API by status class.",
		}, []string{"code"}),
		failedLogins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_api_failed_logins_total",
			Help: "Requests to the API with bad credentials, and what they were answered: refused (401) or limited (429).",
		}, []string{"answer"}),
	}
	o.Registry.MustRegister(a.requests, a.failedLogins)
	a.proxyMetrics()
	mux := http.NewServeMux()
	handle := func(method, path string, h http.HandlerFunc) {
		a.routes = append(a.routes, method+" "+path)
		mux.HandleFunc(method+" "+path, h)
		mux.HandleFunc(path, methodNotAllowed(method))
	}
	guarded := func(method, path string, h http.HandlerFunc) {
		a.resource(mux, strings.TrimPrefix(path, apiPrefix), methods{method: h})
	}
	handle(http.MethodGet, "/healthz", func(w http.ResponseWriter, _ *http.Request) { writeText(w, "ok\n") })
	handle(http.MethodGet, "/readyz", a.ready)
	metrics := promhttp.HandlerFor(o.Registry, promhttp.HandlerOpts{}).ServeHTTP
	handle(http.MethodGet, "/metrics", a.byCertificate(metrics, a.guarded(metrics)))
	handle(http.MethodGet, ModulePath, a.proxies(o.Module.serve))
	handle(http.MethodGet, pushapi.SnapshotPath, a.proxies(a.snapshot))
	handle(http.MethodPost, pushapi.ReportPath, a.proxies(a.report))
	handle(http.MethodGet, OpenAPIPath, serveOpenAPI)
	handle(http.MethodGet, SchemaPath, serveSchema)
	handle(http.MethodPost, pushapi.KeysPath, a.proxies(a.findKey))
	guarded(http.MethodGet, "/api/v1/generation", a.generation)
	guarded(http.MethodPost, "/api/v1/apply", a.apply)
	guarded(http.MethodPost, "/api/v1/check", a.check)
	guarded(http.MethodPost, "/api/v1/access", a.access)
	guarded(http.MethodPost, "/api/v1/who-can", a.whoCan)
	guarded(http.MethodPost, "/api/v1/test", a.test)
	a.resources(mux)
	guarded(http.MethodPost, "/api/v1/issuers/{name}/refresh", a.refreshIssuer)
	mux.HandleFunc("/api/", a.guarded(notFound))
	mux.HandleFunc("/api", a.guarded(notFound)) // or the mux would redirect
	mux.HandleFunc("/", notFound)
	return canonicalOnly(sameOriginOnly(mux)), a.routes
}

// canonicalOnly refuses paths that are not canonical, so that the mux, which
// goes by the decoded path, and the engine, which goes by the raw one, can't
// mean different resources.
func canonicalOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path, ok := policydata.CanonicalPath(r.RequestURI); !ok || path != r.URL.Path {
			fail(w, http.StatusBadRequest, policydata.ReasonBadPath.String())
			return
		}
		next.ServeHTTP(w, r)
	})
}

// sameOriginOnly refuses what another site has a browser send: a browser that
// was once given an access key adds it by itself.
func sameOriginOnly(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fail(w, http.StatusForbidden, "a request that a page of another origin made")
	}))
	return protection.Handler(next)
}

// byCertificate serves h to who shows a certificate, and calls otherwise for
// anybody else; where proxies need no proof, it serves h to all.
func (a *api) byCertificate(h, otherwise http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !a.Proxies.Proof || proxyauth.Certificate(r.TLS) != nil {
			h(w, r)
			return
		}
		otherwise(w, r)
	}
}

func notFound(w http.ResponseWriter, _ *http.Request) {
	fail(w, http.StatusNotFound, "no such resource")
}

func writeText(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, text) // a client that went away is no error of ours
}

// ready says whether there is a policy to push.
func (a *api) ready(w http.ResponseWriter, _ *http.Request) {
	current, _ := a.Publisher.Current()
	if current == nil {
		fail(w, http.StatusServiceUnavailable, "no snapshot yet")
		return
	}
	writeText(w, "ok "+current.Version.String()+"\n")
}

// statusWriter notes the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (a *api) generation(w http.ResponseWriter, _ *http.Request) {
	current, _ := a.Publisher.Current()
	answer := map[string]string{
		"epoch":      strconv.FormatUint(current.Version.Epoch, 10),
		"generation": strconv.FormatUint(current.Version.Generation, 10),
		"committed":  current.Version.Committed.UTC().Format(time.RFC3339),
	}
	if expires := current.Version.Expires; !expires.IsZero() {
		answer["expires"] = expires.UTC().Format(time.RFC3339)
	}
	writeJSON(w, answer)
}

// check decides a request by the published snapshot.
func (a *api) check(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCheckBytes))
	if err != nil {
		failBody(w, err)
		return
	}
	decision, err := a.decideQuery(r, body)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	writeJSON(w, decision)
}

// decideQuery returns the decision on a query; the error says what is wrong with
// it.
func (a *api) decideQuery(r *http.Request, body []byte) (json.RawMessage, error) {
	q, err := check.ParseQuery(body)
	if err != nil {
		return nil, err
	}
	current, _ := a.Publisher.Current()
	engine, err := check.NewGo(current.Loaded, a.Now)
	if err != nil {
		return nil, err
	}
	return engine.Decide(r.Context(), q)
}

// failBody answers a request whose body could not be read.
func failBody(w http.ResponseWriter, err error) {
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		fail(w, http.StatusRequestEntityTooLarge, "the body is larger than "+strconv.FormatInt(tooLarge.Limit, 10)+" bytes")
		return
	}
	fail(w, http.StatusBadRequest, err.Error())
}
