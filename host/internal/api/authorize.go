package api

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"sallyport/host/internal/directory"
	"sallyport/policydata"
	"sallyport/policydata/authorize"
)

// guarded calls next only for requests that the policies allow.
func (a *api) guarded(next http.HandlerFunc) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		w := &statusWriter{rw, http.StatusOK}
		defer func() { a.requests.WithLabelValues(strconv.Itoa(w.status/100) + "xx").Inc() }()
		reason, err := a.authorize(r)
		switch {
		case errors.Is(err, errFirstUserByToken):
			fail(w, http.StatusForbidden, err.Error())
		case err != nil:
			a.Logger.Error("authorizing an API request", "error", err)
			fail(w, http.StatusServiceUnavailable, "")
		case reason != policydata.ReasonAllowed:
			refuse(w, reason)
		default:
			next(w, r)
		}
	}
}

// errFirstUserByToken refuses a token that names the first user.
var errFirstUserByToken = errors.New("the user " + directory.AdminName +
	" acts by access key only: give a user or group of the token a policy with hosts: [\"" + policydata.HostAPI + "\"]")

// authorize decides whether a request to the API may be served.
func (a *api) authorize(r *http.Request) (policydata.Reason, error) {
	current, _ := a.Publisher.Current()
	if current == nil {
		return policydata.ReasonNoSnapshot, nil
	}
	req := &authorize.Request{Method: r.Method, Target: r.RequestURI, Authority: r.Host, API: true}
	for name, values := range r.Header {
		for _, v := range values {
			req.Headers = append(req.Headers, [2]string{strings.ToLower(name), v})
		}
	}
	key, secret, isBasic := r.BasicAuth()
	if !isBasic || len(r.Header.Values("Authorization")) != 1 {
		return a.byToken(current.Loaded, req)
	}
	user, err := a.Directory.Authenticate(r.Context(), key, secret)
	if errors.Is(err, directory.ErrBadCredentials) {
		return policydata.ReasonBadToken, nil
	}
	if err != nil {
		return policydata.ReasonInternalError, err
	}
	id := policydata.Identity{Authenticated: true, User: user, RequireKnownUser: true}
	d, err := a.decider.decide(current.Loaded, func(e *authorize.Engine) policydata.Decision {
		return e.AuthorizeIdentity(req, &id, a.Now().Unix())
	})
	return d.Reason, err
}

// byToken decides a request by its token, or without one.
func (a *api) byToken(s *policydata.Snapshot, req *authorize.Request) (policydata.Reason, error) {
	issuer := ""
	d, err := a.decider.decide(s, func(e *authorize.Engine) policydata.Decision {
		d := e.Authorize(req, a.Now().Unix())
		issuer = strings.Clone(e.Issuer())
		return d
	})
	if err == nil && d.Allowed() && d.User == directory.AdminName && (a.FirstUserIssuer == "" || issuer != a.FirstUserIssuer) {
		err = errFirstUserByToken
	}
	return d.Reason, err
}

// decider decides by one snapshot after the other, and keeps the engine, which
// has the issuers' keys parsed, for as long as the snapshot stays.
type decider struct {
	mu       sync.Mutex
	snapshot *policydata.Snapshot // guarded by mu
	engine   *authorize.Engine    // guarded by mu; of snapshot
}

// decide returns what ask decides, with reason and user alone: the rest is good
// only until the engine's next decision.
func (x *decider) decide(s *policydata.Snapshot, ask func(*authorize.Engine) policydata.Decision) (policydata.Decision, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.engine == nil || x.snapshot != s {
		engine, err := authorize.New(s, authorize.TokenSource{})
		if err != nil {
			return policydata.Decision{}, err
		}
		x.snapshot, x.engine = s, engine
	}
	d := ask(x.engine)
	return policydata.Decision{Reason: d.Reason, User: strings.Clone(d.User)}, nil
}

// refuse answers a request that the policies do not allow. Unlike a proxy's,
// the answer names the reason: who asks here is an operator.
func refuse(w http.ResponseWriter, reason policydata.Reason) {
	if reason.Status() == http.StatusUnauthorized {
		w.Header().Add("WWW-Authenticate", `Basic realm="sallyport", charset="UTF-8"`)
		w.Header().Add("WWW-Authenticate", `Bearer realm="sallyport"`)
	}
	fail(w, reason.Status(), reason.String())
}
