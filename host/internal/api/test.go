package api

import (
	"context"
	"fmt"
	"net/http"

	"sallyport/host/internal/compile"
	"sallyport/host/internal/directory"
	"sallyport/host/internal/manifest"
	"sallyport/host/internal/model"
	"sallyport/host/internal/policytest"
)

// maxFailures bounds the failures that an answer tells of.
const maxFailures = 100

// testsFailed is the error of a set of documents whose tests fail.
type testsFailed struct{ report *policytest.Report }

func (e *testsFailed) Error() string {
	return fmt.Sprintf("nothing was applied: %d of %d decisions are not as the tests expect", e.report.Failed, e.report.Failed+e.report.Passed)
}

// judgeBy returns what runs tests on the state as it would be; nil if there are
// none.
func (a *api) judgeBy(ctx context.Context, tests []manifest.File) (func(*model.State) error, error) {
	if len(tests) == 0 {
		return nil, nil
	}
	suites, err := manifest.ParseSuites(tests)
	if err != nil {
		return nil, err
	}
	return func(next *model.State) error {
		report, err := a.runTests(ctx, next, suites)
		if err == nil && report.Failed > 0 {
			err = &testsFailed{report.Failures(maxFailures)}
		}
		return err
	}, nil
}

// runTests runs tests on a state.
func (a *api) runTests(ctx context.Context, state *model.State, suites []manifest.Suite) (*policytest.Report, error) {
	source, err := a.compiler.Source(state, compile.Version{})
	if err != nil {
		return nil, err
	}
	return policytest.Run(ctx, source, suites, policytest.Options{Now: a.Now()})
}

// test runs tests on what is committed, with the documents of the request, if it
// has any, laid over it. Nothing is changed.
func (a *api) test(w http.ResponseWriter, r *http.Request) {
	sent, err := readUpload(w, r)
	if err != nil {
		failBody(w, err)
		return
	}
	suites, err := manifest.ParseSuites(sent.tests)
	if err != nil {
		failDocuments(w, err)
		return
	}
	var docs []manifest.Document
	if len(sent.documents) > 0 {
		if docs, err = manifest.ParseFiles(sent.documents); err != nil {
			failDocuments(w, err)
			return
		}
	}
	var report *policytest.Report
	options := directory.Options{DryRun: true, Force: true, Judge: func(next *model.State) (err error) {
		report, err = a.runTests(r.Context(), next, suites)
		return err
	}}
	if _, err := a.Directory.Apply(r.Context(), manifest.Entities(docs), options); err != nil {
		a.failApply(w, manifest.Locate(docs, err))
		return
	}
	writeJSON(w, report)
}
