package api

import (
	"io"
	"net/http"

	"sallyport/host/internal/check"
)

// access answers what somebody may do, by the published snapshot.
func (a *api) access(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCheckBytes))
	if err != nil {
		failBody(w, err)
		return
	}
	q, err := check.ParseAccessQuery(body)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	current, _ := a.Publisher.Current()
	answer, err := check.Access(current.Loaded, q, a.Now())
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	writeJSON(w, answer)
}

// whoCan answers who may make a request, by the published snapshot.
func (a *api) whoCan(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCheckBytes))
	if err != nil {
		failBody(w, err)
		return
	}
	q, err := check.ParseWhoQuery(body)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	current, _ := a.Publisher.Current()
	answer, err := check.WhoCan(current.Loaded, q, a.Now())
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	writeJSON(w, answer)
}
