package api

import (
	"fmt"
	"net/http"
	"sort"
	"time"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
	"sallyport/policydata"
)

// Revocation is a token that is refused until it expires.
type Revocation struct {
	Issuer string `json:"issuer,omitempty"` // name of an Issuer
	// Iss is the token's "iss", for who has the token and not the Issuer's name.
	// Of Issuer and Iss, a request has one.
	Iss     string    `json:"iss,omitempty"`
	ID      string    `json:"jti"`
	Expires time.Time `json:"expires"` // when the token expires by itself
}

// Offset is what a list of revocations is in the order of.
func (v Revocation) Offset() string { return v.Issuer + "/" + v.ID }

func (a *api) revoke(w http.ResponseWriter, r *http.Request) {
	var v Revocation
	if _, err := readQuery(r); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	if !readBody(w, r, &v) {
		return
	}
	if (v.Issuer == "") == (v.Iss == "") {
		fail(w, http.StatusBadRequest, "want one of issuer, the name of an Issuer, and iss, the claim of the token")
		return
	}
	if v.Iss != "" {
		issuer, err := a.issuerOf(r, v.Iss)
		if err != nil {
			a.failWrite(w, err)
			return
		}
		v.Issuer = issuer
	}
	// Rounded up: "exp" may be a fraction.
	expires := v.Expires.Add(time.Second - 1).Unix()
	result, err := a.Directory.Revoke(r.Context(), policydata.RevokedToken{Issuer: v.Issuer, ID: v.ID, Expires: expires})
	if err != nil {
		a.failWrite(w, err)
		return
	}
	writeJSON(w, a.committed(r, result))
}

// issuerOf returns the name of the Issuer of an "iss".
func (a *api) issuerOf(r *http.Request, iss string) (string, error) {
	revision, err := a.Directory.Load(r.Context())
	if err != nil {
		return "", err
	}
	for _, i := range revision.State.Issuers {
		if i.Issuer == iss {
			return i.Name, nil
		}
	}
	return "", fmt.Errorf("no Issuer has spec.issuer %q: %w", iss, directory.ErrNotFound)
}

func (a *api) unrevoke(w http.ResponseWriter, r *http.Request) {
	issuer, id, ok := names(w, r)
	if !ok {
		return
	}
	if _, err := readQuery(r); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	result, err := a.Directory.Unrevoke(r.Context(), issuer, id, directory.Options{Before: func(*model.State) error {
		return callerOf(r).mustBeFree(model.Problem{
			Kind: model.KindIssuer, Name: issuer, Field: "revocations", Text: "a token that is revoked would count again",
		})
	}})
	if err != nil {
		a.failWrite(w, err)
		return
	}
	writeJSON(w, a.committed(r, result))
}

func (a *api) revocations(w http.ResponseWriter, r *http.Request) {
	q, _, err := readPage(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	state, ok := a.state(w, r)
	if !ok {
		return
	}
	list := make([]Revocation, len(state.Revoked))
	for i, v := range state.Revoked {
		list[i] = Revocation{Issuer: v.Issuer, ID: v.ID, Expires: time.Unix(v.Expires, 0).UTC()}
	}
	sort.Slice(list, func(i, k int) bool { return list[i].Offset() < list[k].Offset() })
	writeJSON(w, cut(list, q, Revocation.Offset, func(v Revocation) Revocation { return v }))
}
