package check

import (
	"strconv"
	"time"

	"sallyport/policydata"
	"sallyport/policydata/authorize"
)

// WhoQuery asks who may make a request. The host policydata.HostAPI is the
// host's own API.
type WhoQuery struct {
	Method  string  `json:"method"`
	Path    string  `json:"path"` // the raw request target
	Host    string  `json:"host"`
	Headers Headers `json:"headers"`
	After   string  `json:"after"`  // next_offset of the page before
	Amount  int     `json:"amount"` // entries wanted; 0: MaxAccess
}

// WhoAnswer is who may make a request. Its JSON form is part of the interface:
// members are added, never changed.
type WhoAnswer struct {
	Generation uint64                `json:"generation,string"`
	Refused    string                `json:"refused,omitempty"` // reason for which everybody is denied
	Results    []policydata.WhoEntry `json:"results"`
	Denials    []policydata.WhoRule  `json:"denials"`           // deny rules that match, or may
	Partial    bool                  `json:"partial,omitempty"` // so many may that some are not listed
	Pagination Pagination            `json:"pagination"`
}

// ParseWhoQuery reads a query, which must be all that b holds.
func ParseWhoQuery(b []byte) (*WhoQuery, error) {
	q := &WhoQuery{}
	return q, parse(b, q)
}

// WhoCan answers who may make a request by a snapshot.
func WhoCan(s *policydata.Snapshot, q *WhoQuery, now time.Time) (*WhoAnswer, error) {
	page, err := (&AccessQuery{After: q.After, Amount: q.Amount}).page()
	if err != nil {
		return nil, err
	}
	asked := Query{Method: q.Method, Path: q.Path, Host: q.Host, Headers: q.Headers}
	if err := asked.Check(); err != nil {
		return nil, err
	}
	engine, err := authorize.New(s, authorize.TokenSource{})
	if err != nil {
		return nil, err
	}
	r := asked.request("")
	if r.API = q.Host == policydata.HostAPI; r.API {
		r.Authority = ""
	}
	who := engine.WhoCan(r, now.Unix(), page)
	a := &WhoAnswer{
		Generation: s.Generation(), Refused: who.Refused, Results: who.Entries, Denials: who.Denials, Partial: who.Partial,
		Pagination: Pagination{HasMore: who.More, Results: len(who.Entries), MaxPerPage: MaxAccess},
	}
	if who.More {
		a.Pagination.NextOffset = strconv.Itoa(page.Offset + len(who.Entries))
	}
	return a, nil
}
