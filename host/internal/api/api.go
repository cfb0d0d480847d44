// Package api is the host's HTTP interface: the REST API under /api/v1, and what
// probes, monitoring and proxies ask for.
//
// The API decides by the project's own engine: a request is allowed if the
// policies of whoever asks allow it on the host "system:api". Callers prove who
// they are by an access key (HTTP Basic, RFC 7617) or by a token of a trusted
// issuer.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"sallyport/host/internal/check"
	"sallyport/host/internal/directory"
	"sallyport/host/internal/manifest"
	"sallyport/host/internal/publish"
	"sallyport/policydata"
	"sallyport/policydata/authorize"
)

// maxCheckBytes bounds the body of a check.
const maxCheckBytes = 1 << 20

// Options is what the API serves from.
type Options struct {
	Directory *directory.Directory
	Publisher *publish.Publisher
	Registry  *prometheus.Registry
	Module    Module // the filter, for proxies that fetch it
	Logger    *slog.Logger
	Now       func() time.Time
}

type api struct {
	Options
	requests *prometheus.CounterVec
}

// New returns the handler of all paths.
func New(o Options) http.Handler {
	a := &api{Options: o, requests: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sallyport_api_requests_total", Help: "Requests to the API by status class.",
	}, []string{"code"})}
	o.Registry.MustRegister(a.requests)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeText(w, "ok\n") })
	mux.HandleFunc("GET /readyz", a.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.Registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET "+ModulePath, o.Module.serve)
	mux.HandleFunc("GET /api/v1/generation", a.guarded(a.generation))
	mux.HandleFunc("POST /api/v1/apply", a.guarded(a.apply))
	mux.HandleFunc("POST /api/v1/check", a.guarded(a.check))
	mux.HandleFunc("/api/", a.guarded(func(w http.ResponseWriter, _ *http.Request) {
		fail(w, http.StatusNotFound, "no such resource")
	}))
	return mux
}

func writeText(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, text)
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

// guarded calls next only for requests that the policies allow.
func (a *api) guarded(next http.HandlerFunc) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		w := &statusWriter{rw, http.StatusOK}
		defer func() { a.requests.WithLabelValues(strconv.Itoa(w.status/100) + "xx").Inc() }()
		d, err := a.authorize(r)
		switch {
		case err != nil:
			a.Logger.Error("authorizing an API request", "error", err)
			fail(w, http.StatusServiceUnavailable, "")
		case !d.Allowed():
			refuse(w, &d)
		default:
			next(w, r)
		}
	}
}

// authorize decides whether a request to the API may be served.
func (a *api) authorize(r *http.Request) (policydata.Decision, error) {
	current, _ := a.Publisher.Current()
	if current == nil {
		return policydata.Decision{Reason: policydata.ReasonNoSnapshot}, nil
	}
	engine, err := authorize.New(current.Loaded, authorize.TokenSource{})
	if err != nil {
		return policydata.Decision{}, err
	}
	req := &authorize.Request{Method: r.Method, Target: r.RequestURI, Authority: r.Host, API: true}
	for name, values := range r.Header {
		for _, v := range values {
			req.Headers = append(req.Headers, [2]string{strings.ToLower(name), v})
		}
	}
	key, secret, isBasic := r.BasicAuth()
	if !isBasic || len(r.Header.Values("Authorization")) != 1 {
		return engine.Authorize(req, a.Now().Unix()), nil
	}
	user, err := a.Directory.Authenticate(r.Context(), key, secret)
	if errors.Is(err, directory.ErrBadCredentials) {
		return policydata.Decision{Reason: policydata.ReasonBadToken}, nil
	}
	if err != nil {
		return policydata.Decision{}, err
	}
	id := policydata.Identity{Authenticated: true, User: user, RequireKnownUser: true}
	return engine.AuthorizeIdentity(req, &id, a.Now().Unix()), nil
}

// refuse answers a request that the policies do not allow. Unlike a proxy's,
// the answer names the reason: who asks here is an operator.
func refuse(w http.ResponseWriter, d *policydata.Decision) {
	if d.Reason.Status() == http.StatusUnauthorized {
		w.Header().Add("WWW-Authenticate", `Basic realm="sallyport", charset="UTF-8"`)
		w.Header().Add("WWW-Authenticate", `Bearer realm="sallyport"`)
	}
	fail(w, d.Reason.Status(), d.Reason.String())
}

func (a *api) generation(w http.ResponseWriter, _ *http.Request) {
	current, _ := a.Publisher.Current()
	writeJSON(w, map[string]string{
		"epoch":      strconv.FormatUint(current.Version.Epoch, 10),
		"generation": strconv.FormatUint(current.Version.Generation, 10),
		"committed":  current.Version.Committed.UTC().Format(time.RFC3339),
	})
}

// apply takes documents: one body of YAML or JSON, or a form with one or more
// files, whose names then stand in errors.
func (a *api) apply(w http.ResponseWriter, r *http.Request) {
	options, err := applyOptions(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	files, err := bodyFiles(w, r)
	if err != nil {
		status := http.StatusBadRequest
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			status = http.StatusRequestEntityTooLarge
		}
		fail(w, status, err.Error())
		return
	}
	docs, err := manifest.ParseFiles(files)
	if err != nil {
		failDocuments(w, err)
		return
	}
	result, err := a.Directory.Apply(r.Context(), manifest.Entities(docs), options)
	if err != nil {
		a.failApply(w, manifest.Locate(docs, err))
		return
	}
	if !options.DryRun {
		a.awaitPublished(r.Context(), result.Generation)
	}
	writeJSON(w, result)
}

// failApply tells a mistake in the documents from a failure of the host.
func (a *api) failApply(w http.ResponseWriter, err error) {
	var errs manifest.Errors
	if errors.As(err, &errs) {
		failDocuments(w, errs)
		return
	}
	a.Logger.Error("applying documents", "error", err)
	fail(w, http.StatusInternalServerError, "nothing was applied")
}

// awaitPublished gives the publisher a moment, so that who applied a change and
// asks at once gets an answer of the new generation.
func (a *api) awaitPublished(ctx context.Context, generation uint64) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if _, err := a.Publisher.Wait(ctx, generation); err != nil {
		a.Logger.Warn("a change was committed but is not published yet", "generation", generation)
	}
}

func applyOptions(r *http.Request) (o directory.Options, err error) {
	for name, values := range r.URL.Query() {
		var into *bool
		switch name {
		case "dryRun":
			into = &o.DryRun
		case "prune":
			into = &o.Prune
		case "force":
			into = &o.Force
		default:
			return o, fmt.Errorf("unknown parameter %q: there are dryRun, prune and force", name)
		}
		if *into, err = strconv.ParseBool(values[0]); err != nil {
			return o, fmt.Errorf("parameter %s: want true or false", name)
		}
	}
	return o, nil
}

// bodyFiles returns the documents of a request's body, as files.
func bodyFiles(w http.ResponseWriter, r *http.Request) ([]manifest.File, error) {
	r.Body = http.MaxBytesReader(w, r.Body, manifest.MaxTotalBytes)
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/form-data") {
		data, err := io.ReadAll(r.Body)
		return []manifest.File{{Name: "body", Data: data}}, err
	}
	parts, err := r.MultipartReader()
	if err != nil {
		return nil, err
	}
	var files []manifest.File
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(part)
		if err != nil {
			return nil, err
		}
		files = append(files, manifest.File{Name: fileNameOf(part.Header.Get("Content-Disposition"), part.FormName()), Data: data})
	}
}

// check decides a request by the published snapshot.
func (a *api) check(w http.ResponseWriter, r *http.Request) {
	var q check.Query
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxCheckBytes))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&q); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	if err := q.Check(); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	current, _ := a.Publisher.Current()
	engine, err := check.NewGo(current.Loaded, a.Now)
	if err != nil {
		a.Logger.Error("checking a request", "error", err)
		fail(w, http.StatusInternalServerError, "")
		return
	}
	decision, err := engine.Decide(r.Context(), &q)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	writeJSON(w, decision)
}
