package api

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"time"

	"sallyport/host/internal/publish"
	"sallyport/policydata"
)

// failedLogin reports whether a reason is that somebody did not prove to be who
// they say. A token that was good once, or will be, is none of a guess.
func failedLogin(r policydata.Reason) bool {
	return r == policydata.ReasonBadToken || r == policydata.ReasonBadSignature || r == policydata.ReasonUnknownIssuer
}

// refuseLogin answers a failed login: after too many of them with 429, so that
// who made a mistake slows down. See package logins for why it is answered, and
// not asked before the secret is compared.
func (a *api) refuseLogin(w http.ResponseWriter, r *http.Request, reason policydata.Reason) {
	key, _, _ := r.BasicAuth()
	wait := a.logins.Failed(key, r.RemoteAddr)
	if wait == 0 {
		a.failedLogins.WithLabelValues("refused").Inc()
		refuse(w, reason)
		return
	}
	a.failedLogins.WithLabelValues("limited").Inc()
	retryAfter(w, wait)
	fail(w, http.StatusTooManyRequests, "too many failed logins with this access key or from this address; "+reason.String())
}

// retryAfter says when to come back (RFC 9110 section 10.2.3).
func retryAfter(w http.ResponseWriter, wait time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
}

// missingKey is what a token lacks whose issuer may have a key that no snapshot
// has yet.
type missingKey struct{ iss, kid string }

// Bounds on requests that wait for a key.
const (
	maxKeyWaits    = 16
	keyWaitTimeout = 3 * time.Second // as proxies wait by default
)

// keyOf returns a snapshot that has a key, which is fetched for that if need be;
// nil if there is none soon. Who knows an issuer can make up any number of kids,
// so few requests wait at once, and the keeper limits what it fetches.
func (a *api) keyOf(ctx context.Context, m missingKey) *publish.Published {
	if m.kid == "" || a.Keys == nil {
		return nil
	}
	select {
	case a.keyWaits <- struct{}{}:
		defer func() { <-a.keyWaits }()
	default:
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, keyWaitTimeout)
	defer cancel()
	generation, err := a.Keys.Find(ctx, m.iss, m.kid)
	if err != nil {
		return nil // the token is as bad as before
	}
	published, err := a.Publisher.Wait(ctx, generation)
	if err != nil {
		return nil
	}
	return published
}
