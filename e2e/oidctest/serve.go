package oidctest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"time"
)

// serveDiscovery serves OpenID Connect Discovery 1.0 section 4.
func (p *Provider) serveDiscovery(w http.ResponseWriter, _ *http.Request) {
	issuer := p.Issuer()
	if p.hasFault(Discovery, WrongIssuer) {
		issuer = "https://other.example.com"
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer":                                issuer,
		"jwks_uri":                              p.URL(Keys),
		"token_endpoint":                        p.URL(Token),
		"grant_types_supported":                 []string{"client_credentials", "password"},
		"response_types_supported":              []string{"code"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{p.options.Algorithm},
	})
}

// KeySet returns the key set as it is published now.
func (p *Provider) KeySet() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return KeySet(p.keys...)
}

// KeySet returns the JWK Set (RFC 7517 section 5) of keys.
func KeySet(keys ...*Key) []byte {
	set := make([]map[string]string, 0, len(keys))
	for _, k := range keys {
		set = append(set, k.jwk)
	}
	b, err := json.Marshal(map[string]any{"keys": set})
	if err != nil {
		panic(err) // maps of strings are JSON
	}
	return b
}

func (p *Provider) serveKeys(w http.ResponseWriter, r *http.Request) {
	set := p.KeySet()
	if p.options.CacheControl != "" {
		w.Header().Set("Cache-Control", p.options.CacheControl)
	}
	if p.options.ETag {
		sum := sha256.Sum256(set)
		tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:9]) + `"`
		w.Header().Set("ETag", tag)
		if r.Header.Get("If-None-Match") == tag {
			p.mu.Lock()
			p.unmoved++
			p.mu.Unlock()
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(set) // a client that is gone needs no keys
}

// serveToken serves RFC 6749 sections 4.3 and 4.4, with the client's secret by
// Basic or in the form.
func (p *Provider) serveToken(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		refuse(w, http.StatusMethodNotAllowed, "invalid_request")
		return
	}
	id, secret, ok := r.BasicAuth()
	if !ok {
		id, secret = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	}
	claims, ok := p.authenticate(p.clients, id, secret)
	if !ok {
		refuse(w, http.StatusUnauthorized, "invalid_client")
		return
	}
	switch r.PostFormValue("grant_type") {
	case "client_credentials":
	case "password":
		claims, ok = p.authenticate(p.users, r.PostFormValue("username"), r.PostFormValue("password"))
		if !ok {
			refuse(w, http.StatusBadRequest, "invalid_grant")
			return
		}
	default:
		refuse(w, http.StatusBadRequest, "unsupported_grant_type")
		return
	}
	if _, ok := claims["azp"]; !ok {
		claims["azp"] = id
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, map[string]any{
		"access_token": p.Mint(claims),
		"token_type":   "Bearer",
		"expires_in":   int(Lifetime / time.Second),
	})
}

func refuse(w http.ResponseWriter, status int, code string) {
	writeJSON(w, status, map[string]string{"error": code})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that is gone needs no answer
}
