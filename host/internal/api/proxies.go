package api

import (
	"errors"
	"net/http"
	"slices"

	"sallyport/host/internal/fleet"
	"sallyport/host/internal/xds"
	"sallyport/policydata/pushapi"
)

// Streams returns the streams of xDS.
type Streams func() []xds.NodeStatus

// ProxyPage is a page of what is known of proxies.
type ProxyPage struct {
	Published string `json:"published"` // version
	// Wanted is the version that proxies are measured by: the one that was asked
	// about, or the published one.
	Wanted string `json:"wanted"`
	// Complete is false where there may be workers that are not known, and
	// Incomplete says why.
	Complete   bool          `json:"complete"`
	Incomplete string        `json:"incomplete,omitempty"`
	Summary    fleet.Summary `json:"summary"` // of all, on whatever page
	Page[fleet.Proxy]
}

// listProxies answers what proxies enforce.
func (a *api) listProxies(w http.ResponseWriter, r *http.Request) {
	q, values, err := readPage(r, "generation", "lagging")
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	lagging, err := boolIn(values, "lagging")
	published := a.published()
	wanted := published
	if text, ok := values["generation"]; ok && err == nil {
		if wanted, ok = pushapi.ParseVersion(text); !ok {
			err = errors.New("parameter generation: want <epoch>.<generation>")
		}
	}
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	// Before it is looked who has reported: who has not by then is missing.
	incomplete := a.Proxies.Fleet.Incomplete()
	var streams []xds.NodeStatus
	if a.Proxies.Streams != nil {
		streams = a.Proxies.Streams()
	}
	list := fleet.Proxies(a.Proxies.Fleet.Live(), streams, wanted, a.Now())
	page := ProxyPage{
		Published: published.String(), Wanted: wanted.String(),
		Complete: incomplete == "", Incomplete: incomplete, Summary: fleet.Summarize(list),
	}
	if lagging {
		list = slices.DeleteFunc(list, func(p fleet.Proxy) bool { return p.State == fleet.Enforcing })
	}
	page.Page = cut(list, q, func(p fleet.Proxy) string { return p.Offset() }, func(p fleet.Proxy) fleet.Proxy { return p })
	writeJSON(w, page)
}
