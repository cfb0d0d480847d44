package api

import (
	"net/http"
	"slices"
	"strings"

	"sallyport/host/internal/model"
)

// methods are the handlers of a resource, by method.
type methods map[string]http.HandlerFunc

// resource serves a path below /api/v1 to whom the policies allow it.
func (a *api) resource(mux *http.ServeMux, path string, m methods) {
	var allowed []string
	for method, h := range m {
		allowed = append(allowed, method)
		a.routes = append(a.routes, method+" "+apiPrefix+path)
		mux.HandleFunc(method+" "+apiPrefix+path, a.guarded(h))
	}
	slices.Sort(allowed)
	mux.HandleFunc(apiPrefix+path, a.guarded(methodNotAllowed(allowed...)))
}

// apiPrefix begins the paths of the REST API.
const apiPrefix = "/api/v1"

// Paths of what describes the API; they need no credentials.
const (
	OpenAPIPath = apiPrefix + "/openapi.yaml"
	SchemaPath  = apiPrefix + "/schema.json"
)

// resources adds the routes of entities and of what belongs to them.
func (a *api) resources(mux *http.ServeMux) {
	for _, kind := range model.Kinds() {
		a.entities(mux, kind)
	}
	a.resource(mux, "/export", methods{http.MethodGet: a.export})
	a.resource(mux, "/audit", methods{http.MethodGet: a.audit})
	a.resource(mux, "/backup", methods{http.MethodGet: a.backup})
	a.resource(mux, "/rollback", methods{http.MethodPost: a.rollback})
	a.addRelations(mux)
	a.addCredentials(mux)
	a.resource(mux, "/proxies", methods{http.MethodGet: a.listProxies})
	a.addProxyTokens(mux)
	a.resource(mux, "/revocations", methods{http.MethodGet: a.revocations, http.MethodPost: a.revoke})
	a.resource(mux, "/revocations/{name}/{other}", methods{http.MethodDelete: a.unrevoke})
}

// methodNotAllowed answers what is asked by another method than those there are.
func methodNotAllowed(allowed ...string) http.HandlerFunc {
	if i := slices.Index(allowed, http.MethodGet); i >= 0 {
		allowed = slices.Insert(slices.Clone(allowed), i+1, http.MethodHead)
	}
	list := strings.Join(allowed, ", ")
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Allow", list)
		fail(w, http.StatusMethodNotAllowed, "want "+list)
	}
}
