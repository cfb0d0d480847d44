package bypass

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/policydata"
	"sallyport/policydata/authorize"
)

// judge decides what the upstream got, from its very bytes, by the engine that
// the filter has: whatever was sent, nothing may arrive with rights that it does
// not have.
type judge struct{ engine *authorize.Engine }

func newJudge(t *testing.T, snapshot []byte) judge {
	t.Helper()
	s, err := policydata.Load(snapshot, func(_, _ []byte) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	e, err := authorize.New(s, authorize.TokenSource{})
	if err != nil {
		t.Fatal(err)
	}
	return judge{e}
}

// check returns why a message should not have arrived, or nil.
func (j judge) check(m *message) error {
	if err := whole(m); err != nil {
		return err
	}
	parts := strings.Split(m.line, " ")
	if len(parts) != 3 || parts[2] != "HTTP/1.1" {
		return errors.New("the request line has two readings")
	}
	r := &authorize.Request{Method: parts[0], Target: parts[1]}
	hosts := 0
	for _, line := range strings.Split(m.raw, "\r\n")[1:] {
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t_.") || strings.ContainsAny(line, "\r\n\x00") {
			return fmt.Errorf("the header line %q has two readings", line)
		}
		name, value = strings.ToLower(name), strings.Trim(value, " \t")
		if name == "host" {
			r.Authority = value
			hosts++
			continue
		}
		r.Headers = append(r.Headers, [2]string{name, value})
	}
	if hosts != 1 {
		return fmt.Errorf("%d hosts", hosts)
	}
	d := j.engine.Authorize(r, time.Now().Unix())
	if !d.Allowed() {
		return fmt.Errorf("it is %s", d.Reason)
	}
	return sameUser(r, d.User)
}

// sameUser wants the identity that the proxy tells to be that of the token, told
// once, and no word more of those that only the proxy may say.
func sameUser(r *authorize.Request, user string) error {
	seen := map[string][]string{}
	for _, h := range r.Headers {
		if folded := policydata.FoldHeader(h[0]); policydata.IsOwnHeader(folded) {
			seen[h[0]] = append(seen[h[0]], h[1])
		}
	}
	if len(seen) != 3 || !slices.Equal(seen["x-sallyport-user"], []string{user}) ||
		len(seen["x-sallyport-groups"]) != 1 || len(seen["x-sallyport-generation"]) != 1 {
		return fmt.Errorf("identity %v, want that of %q", seen, user)
	}
	return nil
}

// whole wants one request in a message, and nothing behind it: bytes there are a
// request to a server that sees another end.
func whole(m *message) error {
	all := bufio.NewReader(strings.NewReader(m.raw + emptyLine + m.body))
	r, err := http.ReadRequest(all)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return fmt.Errorf("body: %w", err)
	}
	if len(r.Trailer) > 0 {
		return errors.New("trailers arrived")
	}
	if rest, _ := io.ReadAll(all); len(rest) > 0 {
		return fmt.Errorf("behind it stands %.80q", rest)
	}
	return nil
}

// The judge itself is tried: it must not let everything pass.
func (j judge) try(t *testing.T, c client) {
	t.Helper()
	const line = "GET /workspaces/foo/x HTTP/1.1"
	identity := "\r\nx-sallyport-user: eric\r\nx-sallyport-groups: foo\r\nx-sallyport-generation: 1"
	auth := c.tokens.Replace("\r\nhost: a\r\n" + member)
	if err := j.check(&message{line: line, raw: line + auth + identity}); err != nil {
		t.Fatalf("a good request: %v", err)
	}
	bar := strings.Replace(line, "foo", "bar", 1)
	for what, m := range map[string]*message{
		"another's workspace":    {line: bar, raw: bar + auth + identity},
		"dot segments":           {line: "GET /workspaces/foo/../bar HTTP/1.1", raw: "GET /workspaces/foo/../bar HTTP/1.1" + auth + identity},
		"no token":               {line: line, raw: line + "\r\nhost: a" + identity},
		"another's name":         {line: line, raw: line + auth + strings.Replace(identity, "eric", "admin", 1)},
		"two names":              {line: line, raw: line + auth + identity + "\r\nx-sallyport-user: admin"},
		"a name in another case": {line: line, raw: line + auth + identity + "\r\nx_sallyport_user: admin"},
		"a request behind it":    {line: line, raw: line + auth + identity, body: smuggled},
		"two hosts":              {line: line, raw: line + auth + "\r\nhost: b" + identity},
	} {
		if j.check(m) == nil {
			t.Errorf("the judge lets pass: %s", what)
		}
	}
}
