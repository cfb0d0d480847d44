package api

import (
	"net/http"
	"time"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
)

// Credentials are an access key as the API shows it.
type Credentials struct {
	AccessKeyID string    `json:"accessKeyId"`
	Owner       Reference `json:"owner"`
	Created     time.Time `json:"created,omitzero"`
	// Secret is there once, in the answer to the request that made it.
	Secret string `json:"secretAccessKey,omitempty"`
}

func shownKey(k directory.AccessKey) Credentials {
	return Credentials{AccessKeyID: k.ID, Owner: Reference{Kind: k.Owner.Kind, Name: k.Owner.Name}, Created: k.Created}
}

// addCredentials adds the routes of access keys.
func (a *api) addCredentials(mux *http.ServeMux) {
	for _, kind := range []model.Kind{model.KindUser, model.KindServiceAccount} {
		path := "/" + kind.Collection() + "/{name}/credentials"
		a.resource(mux, path, methods{http.MethodGet: a.listCredentials(kind), http.MethodPost: a.createCredentials(kind)})
		a.resource(mux, path+"/{other}", methods{http.MethodGet: a.getCredentials(kind), http.MethodDelete: a.deleteCredentials(kind)})
	}
	a.resource(mux, "/credentials/{name}", methods{http.MethodGet: a.findCredentials})
}

func (a *api) listCredentials(kind model.Kind) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q, _, err := readPage(r)
		if err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		name, err := nameIn(r, "name")
		if err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		keys, err := a.Directory.AccessKeys(r.Context(), model.Key{Kind: kind, Name: name})
		if err != nil {
			a.failWrite(w, err)
			return
		}
		writeJSON(w, cut(keys, q, func(k directory.AccessKey) string { return k.ID }, shownKey))
	}
}

// createCredentials makes an access key and shows its secret. The answer is for
// the caller alone: no cache may keep it.
func (a *api) createCredentials(kind model.Kind) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name, err := nameIn(r, "name")
		if err == nil {
			_, err = readQuery(r)
		}
		if err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		owner := model.Key{Kind: kind, Name: name}
		creds, err := a.Directory.CreateCredentials(r.Context(), owner, directory.Options{Before: a.permitActing(r, owner)})
		if err != nil {
			a.failWrite(w, err)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		writeJSON(w, Credentials{
			AccessKeyID: creds.AccessKeyID, Owner: Reference{Kind: kind, Name: name}, Secret: creds.Secret.Reveal(),
		})
	}
}

func (a *api) getCredentials(kind model.Kind) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name, id, ok := names(w, r)
		if !ok {
			return
		}
		a.showCredentials(w, r, id, func(k directory.AccessKey) bool { return k.Owner == model.Key{Kind: kind, Name: name} })
	}
}

func (a *api) findCredentials(w http.ResponseWriter, r *http.Request) {
	id, err := nameIn(r, "name")
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	a.showCredentials(w, r, id, func(directory.AccessKey) bool { return true })
}

// showCredentials answers with an access key, if it is one that is asked for.
func (a *api) showCredentials(w http.ResponseWriter, r *http.Request, id string, asked func(directory.AccessKey) bool) {
	if _, err := readQuery(r); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	key, err := a.Directory.AccessKey(r.Context(), id)
	switch {
	case err != nil:
		a.failWrite(w, err)
	case !asked(key):
		fail(w, http.StatusNotFound, "no such access key here")
	default:
		writeJSON(w, shownKey(key))
	}
}

func (a *api) deleteCredentials(kind model.Kind) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name, id, ok := names(w, r)
		if !ok {
			return
		}
		if _, err := readQuery(r); err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		result, err := a.Directory.DeleteCredentials(r.Context(), model.Key{Kind: kind, Name: name}, id, directory.Options{})
		if err != nil {
			a.failWrite(w, err)
			return
		}
		writeJSON(w, a.committed(r, result))
	}
}
