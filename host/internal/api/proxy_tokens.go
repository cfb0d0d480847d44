package api

import (
	"net/http"
	"time"

	"sallyport/host/internal/directory"
)

// ProxyToken is a proxy's token as the API shows it.
type ProxyToken struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Fleet   bool      `json:"fleet"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"`
	Expired bool      `json:"expired,omitempty"`
	// Token is there once, in the answer to the request that made it.
	Token string `json:"token,omitempty"`
}

// NewProxyToken asks for a token.
type NewProxyToken struct {
	Name  string `json:"name"`
	Fleet bool   `json:"fleet,omitempty"`
	TTL   string `json:"ttl,omitempty"` // such as 720h; "": it never expires
}

func (a *api) shownProxyToken(t directory.ProxyToken) ProxyToken {
	return ProxyToken{ID: t.ID, Name: t.Name, Fleet: t.Fleet, Created: t.Created, Expires: t.Expires, Expired: t.Expired(a.Now())}
}

func (a *api) addProxyTokens(mux *http.ServeMux) {
	a.resource(mux, "/proxy-tokens", methods{http.MethodGet: a.listProxyTokens, http.MethodPost: a.createProxyToken})
	a.resource(mux, "/proxy-tokens/{name}", methods{http.MethodDelete: a.revokeProxyToken})
}

func (a *api) listProxyTokens(w http.ResponseWriter, r *http.Request) {
	q, _, err := readPage(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	tokens, err := a.Directory.ProxyTokens(r.Context())
	if err != nil {
		a.failRead(w, err)
		return
	}
	writeJSON(w, cut(tokens, q, func(t directory.ProxyToken) string { return t.ID }, a.shownProxyToken))
}

// createProxyToken makes a token and shows it. The answer is for the caller
// alone: no cache may keep it.
func (a *api) createProxyToken(w http.ResponseWriter, r *http.Request) {
	if _, err := readQuery(r); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	var n NewProxyToken
	if !readBody(w, r, &n) {
		return
	}
	var ttl time.Duration
	if n.TTL != "" {
		var err error
		if ttl, err = time.ParseDuration(n.TTL); err != nil || ttl <= 0 {
			fail(w, http.StatusBadRequest, "ttl: want a time such as 720h")
			return
		}
	}
	made, text, err := a.Directory.CreateProxyToken(r.Context(), directory.NewProxyToken{Name: n.Name, Fleet: n.Fleet, TTL: ttl})
	if err != nil {
		a.failWrite(w, err)
		return
	}
	shown := a.shownProxyToken(made)
	shown.Token = text.Reveal()
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	writeJSON(w, shown)
}

func (a *api) revokeProxyToken(w http.ResponseWriter, r *http.Request) {
	id, err := nameIn(r, "name")
	if err == nil {
		_, err = readQuery(r)
	}
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	result, err := a.Directory.RevokeProxyToken(r.Context(), id)
	if err != nil {
		a.failWrite(w, err)
		return
	}
	writeJSON(w, a.committed(r, result))
}
