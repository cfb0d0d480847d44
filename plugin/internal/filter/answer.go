package filter

import (
	"strconv"

	"sallyport/policydata"
)

// answer is a local response (RFC 9457). It tells a caller the status and
// nothing of the policy; the reason is for the operator.
type answer struct {
	status  uint32
	headers [][2]string
	body    []byte
}

// challenge is the WWW-Authenticate header of a 401 (RFC 6750 section 3): the
// error code is left out where the request had no token at all.
func challenge(reason policydata.Reason) [2]string {
	value := `Bearer realm="sallyport"`
	if reason != policydata.ReasonNoToken {
		value += `, error="invalid_token"`
	}
	return [2]string{"www-authenticate", value}
}

// answers are the responses to every reason that denies, made once.
var answers = makeAnswers()

func makeAnswers() (all [policydata.NumReasons]answer) {
	for r := range policydata.NumReasons {
		status := r.Status()
		if r == policydata.ReasonAllowed {
			status = policydata.ReasonInternalError.Status() // never sent; closed if it were
		}
		a := answer{status: uint32(status), headers: [][2]string{{"content-type", "application/problem+json"}}}
		switch status {
		case 401:
			a.headers = append(a.headers, challenge(r))
		case 503:
			a.headers = append(a.headers, [2]string{"retry-after", "5"})
		}
		a.body = []byte(`{"type":"about:blank","title":"` + titles[status] + `","status":` + strconv.Itoa(status) + "}\n")
		all[r] = a
	}
	return all
}

var titles = map[int]string{
	400: "Bad Request",
	401: "Unauthorized",
	403: "Forbidden",
	503: "Service Unavailable",
}
