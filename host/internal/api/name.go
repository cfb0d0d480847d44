package api

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"sallyport/policydata"
)

// encodedName begins a segment of a path that holds a name in base64url.
const encodedName = "~"

// PathName returns the segment of a path that stands for a name: the name itself
// with percent-escapes, or where a canonical path can't hold that, as with
// "a;b", "~" and its base64url. A name has one segment only, so that what
// policies say about paths can't be slipped past.
func PathName(name string) string {
	escaped := url.PathEscape(name)
	path, ok := policydata.CanonicalPath("/" + escaped)
	if ok && path == "/"+name && name != "" && !strings.HasPrefix(name, encodedName) {
		return escaped
	}
	return encodedName + base64.RawURLEncoding.EncodeToString([]byte(name))
}

// nameIn returns the name that a wildcard of the request's path stands for.
func nameIn(r *http.Request, wildcard string) (string, error) {
	segment := r.PathValue(wildcard)
	encoded, ok := strings.CutPrefix(segment, encodedName)
	if !ok {
		return segment, nil
	}
	name, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil || PathName(string(name)) != segment {
		return "", errors.New(`what begins with "~" in a path is the base64url of a name that can't be written otherwise`)
	}
	return string(name), nil
}
