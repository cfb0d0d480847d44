package poll

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"sallyport/policydata/pushapi"
)

// Request is what a proxy asks.
type Request struct {
	After   pushapi.Version
	Refused pushapi.Version
	Wait    time.Duration
	Has     []string // entity tags of what it has
	Delta   bool     // it can build on that
	Gzip    bool
}

// maxTags bounds the entity tags of a request.
const maxTags = 4

// Parse reads a request strictly: each parameter once, and none but those there
// are. A wait beyond the longest is cut to that.
func Parse(r *http.Request) (q Request, err error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return q, errors.New("the query is malformed")
	}
	for name, list := range values {
		if len(list) != 1 {
			return q, fmt.Errorf("parameter %s: want it once", name)
		}
		if err := q.parameter(name, list[0]); err != nil {
			return q, err
		}
	}
	if q.Has, err = tags(r.Header.Values("If-None-Match")); err != nil {
		return q, err
	}
	q.Delta = accepts(r.Header.Values("A-IM"), pushapi.DeltaManipulation)
	q.Gzip = accepts(r.Header.Values("Accept-Encoding"), "gzip")
	return q, nil
}

func (q *Request) parameter(name, text string) error {
	ok := true
	switch name {
	case "after":
		q.After, ok = pushapi.ParseVersion(text)
	case "refused":
		q.Refused, ok = pushapi.ParseVersion(text)
	case "wait":
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 {
			return errors.New("parameter wait: want a time such as 30s")
		}
		q.Wait = min(d, pushapi.MaxWait)
	default:
		return fmt.Errorf("unknown parameter %q: there are after, refused and wait", name)
	}
	if !ok {
		return fmt.Errorf("parameter %s: want <epoch>.<generation>", name)
	}
	return nil
}

// tags reads If-None-Match (RFC 9110 section 13.1.2). A weak tag is of nothing
// here, and "*" says nothing of what the proxy has.
func tags(lines []string) (list []string, err error) {
	for _, line := range lines {
		for tag := range strings.SplitSeq(line, ",") {
			tag = strings.Trim(tag, " \t")
			if tag == "" || tag == "*" || strings.HasPrefix(tag, "W/") {
				continue
			}
			if list = append(list, tag); len(list) > maxTags {
				return nil, fmt.Errorf("If-None-Match: want at most %d entity tags", maxTags)
			}
		}
	}
	return list, nil
}

// accepts reports whether a list such as Accept-Encoding (RFC 9110 section
// 12.5.3) or A-IM (RFC 3229 section 10.5.3) has a member with a weight above 0.
func accepts(lines []string, member string) bool {
	for _, line := range lines {
		for item := range strings.SplitSeq(line, ",") {
			name, parameters, _ := strings.Cut(item, ";")
			if strings.EqualFold(strings.TrimSpace(name), member) {
				return weight(parameters) > 0
			}
		}
	}
	return false
}

func weight(parameters string) float64 {
	for p := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if !strings.EqualFold(name, "q") {
			continue
		}
		q, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0
		}
		return q
	}
	return 1
}
