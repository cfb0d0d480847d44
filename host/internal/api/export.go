package api

import "net/http"

// Export is the whole state as documents, as of one generation. Access keys and
// revoked tokens are no documents, and are not in it.
type Export struct {
	Epoch      uint64     `json:"epoch,string"`
	Generation uint64     `json:"generation,string"`
	Documents  []Document `json:"documents"`
}

func (a *api) export(w http.ResponseWriter, r *http.Request) {
	if _, err := readQuery(r); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	revision, err := a.Directory.Load(r.Context())
	if err != nil {
		a.failRead(w, err)
		return
	}
	all := revision.State.Entities()
	e := Export{Epoch: revision.Epoch, Generation: revision.Generation, Documents: make([]Document, len(all))}
	for i, entity := range all {
		if e.Documents[i], err = DocumentOf(entity); err != nil {
			a.failRead(w, err)
			return
		}
	}
	writeJSON(w, e)
}
