package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/manifest"
	"sallyport/host/internal/model"
	"sallyport/host/internal/store"
	"sallyport/policydata/token"
)

// maxBodyBytes bounds a body that is no document.
const maxBodyBytes = 64 << 10

// Committed is the answer to a write.
type Committed struct {
	Epoch      uint64 `json:"epoch,string"`
	Generation uint64 `json:"generation,string"`
	// Published is false where the change is committed but no snapshot of it was
	// made yet.
	Published bool `json:"published"`
}

// committed waits until a write is published, if that comes soon.
func (a *api) committed(r *http.Request, result directory.Result) Committed {
	return Committed{result.Epoch, result.Generation, a.awaitPublished(r.Context(), result.Generation)}
}

// failWrite answers a write that was not made.
func (a *api) failWrite(w http.ResponseWriter, err error) {
	var problems model.Problems
	var located manifest.Errors
	var ungranted *grantError
	switch {
	case errors.As(err, &ungranted):
		failGrant(w, ungranted)
	case errors.Is(err, errPrecondition):
		fail(w, http.StatusPreconditionFailed, err.Error())
	case errors.Is(err, directory.ErrReserved):
		fail(w, http.StatusConflict, err.Error()+": ?force=true")
	case errors.Is(err, errExists), errors.Is(err, directory.ErrInUse):
		fail(w, http.StatusConflict, err.Error())
	case errors.As(err, &located):
		failDocuments(w, err)
	case errors.As(err, &problems):
		p := Problem{Status: http.StatusUnprocessableEntity, Detail: "nothing was changed"}
		p.Errors = fieldErrors(problems)
		writeProblem(w, p)
	case errors.Is(err, directory.ErrNotFound):
		fail(w, http.StatusNotFound, err.Error())
	default:
		a.failCommit(w, err)
	}
}

// failCommit answers a write that the store did not take.
func (a *api) failCommit(w http.ResponseWriter, err error) {
	a.Logger.Error("changing the directory", "error", err)
	switch {
	case errors.Is(err, directory.ErrTooLarge):
		fail(w, http.StatusUnprocessableEntity, "nothing was changed: "+err.Error())
	case errors.Is(err, store.ErrNoSpace):
		fail(w, http.StatusInsufficientStorage, "nothing was changed: the host's disk is full, or what it may use of it; what is in force stays in force")
	case errors.Is(err, store.ErrReadOnly):
		fail(w, http.StatusServiceUnavailable, "nothing was changed: the host's store can't be written to; what is in force stays in force")
	default:
		fail(w, http.StatusInternalServerError, "nothing was changed")
	}
}

func fieldErrors(problems model.Problems) []FieldError {
	var list []FieldError
	for _, x := range problems {
		list = append(list, FieldError{Field: x.Field, Detail: fmt.Sprintf("%s %q: %s", x.Kind, x.Name, x.Text)})
	}
	return list
}

// readBody decodes a body of JSON strictly; it answers where that fails.
func readBody(w http.ResponseWriter, r *http.Request, into any) bool {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if err != nil {
		failBody(w, err)
		return false
	}
	if err := token.ValidateJSON(string(body)); err != nil {
		fail(w, http.StatusBadRequest, "the body: "+err.Error())
		return false
	}
	dec := json.NewDecoder(strings.NewReader(string(body)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		fail(w, http.StatusBadRequest, "the body: "+strings.TrimPrefix(err.Error(), "json: "))
		return false
	}
	return true
}
