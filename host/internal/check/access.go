package check

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"sallyport/policydata"
	"sallyport/policydata/authorize"
)

// MaxAccess is how many entries an answer has at most.
const MaxAccess = 1000

// AccessQuery asks what somebody may do. With neither Claims nor Token it is
// asked what may be done without a token.
type AccessQuery struct {
	Claims json.RawMessage `json:"claims"`
	Token  string          `json:"token"`
	After  string          `json:"after"`  // next_offset of the page before
	Amount int             `json:"amount"` // entries wanted; 0: MaxAccess
}

// AccessAnswer is what somebody may do. Its JSON form is part of the interface:
// members are added, never changed.
type AccessAnswer struct {
	Generation uint64                   `json:"generation,string"`
	Refused    string                   `json:"refused,omitempty"` // reason for which every request is denied
	User       string                   `json:"user"`
	Service    *policydata.ServiceTrace `json:"service,omitempty"`
	Groups     []policydata.GroupTrace  `json:"groups"`
	Roles      []policydata.RoleTrace   `json:"roles"`
	Results    []policydata.AccessEntry `json:"results"`
	Partial    bool                     `json:"partial,omitempty"` // so much is allowed that some is not listed
	Pagination Pagination               `json:"pagination"`
}

// Pagination says which part of a list an answer is.
type Pagination struct {
	HasMore    bool   `json:"has_more"`
	NextOffset string `json:"next_offset"`
	Results    int    `json:"results"`
	MaxPerPage int    `json:"max_per_page"`
}

// ParseAccessQuery reads a query, which must be all that b holds.
func ParseAccessQuery(b []byte) (*AccessQuery, error) {
	q := &AccessQuery{}
	return q, parse(b, q)
}

// Access answers what somebody may do by a snapshot.
func Access(s *policydata.Snapshot, q *AccessQuery, now time.Time) (*AccessAnswer, error) {
	page, err := q.page()
	if err != nil {
		return nil, err
	}
	who := Query{Claims: q.Claims, Token: q.Token, Method: "GET", Path: "/"}
	if err := who.Check(); err != nil {
		return nil, err
	}
	engine, err := authorize.New(s, authorize.TokenSource{})
	if err != nil {
		return nil, err
	}
	bearer := authorize.Bearer{Headers: who.request(q.Token).Headers}
	if who.hasClaims() {
		bearer.Claims = string(q.Claims)
	}
	access, t := engine.Access(bearer, now.Unix(), page)
	a := &AccessAnswer{
		Generation: s.Generation(), Refused: access.Refused, User: t.User, Service: t.Service, Groups: t.Groups, Roles: t.Roles,
		Results: access.Entries, Partial: access.Partial,
		Pagination: Pagination{HasMore: access.More, Results: len(access.Entries), MaxPerPage: MaxAccess},
	}
	if !t.Decided() {
		a.Groups, a.Roles = []policydata.GroupTrace{}, []policydata.RoleTrace{}
	}
	if access.More {
		a.Pagination.NextOffset = strconv.Itoa(page.Offset + len(access.Entries))
	}
	return a, nil
}

func (q *AccessQuery) page() (policydata.AccessPage, error) {
	page := policydata.AccessPage{Amount: q.Amount}
	if q.After != "" {
		after, err := strconv.Atoi(q.After)
		if err != nil || after < 0 {
			return page, errors.New("after: want next_offset of the page before")
		}
		page.Offset = after
	}
	if q.Amount < 0 || q.Amount > MaxAccess {
		return page, fmt.Errorf("amount: want 1 to %d", MaxAccess)
	}
	if page.Amount == 0 {
		page.Amount = MaxAccess
	}
	return page, nil
}
