package api

import (
	"encoding/json"
	"errors"
	"net/http"

	"sallyport/host/internal/manifest"
	"sallyport/host/internal/policytest"
)

// Problem is an error answer (RFC 9457).
type Problem struct {
	Type   string       `json:"type"`
	Title  string       `json:"title"`
	Status int          `json:"status"`
	Detail string       `json:"detail,omitempty"`
	Errors []FieldError `json:"errors,omitempty"`
	// Tests is the report of tests by which documents were refused.
	Tests *policytest.Report `json:"tests,omitempty"`
}

// FieldError is one thing that is wrong with documents, and where.
type FieldError struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Field  string `json:"field,omitempty"`
	Detail string `json:"detail"`
}

func fail(w http.ResponseWriter, status int, detail string) {
	writeProblem(w, Problem{Status: status, Detail: detail})
}

// failDocuments answers a set of documents that is not as it should be.
func failDocuments(w http.ResponseWriter, err error) {
	p := Problem{Status: http.StatusUnprocessableEntity, Detail: "nothing was applied"}
	var errs manifest.Errors
	if !errors.As(err, &errs) {
		p.Detail += ": " + err.Error()
	}
	for _, e := range errs {
		p.Errors = append(p.Errors, FieldError{e.File, e.Line, e.Column, e.Field, e.Text})
	}
	writeProblem(w, p)
}

func writeProblem(w http.ResponseWriter, p Problem) {
	p.Type, p.Title = "about:blank", http.StatusText(p.Status)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // a client that went away is no error of ours
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}
