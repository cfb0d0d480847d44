package api

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/http"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/manifest"
	"sallyport/host/internal/model"
)

// errExists refuses to create what there is.
var errExists = errors.New("there is one of this name: PUT replaces it")

// entities adds the routes of the entities of a kind.
func (a *api) entities(mux *http.ServeMux, kind model.Kind) {
	of := func(h func(http.ResponseWriter, *http.Request, model.Key)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			name, err := nameIn(r, "name")
			if err != nil {
				fail(w, http.StatusBadRequest, err.Error())
				return
			}
			h(w, r, model.Key{Kind: kind, Name: name})
		}
	}
	list := func(w http.ResponseWriter, r *http.Request) { a.listEntities(w, r, kind) }
	a.resource(mux, "/"+kind.Collection(), methods{http.MethodGet: list})
	a.resource(mux, "/"+kind.Collection()+"/{name}", methods{
		http.MethodGet:    of(a.getEntity),
		http.MethodPut:    of(a.putEntity),
		http.MethodPost:   of(a.createEntity),
		http.MethodDelete: of(a.deleteEntity),
	})
}

func (a *api) listEntities(w http.ResponseWriter, r *http.Request, kind model.Kind) {
	var fields []string
	if kind == model.KindUser {
		fields = userFields()
	}
	q, values, err := readPage(r, append(fields, setParameter)...)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	if named := given(values, fields); named > 1 {
		fail(w, http.StatusBadRequest, "want one of id, email and externalId")
		return
	}
	page, err := a.page(r, kind, q, values)
	if err != nil {
		a.failWrite(w, err)
		return
	}
	docs := Page[Document]{Results: make([]Document, len(page.Results)), Pagination: page.Pagination}
	for i, e := range page.Results {
		if docs.Results[i], err = a.document(e); err != nil {
			a.failRead(w, err)
			return
		}
	}
	writeJSON(w, docs)
}

// setParameter is the parameter by which the entities of a set are listed.
const setParameter = "set"

// page returns a page of the entities of a kind: of those that have what values
// say in a field, if they name one, and belong to the set, if they name that.
func (a *api) page(r *http.Request, kind model.Kind, q pageQuery, values map[string]string) (Page[model.Entity], error) {
	list, err := a.found(r, kind, q, values)
	if err != nil {
		return Page[model.Entity]{}, err
	}
	if set, ok := values[setParameter]; ok {
		all := list
		list = func(yield func(model.Entity) bool) {
			all(func(e model.Entity) bool { return e.Meta().Set != set || yield(e) })
		}
	}
	return cutFrom(list, q, nameOf, func(e model.Entity) model.Entity { return e }), nil
}

// found returns the entities of a kind from q.from() on that have what values say
// in a field.
func (a *api) found(r *http.Request, kind model.Kind, q pageQuery, values map[string]string) (iter.Seq[model.Entity], error) {
	for i, name := range userFields() {
		value, ok := values[name]
		if !ok {
			continue
		}
		users, err := a.Directory.FindUsers(r.Context(), directory.UserField(i), value)
		return func(yield func(model.Entity) bool) {
			for _, u := range users {
				if u.Name >= q.from() && !yield(u) {
					return
				}
			}
		}, err
	}
	revision, err := a.Directory.Load(r.Context())
	if err != nil {
		return nil, err
	}
	return revision.State.From(kind, q.from()), nil
}

// given returns how many of the names have a value.
func given(values map[string]string, names []string) (n int) {
	for _, name := range names {
		if _, ok := values[name]; ok {
			n++
		}
	}
	return n
}

// userFields are the parameters by which users are looked up, in the order of
// directory.UserField.
func userFields() []string { return []string{"id", "email", "externalId"} }

func nameOf(e model.Entity) string { return e.Meta().Name }

// document returns an entity with what the host has to report about it.
func (a *api) document(e model.Entity) (Document, error) {
	doc, err := DocumentOf(e)
	if err != nil {
		return doc, err
	}
	if e.Kind() == model.KindUser {
		doc.Status = UserStatus{ID: e.Meta().ID}
	}
	if e.Kind() == model.KindIssuer && a.Keys != nil {
		if status, ok := a.Keys.Status(e.Meta().Name); ok {
			doc.Status = status
		}
	}
	return doc, err
}

func (a *api) getEntity(w http.ResponseWriter, r *http.Request, k model.Key) {
	if _, err := readQuery(r); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	state, ok := a.state(w, r)
	if !ok {
		return
	}
	e, ok := state.Get(k)
	if !ok {
		a.failWrite(w, notFoundError(k))
		return
	}
	tag, err := etagOf(e)
	if err != nil {
		a.failRead(w, err)
		return
	}
	doc, err := a.document(e)
	if err != nil {
		a.failRead(w, err)
		return
	}
	w.Header().Set("ETag", tag)
	writeJSON(w, doc)
}

func notFoundError(k model.Key) error {
	return fmt.Errorf("%s %q: %w", k.Kind, k.Name, directory.ErrNotFound)
}

// putEntity creates an entity or replaces it.
func (a *api) putEntity(w http.ResponseWriter, r *http.Request, k model.Key) {
	a.writeEntity(w, r, k, func(model.Entity) error { return nil })
}

// createEntity creates an entity that there is not yet.
func (a *api) createEntity(w http.ResponseWriter, r *http.Request, k model.Key) {
	a.writeEntity(w, r, k, func(e model.Entity) error {
		if e != nil {
			return fmt.Errorf("%s %q: %w", k.Kind, k.Name, errExists)
		}
		return nil
	})
}

// writeEntity applies the document in the body, if allowed has no objection to
// the entity that there is, which may be nil.
func (a *api) writeEntity(w http.ResponseWriter, r *http.Request, k model.Key, allowed func(model.Entity) error) {
	o, err := a.writeOptions(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	docs, ok := readDocument(w, r, k)
	if !ok {
		return
	}
	track := tracked{key: k}
	o.Before = func(s *model.State) error {
		track.see(s)
		track.existed = track.entity != nil
		if err := precondition(r.Header, track.entity); err != nil {
			return err
		}
		return allowed(track.entity)
	}
	permit := o.Permit
	o.Permit = func(before, after *model.State) error {
		track.see(after)
		return permit(before, after)
	}
	result, err := a.Directory.Apply(r.Context(), manifest.Entities(docs), o)
	if err != nil {
		a.failWrite(w, manifest.Locate(docs, err))
		return
	}
	if err := track.answer(w); err != nil {
		a.failWrite(w, err)
		return
	}
	writeJSON(w, a.committed(r, result))
}

// tracked is what a write sees of one entity.
type tracked struct {
	key     model.Key
	entity  model.Entity // nil: there is none
	existed bool
}

// watch has a write evaluate the preconditions of a request, and t see what it
// makes of the entity.
func (t *tracked) watch(o *directory.Options, h http.Header) {
	permit := o.Permit
	o.Before = func(s *model.State) error {
		t.see(s)
		if t.entity == nil {
			return nil // which the write itself says
		}
		return precondition(h, t.entity)
	}
	o.Permit = func(before, after *model.State) error {
		t.see(after)
		return permit(before, after)
	}
}

func (t *tracked) see(s *model.State) {
	t.entity = nil
	if e, ok := s.Get(t.key); ok {
		t.entity = e
	}
}

// answer writes the head of the answer to a write of the entity.
func (t *tracked) answer(w http.ResponseWriter) error {
	tag, err := etagOf(t.entity)
	if err != nil {
		return err
	}
	w.Header().Set("ETag", tag)
	if !t.existed {
		w.Header().Set("Location", apiPrefix+"/"+t.key.Kind.Collection()+"/"+PathName(t.key.Name))
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
	}
	return nil
}

// writeOptions returns the options that a request's query and writer make.
func (a *api) writeOptions(r *http.Request) (o directory.Options, err error) {
	values, err := readQuery(r, "force")
	if err != nil {
		return o, err
	}
	o.Force, err = boolIn(values, "force")
	o.Permit = a.permit(r)
	return o, err
}

// readDocument reads the one document of a body, which must be of the entity
// that k names; it answers where that fails.
func readDocument(w http.ResponseWriter, r *http.Request, k model.Key) ([]manifest.Document, bool) {
	mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")) // none, or a bad one, is taken as YAML
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, manifest.MaxFileBytes))
	if err != nil {
		failBody(w, err)
		return nil, false
	}
	docs, err := manifest.Parse(bodyName(mediaType), body)
	if err != nil {
		failDocuments(w, err)
		return nil, false
	}
	if len(docs) != 1 {
		fail(w, http.StatusUnprocessableEntity, fmt.Sprintf("want one document, got %d; POST %s/apply takes several", len(docs), apiPrefix))
		return nil, false
	}
	got := model.KeyOf(docs[0].Entity)
	for _, x := range []struct{ field, want, got string }{
		{"kind", string(k.Kind), string(got.Kind)},
		{"metadata.name", k.Name, got.Name},
	} {
		if x.want != x.got {
			writeProblem(w, Problem{Status: http.StatusUnprocessableEntity, Detail: "nothing was changed", Errors: []FieldError{
				{Field: x.field, Detail: fmt.Sprintf("is %q, and the path says %q", x.got, x.want)},
			}})
			return nil, false
		}
	}
	return docs, true
}

func (a *api) deleteEntity(w http.ResponseWriter, r *http.Request, k model.Key) {
	o, err := a.writeOptions(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	o.Before = func(s *model.State) error {
		e, ok := s.Get(k)
		if !ok {
			e = nil
		}
		return precondition(r.Header, e)
	}
	result, err := a.Directory.Delete(r.Context(), k, o)
	if err != nil {
		a.failWrite(w, err)
		return
	}
	writeJSON(w, a.committed(r, result))
}
