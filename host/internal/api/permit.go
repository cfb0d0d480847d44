package api

import (
	"context"
	"fmt"
	"net/http"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/grants"
	"sallyport/host/internal/model"
)

// escalate is the method of no request, on the path of the whole API, that
// policies allow to whom package grants does not bind: as "*" does.
const escalate = "ESCALATE"

// caller is who makes a request.
type caller struct {
	grants.Writer
	actor directory.Actor // as audit records have it
	// unrestricted asks the engine whether the caller may escalate, once.
	unrestricted func() (bool, error)
	// readsAll asks it, once, whether the caller may read all documents.
	readsAll func() (bool, error)
}

type callerKey struct{}

func withCaller(r *http.Request, c caller) *http.Request {
	ctx := directory.As(r.Context(), c.actor)
	return r.WithContext(context.WithValue(ctx, callerKey{}, c))
}

// callerOf returns the caller of a guarded request; of any other, one who may
// grant nothing.
func callerOf(r *http.Request) caller {
	if c, ok := r.Context().Value(callerKey{}).(caller); ok {
		return c
	}
	no := func() (bool, error) { return false, nil }
	return caller{unrestricted: no, readsAll: no}
}

// grantError refuses a write that would give away what its writer has not.
type grantError struct{ problems model.Problems }

func (e *grantError) Error() string { return e.problems.Error() }

// permit returns what a directory asks before it commits a write of r's caller.
func (a *api) permit(r *http.Request) func(before, after *model.State) error {
	c := callerOf(r)
	return func(before, after *model.State) error {
		if free, err := c.unrestricted(); free || err != nil {
			return err
		}
		if problems := grants.Check(before, after, c.Writer); len(problems) > 0 {
			return &grantError{problems}
		}
		return nil
	}
}

// permitActing returns what a directory asks before it makes an access key.
// Whoever has that is its owner, and nobody else holds what that is.
func (a *api) permitActing(r *http.Request, owner model.Key) func(*model.State) error {
	c := callerOf(r)
	return func(*model.State) error {
		if owner.Kind == model.KindUser && owner.Name == c.User {
			return nil
		}
		return c.mustBeFree(model.Problem{
			Kind: owner.Kind, Name: owner.Name, Field: "credentials", Text: "with its access key you could act as somebody else",
		})
	}
}

// mustBeFree refuses a caller who is not unrestricted.
func (c caller) mustBeFree(p model.Problem) error {
	free, err := c.unrestricted()
	if free || err != nil {
		return err
	}
	return &grantError{model.Problems{p}}
}

// failGrant answers a write that its writer could not grant.
func failGrant(w http.ResponseWriter, e *grantError) {
	p := Problem{
		Status: http.StatusForbidden,
		Detail: fmt.Sprintf("nobody can grant what they don't hold, unless their policies allow the method %s on %s", escalate, apiPrefix),
	}
	p.Errors = fieldErrors(e.problems)
	writeProblem(w, p)
}
