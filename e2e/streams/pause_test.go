package streams

import (
	"strings"
	"testing"
	"time"

	"sallyport/e2e/envoytest"
	"sallyport/plugin/filtertest"
)

// A request that waits for a key is held with its body and its trailers, also
// where an operator lets pauses at the headers hold only these.
func TestNothingOfARequestThatWaitsGoesOn(t *testing.T) {
	f := filtertest.NewFixture(t)
	rotation := f.NewRotation(t)
	up := startUpstream(t, yes)
	host := startUpstream(t, func(string) string { return "" }) // it never answers
	b := static(t, up)
	b.AddCluster(filtertest.HostCluster, portOf(t, host.listener), false)
	c := rotation.Config(t, 7, false)
	listeners := map[string]bool{"as we print it": false, "pauses at the headers": true}
	for name, allow := range listeners {
		b.Add(name, func(l *envoytest.Listener) {
			l.Plugin()["allow_on_headers_stop_iteration"] = allow
			l.Configure(c.AppendJSON(nil))
		})
	}
	envoy := envoytest.Start(t, b.Text())
	begun := time.Now()
	waiting := map[string]*conn{}
	for name := range listeners {
		for body, request := range map[string][2]string{
			"length":              {"content-length: 200000", strings.Repeat("b", 100)},
			"chunks":              {"transfer-encoding: chunked", chunk("bytes")},
			"chunks and trailers": {"transfer-encoding: chunked", chunk("bytes") + "0\r\nx-trailer: 1\r\n\r\n"},
			"whole":               {"content-length: 5", "bytes"},
			"large":               {"content-length: 300000", strings.Repeat("b", 300000)},
		} {
			c := dial(t, envoy.Address(name))
			c.head(f, "POST /workspaces/foo/x", "", request[0], "authorization: Bearer "+rotation.Token(t, "next", nil))
			go c.try(request[1]) // Envoy stops reading at some point
			waiting[name+": "+body] = c
		}
	}
	for name, c := range waiting {
		if answer := c.response(); answer.StatusCode != 401 {
			t.Errorf("%s: status %d, want 401", name, answer.StatusCode)
		}
	}
	if took := time.Since(begun); took < time.Second {
		t.Errorf("they did not wait: %v", took)
	}
	if got := up.take(); got != "" {
		t.Errorf("this reached the upstream:\n%.300s", got)
	}
	if !strings.Contains(host.take(), "POST /v1/keys") {
		t.Error("the host was not asked: no request has waited")
	}
}
