package api

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"sallyport/host/internal/model"
)

// etagOf returns the entity tag of an entity (RFC 9110 section 8.8.3), "" for
// none. It is made of the content and of the id that the store gave: it changes
// with the entity and with nothing else, so that a write to another one does not
// fail somebody's If-Match, and an entity that was deleted and created again
// never has the tag of the old one. What the host reports as status is no part
// of it, since nobody writes that.
func etagOf(e model.Entity) (string, error) {
	if e == nil {
		return "", nil
	}
	doc, err := DocumentOf(e)
	if err != nil {
		return "", err
	}
	content, err := json.Marshal(doc)
	if err != nil {
		return "", err
	}
	digest := sha256.Sum256(append([]byte(e.Meta().ID+"\n"), content...))
	return `"` + hex.EncodeToString(digest[:16]) + `"`, nil
}

// errPrecondition refuses a write to an entity that is not as its writer saw it.
var errPrecondition = errors.New("the entity is not, or no longer, as the request's precondition says: get it again")

// precondition evaluates If-Match and If-None-Match of a write (RFC 9110
// sections 13.1.1 and 13.1.2) against an entity, which may be nil.
func precondition(h http.Header, e model.Entity) error {
	tag, err := etagOf(e)
	if err != nil {
		return err
	}
	if list := h.Values("If-Match"); len(list) > 0 && !matches(list, tag) {
		return errPrecondition
	}
	if list := h.Values("If-None-Match"); len(list) > 0 && matches(list, tag) {
		return errPrecondition
	}
	return nil
}

// matches reports whether one of a list of tags is tag, or "*" where tag is of
// something that exists. A weak tag is of nothing here.
func matches(list []string, tag string) bool {
	if tag == "" {
		return false
	}
	for _, value := range list {
		for one := range strings.SplitSeq(value, ",") {
			if one = strings.Trim(one, " \t"); one == tag || one == "*" {
				return true
			}
		}
	}
	return false
}
