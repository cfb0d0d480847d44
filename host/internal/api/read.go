package api

import (
	"net/http"

	"sallyport/host/internal/model"
)

// state returns what was committed last; it answers where that fails.
func (a *api) state(w http.ResponseWriter, r *http.Request) (*model.State, bool) {
	revision, err := a.Directory.Load(r.Context())
	if err != nil {
		a.failRead(w, err)
		return nil, false
	}
	return revision.State, true
}

// failRead answers where the directory could not be read.
func (a *api) failRead(w http.ResponseWriter, err error) {
	a.Logger.Error("reading the directory", "error", err)
	fail(w, http.StatusServiceUnavailable, "")
}

// names returns the two names of a path; it answers where one is malformed.
func names(w http.ResponseWriter, r *http.Request) (name, other string, ok bool) {
	name, err := nameIn(r, "name")
	if err == nil {
		other, err = nameIn(r, "other")
	}
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return "", "", false
	}
	return name, other, true
}
