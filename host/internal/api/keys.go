package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"sallyport/host/internal/issuerkeys"
	"sallyport/host/internal/jwks"
	"sallyport/host/internal/keyfetch"
	"sallyport/host/internal/proxyauth"
	"sallyport/policydata/pushapi"
	"sallyport/policydata/token"
)

// Bounds on what a proxy asks for.
const (
	maxKeyRequestBytes = 8 << 10
	maxIssBytes        = 2048
	// keyRequestTimeout bounds how long a proxy waits: for a fetch, its commit
	// and the snapshot.
	keyRequestTimeout = keyfetch.TotalTimeout + 2*publishTimeout
)

// keyRequest is what a proxy sends that met a token of an unknown "kid".
type keyRequest struct {
	Issuer  string `json:"issuer"` // "iss"
	KeyID   string `json:"kid"`
	Version string `json:"version"` // of the snapshot that has no such key
}

// findKey answers a proxy with the version of a snapshot that has a key, which is
// fetched for that if need be.
func (a *api) findKey(w http.ResponseWriter, r *http.Request, _ proxyauth.Principal) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxKeyRequestBytes))
	if err != nil {
		failBody(w, err)
		return
	}
	q, err := parseKeyRequest(body)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), keyRequestTimeout)
	defer cancel()
	generation, err := a.Keys.Find(ctx, q.Issuer, q.KeyID)
	if err != nil {
		failKey(w, err)
		return
	}
	published, err := a.Publisher.Wait(ctx, generation)
	if err != nil {
		failKey(w, errors.New("the keys are committed and not published yet"))
		return
	}
	writeJSON(w, map[string]string{"version": published.Version.String()})
}

// failKey answers that there is no such key, or that it is not known.
func failKey(w http.ResponseWriter, err error) {
	if errors.Is(err, issuerkeys.ErrNoIssuer) || errors.Is(err, issuerkeys.ErrNoKey) {
		fail(w, http.StatusNotFound, err.Error())
		return
	}
	after, detail := time.Second, "the keys could not be fetched"
	if limited := (*issuerkeys.LimitedError)(nil); errors.As(err, &limited) {
		after, detail = limited.After, "too many fetches for unknown kids"
	}
	retryAfter(w, after)
	fail(w, http.StatusServiceUnavailable, detail)
}

// parseKeyRequest reads strictly: what this does not understand is of a later
// version, and may matter.
func parseKeyRequest(body []byte) (keyRequest, error) {
	var q keyRequest
	text := string(body)
	if err := token.ValidateJSON(text); err != nil {
		return q, err
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&q); err != nil {
		return q, errors.New(`want {"issuer":"","kid":"","version":""}`)
	}
	switch {
	case q.Issuer == "" || len(q.Issuer) > maxIssBytes:
		return q, errors.New("issuer: want 1 to " + strconv.Itoa(maxIssBytes) + " bytes")
	case q.KeyID == "" || len(q.KeyID) > jwks.MaxKeyIDBytes:
		return q, errors.New("kid: want 1 to " + strconv.Itoa(jwks.MaxKeyIDBytes) + " bytes")
	}
	if _, ok := pushapi.ParseVersion(q.Version); !ok {
		return q, errors.New("version: want <epoch>.<generation>")
	}
	return q, nil
}

// refreshIssuer fetches an issuer's keys now.
func (a *api) refreshIssuer(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), keyRequestTimeout)
	defer cancel()
	name, err := nameIn(r, "name")
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	status, err := a.Keys.Refresh(ctx, name)
	switch {
	case errors.Is(err, issuerkeys.ErrNoIssuer):
		fail(w, http.StatusNotFound, "no Issuer "+strconv.Quote(name)+" whose keys are fetched")
	case err != nil:
		fail(w, http.StatusServiceUnavailable, err.Error())
	default:
		writeJSON(w, status)
	}
}
