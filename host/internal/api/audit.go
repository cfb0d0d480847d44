package api

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
)

// audit answers a page of the audit records, the newest first unless the order
// is "oldest". "after" is the number of a record.
func (a *api) audit(w http.ResponseWriter, r *http.Request) {
	q, err := auditQuery(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	found, err := a.Directory.Audit(r.Context(), q)
	if err != nil {
		a.failRead(w, err)
		return
	}
	page := Page[directory.Record]{Results: found.Records, Pagination: Pagination{
		HasMore: found.More, Results: len(found.Records), MaxPerPage: maxPage,
	}}
	if found.More {
		page.Pagination.NextOffset = strconv.FormatUint(found.Last, 10)
	}
	writeJSON(w, page)
}

func auditQuery(r *http.Request) (q directory.AuditQuery, err error) {
	values, err := readQuery(r, "kind", "name", "user", "since", "order", "after", "amount")
	if err != nil {
		return q, err
	}
	q = directory.AuditQuery{Kind: model.Kind(values["kind"]), Name: values["name"], User: values["user"], Amount: defaultPage}
	if q.Kind != "" && q.Kind.Collection() == "" {
		return q, fmt.Errorf("parameter kind: want one of %v", model.Kinds())
	}
	switch values["order"] {
	case "", "newest":
	case "oldest":
		q.Oldest = true
	default:
		return q, fmt.Errorf("parameter order: want newest or oldest")
	}
	if text, ok := values["since"]; ok {
		if q.Since, err = time.Parse(time.RFC3339, text); err != nil {
			return q, fmt.Errorf("parameter since: want a time such as 2026-11-01T12:00:00Z")
		}
	}
	if text, ok := values["after"]; ok {
		if q.After, err = strconv.ParseUint(text, 10, 64); err != nil {
			return q, fmt.Errorf("parameter after: want the number of a record")
		}
	}
	if text, ok := values["amount"]; ok {
		if q.Amount, err = amountOf(text); err != nil {
			return q, err
		}
	}
	return q, nil
}
