package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/manifest"
	"sallyport/policydata"
)

// maxParts bounds the files of a form.
const maxParts = 10_000

// publishTimeout bounds how long an answer waits for the snapshot.
const publishTimeout = 2 * time.Second

// Applied is the answer to an apply.
type Applied struct {
	directory.Result
	// Published is false where the change is committed but no snapshot of it was
	// made yet: the host is busy, or its log says what is wrong.
	Published bool `json:"published"`
}

// apply takes documents: one body of YAML or JSON, or a form with one or more
// files, whose names then stand in errors.
func (a *api) apply(w http.ResponseWriter, r *http.Request) {
	options, err := applyOptions(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	sent, err := readUpload(w, r)
	if err != nil {
		failBody(w, err)
		return
	}
	docs, err := manifest.ParseFiles(sent.documents)
	if err != nil {
		failDocuments(w, err)
		return
	}
	if options.Judge, err = a.judgeBy(r.Context(), sent.tests); err != nil {
		failDocuments(w, err)
		return
	}
	options.Permit = a.permit(r)
	result, err := a.Directory.Apply(r.Context(), manifest.Entities(docs), options)
	if err != nil {
		a.failApply(w, manifest.Locate(docs, err))
		return
	}
	answer := Applied{Result: result}
	if !options.DryRun {
		answer.Published = a.awaitPublished(r.Context(), result.Generation)
	}
	writeJSON(w, answer)
}

// failApply tells a mistake in the documents from a failure of the host.
func (a *api) failApply(w http.ResponseWriter, err error) {
	var errs manifest.Errors
	var ungranted *grantError
	var failed *testsFailed
	switch {
	case errors.As(err, &ungranted):
		failGrant(w, ungranted)
		return
	case errors.As(err, &errs):
		failDocuments(w, errs)
		return
	case errors.As(err, &failed):
		writeProblem(w, Problem{Status: http.StatusUnprocessableEntity, Detail: failed.Error(), Tests: failed.report})
		return
	}
	a.failCommit(w, err)
}

// awaitPublished gives the publisher a moment, so that who applied a change and
// asks at once gets an answer of the new generation.
func (a *api) awaitPublished(ctx context.Context, generation uint64) bool {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	_, err := a.Publisher.Wait(ctx, generation)
	if err != nil {
		a.Logger.Warn("a change was committed but is not published yet", "generation", generation)
	}
	return err == nil
}

// applyOptions returns what the query of an apply says.
func applyOptions(r *http.Request) (o directory.Options, err error) {
	values, err := readQuery(r, "dryRun", "prune", "force", "set")
	if err != nil {
		return o, err
	}
	set, named := values["set"]
	if o.Set, o.Implied = set, !named; !named {
		o.Set = directory.DefaultSet
	}
	if err := policydata.CheckName(o.Set); err != nil {
		return o, fmt.Errorf("parameter set: %w", err)
	}
	for name, into := range map[string]*bool{"dryRun": &o.DryRun, "prune": &o.Prune, "force": &o.Force} {
		if *into, err = boolIn(values, name); err != nil {
			return o, err
		}
	}
	return o, nil
}

// upload is what a request brings.
type upload struct {
	documents []manifest.File
	tests     []manifest.File // parts of a form whose name is "test"
}

// testPart is the name of the parts of a form that hold tests.
const testPart = "test"

// readUpload returns the documents of a request's body, as files, and in a form
// the tests.
func readUpload(w http.ResponseWriter, r *http.Request) (upload, error) {
	r.Body = http.MaxBytesReader(w, r.Body, manifest.MaxTotalBytes)
	mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")) // none, or a bad one, is taken as YAML
	if mediaType == "multipart/form-data" {
		return formFiles(r)
	}
	data, err := io.ReadAll(r.Body)
	return upload{documents: []manifest.File{{Name: bodyName(mediaType), Data: data}}}, err
}

// bodyName returns the name of a body as a file of documents.
func bodyName(mediaType string) string {
	if mediaType == "application/json" {
		return "body.json"
	}
	return "body"
}

func formFiles(r *http.Request) (sent upload, _ error) {
	parts, err := r.MultipartReader()
	if err != nil {
		return sent, err
	}
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return sent, fmt.Errorf("the form: %w", err)
		}
		if len(sent.documents)+len(sent.tests) == maxParts {
			return sent, fmt.Errorf("the form has more than %d files", maxParts)
		}
		data, err := io.ReadAll(part)
		if err != nil {
			return sent, err
		}
		into := &sent.documents
		if part.FormName() == testPart {
			into = &sent.tests
		}
		*into = append(*into, manifest.File{Name: fileNameOf(part.Header.Get("Content-Disposition"), part.FormName()), Data: data})
	}
	if len(sent.documents)+len(sent.tests) == 0 {
		return sent, errors.New("the form has no file")
	}
	return sent, nil
}

// fileNameOf returns the file name of a part of a form with its directories,
// which the standard library's own method cuts off: it only stands in errors.
func fileNameOf(disposition, field string) string {
	if _, params, err := mime.ParseMediaType(disposition); err == nil && params["filename"] != "" {
		return params["filename"]
	}
	return field
}
