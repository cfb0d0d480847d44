package spoiler_test

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sallyport/e2e/envoytest"
	"sallyport/e2e/hosttest"
	"sallyport/e2e/spoiler"
	"sallyport/plugin/filtertest"
)

// The plugin writes where it is told to, and the filter decides as without it.
func TestSpoiler(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(up.Close)
	_, port, err := net.SplitHostPort(up.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	f := filtertest.NewFixture(t)
	c := f.Config(t, nil)
	module, garbage := spoiler.Build(t), "\x00garbage\xff"+strings.Repeat("x", 1<<10)
	b := envoytest.Static(t, hosttest.Module(t), port)
	b.Add("ingress", func(l *envoytest.Listener) {
		l.Configure(c.AppendJSON(nil))
		spoiler.Add(t, l, module, []byte(garbage), "sallyport", "sallyport/snapshot")
	})
	envoy := envoytest.Start(t, b.Text())
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	get := func(path string) (*http.Response, error) {
		answer, err := client.Get("http://" + envoy.Address("ingress") + path)
		if err != nil {
			return nil, err
		}
		return answer, answer.Body.Close()
	}
	envoy.Await("garbage", 10*time.Second, func() error {
		answer, err := get("/healthz")
		if err != nil {
			return err
		}
		if got := answer.Header.Get("x-spoiled"); got != base64.StdEncoding.EncodeToString([]byte(garbage)) {
			return fmt.Errorf("status %d, shared data %q", answer.StatusCode, got)
		}
		return nil
	})
	for path, status := range map[string]int{"/healthz": 200, "/workspaces/foo/x": 401, "//": 400} {
		for range 8 { // to both workers
			if answer, err := get(path); err != nil || answer.StatusCode != status {
				t.Errorf("%s: %v, want %d; %v", path, answer, status, err)
			}
		}
	}
}
