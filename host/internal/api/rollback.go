package api

import (
	"errors"
	"net/http"
	"strconv"

	"sallyport/host/internal/directory"
)

// RollbackRequest asks for the documents of a generation.
type RollbackRequest struct {
	To     string `json:"to"`
	DryRun bool   `json:"dryRun,omitempty"`
	Force  bool   `json:"force,omitempty"`
	Enable bool   `json:"enable,omitempty"`
	Keys   bool   `json:"keys,omitempty"`
}

// RolledBack is the answer to a rollback.
type RolledBack struct {
	Applied
	Kept []directory.Kept `json:"kept"`
	// Documents are what a dry run would create and update, if the caller may
	// read all documents.
	Documents []Document `json:"documents,omitempty"`
}

// rollback makes the documents what they were at a generation.
func (a *api) rollback(w http.ResponseWriter, r *http.Request) {
	if _, err := readQuery(r); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	var request RollbackRequest
	if !readBody(w, r, &request) {
		return
	}
	to, err := strconv.ParseUint(request.To, 10, 64)
	if err != nil || to == 0 {
		fail(w, http.StatusBadRequest, `to: want a generation, as a text such as "12"`)
		return
	}
	result, err := a.Directory.Rollback(r.Context(),
		directory.Rollback{To: to, Enable: request.Enable, Keys: request.Keys},
		directory.Options{DryRun: request.DryRun, Force: request.Force, Permit: a.permit(r)})
	if errors.Is(err, directory.ErrUnreachable) {
		fail(w, http.StatusUnprocessableEntity, "nothing was changed: "+err.Error())
		return
	}
	if err != nil {
		a.failWrite(w, err)
		return
	}
	answer := RolledBack{Applied: Applied{Result: result.Result}, Kept: result.Kept}
	if request.DryRun {
		answer.Documents, err = documentsFor(callerOf(r), result)
	} else {
		answer.Published = a.awaitPublished(r.Context(), result.Generation)
	}
	if err != nil {
		a.failRead(w, err)
		return
	}
	writeJSON(w, answer)
}

// documentsFor returns what a rollback writes, for a caller who may read it.
func documentsFor(c caller, result directory.RollbackResult) ([]Document, error) {
	free, err := c.readsAll()
	if !free || err != nil {
		return nil, err
	}
	documents := make([]Document, len(result.Written))
	for i, e := range result.Written {
		if documents[i], err = DocumentOf(e); err != nil {
			return nil, err
		}
	}
	return documents, nil
}
