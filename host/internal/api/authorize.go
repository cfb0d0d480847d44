package api

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/grants"
	"sallyport/host/internal/model"
	"sallyport/policydata"
	"sallyport/policydata/authorize"
)

// guarded calls next only for requests that the policies allow.
func (a *api) guarded(next http.HandlerFunc) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		w := &statusWriter{rw, http.StatusOK}
		defer func() { a.requests.WithLabelValues(strconv.Itoa(w.status/100) + "xx").Inc() }()
		who, reason, err := a.authorize(r)
		switch {
		case errors.Is(err, errFirstUserByToken):
			fail(w, http.StatusForbidden, err.Error())
		case err != nil:
			a.Logger.Error("authorizing an API request", "error", err)
			fail(w, http.StatusServiceUnavailable, "")
		case failedLogin(reason):
			a.refuseLogin(w, r, reason)
		case reason != policydata.ReasonAllowed:
			refuse(w, reason)
		default:
			next(w, withCaller(r, who))
		}
	}
}

// errFirstUserByToken refuses a token that names the first user.
var errFirstUserByToken = errors.New("the user " + directory.AdminName +
	" acts by access key only: give a user or group of the token a policy with hosts: [\"" + policydata.HostAPI + "\"]")

// asking decides a request for whoever makes it.
type asking func(*authorize.Engine, *authorize.Request) policydata.Decision

// authorize decides whether a request to the API may be served, and says who
// makes it.
func (a *api) authorize(r *http.Request) (caller, policydata.Reason, error) {
	current, _ := a.Publisher.Current()
	if current == nil {
		return caller{}, policydata.ReasonNoSnapshot, nil
	}
	ask, key, err := a.asker(r)
	if errors.Is(err, directory.ErrBadCredentials) {
		return caller{}, policydata.ReasonBadToken, nil
	}
	if err != nil {
		return caller{}, policydata.ReasonInternalError, err
	}
	req := requestOf(r)
	v, err := a.decider.decide(current.Loaded, ask, req)
	if later := a.keyOf(r.Context(), v.missing); later != nil {
		current = later
		v, err = a.decider.decide(current.Loaded, ask, req)
	}
	byToken := key == ""
	if err == nil && byToken && v.reason == policydata.ReasonAllowed && a.firstUserOf(v) {
		err = errFirstUserByToken
	}
	may := func(method, target string) func() (bool, error) {
		other := *req
		other.Method, other.Target = method, target
		return sync.OnceValues(func() (bool, error) {
			v, err := a.decider.decide(current.Loaded, ask, &other)
			return err == nil && v.reason == policydata.ReasonAllowed, err
		})
	}
	actor := directory.Actor{User: v.user, Service: v.service, Issuer: v.issuer}
	if !byToken {
		actor.AccessKeyID, actor.Issuer = key, ""
	}
	return caller{v.writer, actor, may(escalate, apiPrefix), may(http.MethodGet, apiPrefix+"/export")}, v.reason, err
}

// asker returns how to decide for who makes a request: by access key, of which it
// returns the id, or by token if there is one. The error wraps directory.ErrBadCredentials where an
// access key is not what it should be.
func (a *api) asker(r *http.Request) (ask asking, accessKeyID string, err error) {
	key, secret, isBasic := r.BasicAuth()
	if !isBasic || len(r.Header.Values("Authorization")) != 1 {
		return func(e *authorize.Engine, req *authorize.Request) policydata.Decision {
			return e.Authorize(req, a.Now().Unix())
		}, "", nil
	}
	owner, err := a.Directory.Authenticate(r.Context(), key, secret)
	if err != nil {
		return nil, "", err
	}
	made, err := a.Directory.AccessKey(r.Context(), key)
	if errors.Is(err, directory.ErrNotFound) { // withdrawn just now
		err = directory.ErrBadCredentials
	}
	if err != nil {
		return nil, "", err
	}
	return a.askAs(owner, made.Created), key, nil
}

// requestOf returns a request as the engine takes it.
func requestOf(r *http.Request) *authorize.Request {
	req := &authorize.Request{Method: r.Method, Target: r.RequestURI, Authority: r.Host, API: true}
	for name, values := range r.Header {
		for _, v := range values {
			req.Headers = append(req.Headers, [2]string{strings.ToLower(name), v})
		}
	}
	return req
}

// firstUserOf reports whether a token names the first user and may not.
func (a *api) firstUserOf(v verdict) bool {
	return v.user == directory.AdminName && (a.FirstUserIssuer == "" || v.issuer != a.FirstUserIssuer)
}

// askAs decides for the owner of an access key that was made at some time.
func (a *api) askAs(owner model.Key, made time.Time) asking {
	id := policydata.Identity{Authenticated: true, User: owner.Name, IssuedAt: made.Unix(), RequireKnownUser: true}
	if owner.Kind == model.KindServiceAccount {
		id = policydata.Identity{Authenticated: true, Own: true, Client: owner.Name, Subject: owner.Name, IssuedAt: made.Unix(), RequireKnownUser: true}
	}
	return func(e *authorize.Engine, req *authorize.Request) policydata.Decision {
		return e.AuthorizeIdentity(req, &id, a.Now().Unix())
	}
}

// decider decides by one snapshot after the other, and keeps the engine, which
// has the issuers' keys parsed, for as long as the snapshot stays.
type decider struct {
	mu       sync.Mutex
	snapshot *policydata.Snapshot // guarded by mu
	engine   *authorize.Engine    // guarded by mu; of snapshot
}

// verdict is what of a decision is good beyond the engine's next one.
type verdict struct {
	reason  policydata.Reason
	issuer  string        // "iss" of the token
	user    string        // who acts, or in whose name a service does
	service string        // "": none
	writer  grants.Writer // the user; the zero Writer for a service, in whoever's name

	missing missingKey // what a token lacked that was refused for nothing else
}

func (x *decider) decide(s *policydata.Snapshot, ask asking, req *authorize.Request) (verdict, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.engine == nil || x.snapshot != s {
		engine, err := authorize.New(s, authorize.TokenSource{})
		if err != nil {
			return verdict{}, err
		}
		x.snapshot, x.engine = s, engine
	}
	d := ask(x.engine, req)
	v := verdict{reason: d.Reason, issuer: strings.Clone(x.engine.Issuer()), user: strings.Clone(d.User), service: strings.Clone(d.Service)}
	if iss, kid, ok := x.engine.MissingKey(); ok {
		v.missing = missingKey{strings.Clone(iss), strings.Clone(kid)}
	}
	if d.Service == "" {
		id := x.engine.Identity()
		v.writer = grants.Writer{User: v.user, Groups: cloned(id.Groups), Roles: cloned(id.Roles)}
	}
	return v, nil
}

func cloned(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strings.Clone(s)
	}
	return out
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
