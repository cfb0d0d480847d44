// Package pushapi is what filters and the host say to each other over HTTP. It is
// the normative description; both sides take the names from here.
//
// # A snapshot
//
//	GET /v1/snapshot?after=<epoch>.<generation>&refused=<epoch>.<generation>&wait=30s
//	Authorization: Bearer <proxy token>
//	If-None-Match: "<epoch>.<generation>-<mark>"
//	A-IM: sallyport
//	Accept-Encoding: gzip
//
// asks for what comes after a version; 0.0, or none, asks for anything. It is
// level-triggered: who lost something says where it is. If-None-Match says what
// the filter has (RFC 9110 section 13.1.2), and A-IM that it can build on it (RFC
// 3229 section 10.5.3). refused is a version that the filter has been given and
// can't take; it is not sent again. wait is how long the host may hold the answer
// back until there is something, at most [MaxWait]. The host answers
//
//	200  a whole snapshot, of [SnapshotType], with its ETag
//	226  a delta, of [DeltaType], with IM: sallyport, Delta-Base (the ETag that it
//	     builds on) and the ETag of the result (RFC 3229 section 10.4.1)
//	304  nothing newer came in time
//	401, 403  who asks is no proxy
//	429, 503  later, after Retry-After seconds: too many ask, or nothing is
//	     published
//
// with Content-Encoding: gzip or none. What it sends is newer than after, or has
// that very version and another ETag: the keys that it is signed with or the
// host's settings have changed. A filter trusts nothing of this but what a trusted
// key has signed.
//
// # A report
//
//	POST /v1/report
//	Authorization: Bearer <proxy token>
//	Content-Type: application/json
//
// with a [Report] says what one worker of a proxy enforces: when it has begun,
// whenever that changes, and every [ReportEvery]; never two within
// [MinReportInterval]. The host answers 204, or 401,
// 403, 429, 503 as above. It forgets a worker that was silent for [Lease].
//
// # A key
//
//	POST /v1/keys  {"issuer":"<iss>","kid":"<kid>","version":"<epoch>.<generation>"}
//
// asks for a key that a token names and the snapshot of this version does not
// have. The host answers 200 {"version":"<epoch>.<generation>"} when a snapshot
// with that key is on its way, or was before the question; 404 when there is no
// such key; 503 when it does not know.
package pushapi

import (
	"cmp"
	"strconv"
	"strings"
	"time"
)

// Paths.
const (
	SnapshotPath = "/v1/snapshot"
	ReportPath   = "/v1/report"
	KeysPath     = "/v1/keys"
)

// Media types of snapshots and deltas.
const (
	SnapshotType = "application/vnd.sallyport.snapshot"
	DeltaType    = "application/vnd.sallyport.delta"
)

// DeltaManipulation names our deltas in A-IM and IM.
const DeltaManipulation = "sallyport"

// TokenVariable is the variable of the proxy's environment that has its token.
// Neither its configuration nor a dump of that shows it.
const TokenVariable = "SALLYPORT_PROXY_TOKEN"

// Times of the protocol.
const (
	MaxWait     = 60 * time.Second
	ReportEvery = 5 * time.Second
	Lease       = 3 * ReportEvery

	// MinReportInterval is between two reports of one worker at least; the host
	// refuses more than a few that come sooner.
	MinReportInterval = 200 * time.Millisecond
)

// Version orders snapshots: by epoch, then generation.
type Version struct{ Epoch, Generation uint64 }

// ParseVersion reads "<epoch>.<generation>" as Version.String writes it.
func ParseVersion(text string) (v Version, ok bool) {
	epoch, generation, _ := strings.Cut(text, ".")
	var err error
	if v.Epoch, err = strconv.ParseUint(epoch, 10, 64); err != nil {
		return Version{}, false
	}
	if v.Generation, err = strconv.ParseUint(generation, 10, 64); err != nil || v.String() != text {
		return Version{}, false
	}
	return v, true
}

// String returns "<epoch>.<generation>".
func (v Version) String() string {
	return strconv.FormatUint(v.Epoch, 10) + "." + strconv.FormatUint(v.Generation, 10)
}

// Compare returns -1, 0 or 1.
func (v Version) Compare(other Version) int {
	return cmp.Or(cmp.Compare(v.Epoch, other.Epoch), cmp.Compare(v.Generation, other.Generation))
}

// ETag returns the entity tag of a snapshot of a version; mark is
// policydata.Mark of its bytes.
func (v Version) ETag(mark string) string { return `"` + v.String() + "-" + mark + `"` }
