package oidctest

import (
	"io"
	"net/http"
)

// Fault is how an endpoint fails. The zero Fault is Healthy.
type Fault struct {
	kind   faultKind
	target string
}

type faultKind int

const (
	healthy faultKind = iota
	down
	slow
	failing
	garbage
	wrongIssuer
	redirect
)

// The faults.
var (
	Healthy     = Fault{}
	Down        = Fault{kind: down}        // closes the connection without an answer
	Slow        = Fault{kind: slow}        // answers when the fault is changed, or never
	Failing     = Fault{kind: failing}     // 500 with a page of HTML
	Garbage     = Fault{kind: garbage}     // 200 with a page of HTML
	WrongIssuer = Fault{kind: wrongIssuer} // Discovery only: the document of another issuer
)

// Redirect sends who asks to another URL (302).
func Redirect(target string) Fault { return Fault{kind: redirect, target: target} }

const page = "<!doctype html><title>Sorry</title><p>We are working on it."

// Fail makes an endpoint fail until it is called again with Healthy.
func (p *Provider) Fail(e Endpoint, f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults[e] = f
	if waiting := p.lifted[e]; waiting != nil {
		close(waiting)
	}
	p.lifted[e] = make(chan struct{})
}

// endpoint counts requests and lets serve answer those that no fault takes.
func (p *Provider) endpoint(e Endpoint, serve http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.requests[e]++
		f, lifted := p.faults[e], p.lifted[e]
		p.mu.Unlock()
		switch f.kind {
		case down:
			panic(http.ErrAbortHandler)
		case slow:
			select {
			case <-lifted:
			case <-r.Context().Done():
				return
			}
		case failing:
			writePage(w, http.StatusInternalServerError)
			return
		case garbage:
			writePage(w, http.StatusOK)
			return
		case redirect:
			http.Redirect(w, r, f.target, http.StatusFound)
			return
		}
		serve(w, r)
	}
}

func writePage(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, page) // a client that is gone needs no page
}

func (p *Provider) hasFault(e Endpoint, f Fault) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.faults[e] == f
}
