package api

import (
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// Bounds on how many entries a page has.
const (
	defaultPage = 100
	maxPage     = 1000
)

// Page is an answer that lists something in the order of names.
type Page[T any] struct {
	Results    []T        `json:"results"`
	Pagination Pagination `json:"pagination"`
}

// Pagination says where the next page begins.
type Pagination struct {
	HasMore    bool   `json:"has_more"`
	NextOffset string `json:"next_offset"` // "after" of the next page; "" on the last
	Results    int    `json:"results"`
	MaxPerPage int    `json:"max_per_page"`
}

// pageQuery says which part of a list is asked for.
type pageQuery struct {
	prefix string // names that begin so
	after  string // names after this one; "": from the first
	amount int
}

// readPage reads the parameters of a list, and further ones by their names.
func readPage(r *http.Request, more ...string) (q pageQuery, values map[string]string, err error) {
	values, err = readQuery(r, append([]string{"prefix", "after", "amount"}, more...)...)
	if err != nil {
		return q, nil, err
	}
	q = pageQuery{prefix: values["prefix"], after: values["after"], amount: defaultPage}
	if text, ok := values["amount"]; ok {
		if q.amount, err = amountOf(text); err != nil {
			return q, nil, err
		}
	}
	return q, values, nil
}

func amountOf(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxPage {
		return 0, fmt.Errorf("parameter amount: want 1 to %d", maxPage)
	}
	return n, nil
}

// cut returns the page of a list, which is sorted by what name returns.
func cut[E, T any](list []E, q pageQuery, name func(E) string, show func(E) T) Page[T] {
	begin := sort.Search(len(list), func(i int) bool { return name(list[i]) >= q.from() })
	return cutFrom(slices.Values(list[begin:]), q, name, show)
}

// from is what no name of the page is below.
func (q pageQuery) from() string { return max(q.prefix, q.after) }

// cutFrom is cut for what is sorted and begins at q.from().
func cutFrom[E, T any](list iter.Seq[E], q pageQuery, name func(E) string, show func(E) T) Page[T] {
	page := Page[T]{Results: []T{}, Pagination: Pagination{MaxPerPage: maxPage}}
	last := ""
	for e := range list {
		if q.after != "" && name(e) == q.after {
			continue
		}
		if !strings.HasPrefix(name(e), q.prefix) {
			break
		}
		if len(page.Results) == q.amount {
			page.Pagination.HasMore, page.Pagination.NextOffset = true, last
			break
		}
		page.Results = append(page.Results, show(e))
		last = name(e)
	}
	page.Pagination.Results = len(page.Results)
	return page
}

// readQuery reads a query strictly, each parameter once and none but the names:
// one that gets lost could turn a dry run into a real one.
func readQuery(r *http.Request, names ...string) (map[string]string, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, errors.New("the query is malformed")
	}
	values := make(map[string]string, len(query))
	for _, name := range names {
		if list, ok := query[name]; ok {
			if len(list) != 1 {
				return nil, fmt.Errorf("parameter %s: want it once", name)
			}
			values[name] = list[0]
			delete(query, name)
		}
	}
	for name := range query {
		return nil, fmt.Errorf("unknown parameter %q: %s", name, thereAre(names))
	}
	return values, nil
}

func thereAre(names []string) string {
	switch n := len(names); n {
	case 0:
		return "there is none"
	case 1:
		return "there is " + names[0]
	default:
		return "there are " + strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
}

// boolIn returns a parameter that is true or false, and false without it.
func boolIn(values map[string]string, name string) (bool, error) {
	text, ok := values[name]
	if !ok {
		return false, nil
	}
	v, err := strconv.ParseBool(text)
	if err != nil {
		return false, fmt.Errorf("parameter %s: want true or false", name)
	}
	return v, nil
}
