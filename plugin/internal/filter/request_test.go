package filter

import (
	"testing"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/proxytest"

	"sallyport/policydata"
)

// Where a pseudo-header is there twice, the request has no path that is allowed,
// wherever it stands.
func TestPseudoHeadersStandOnce(t *testing.T) {
	path, method := [2]string{":path", "/a"}, [2]string{":method", "GET"}
	for name, tt := range map[string]struct {
		headers [][2]string
		want    string
	}{
		"once":                        {[][2]string{method, path}, "/a"},
		"two paths":                   {[][2]string{path, {":path", "/b"}}, ""},
		"three paths":                 {[][2]string{path, path, path}, ""},
		"two methods before the path": {[][2]string{method, {":method", "PUT"}, path}, ""},
		"two methods behind it":       {[][2]string{path, method, method}, ""},
	} {
		if got := newRequest(tt.headers).Target; got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestAPanicAllowsNothing(t *testing.T) {
	_, reset := proxytest.NewHostEmulator(proxytest.NewEmulatorOption())
	defer reset()
	d := guard(func() policydata.Decision {
		var none []int
		return policydata.Decision{Reason: policydata.ReasonAllowed, Epoch: uint64(none[len(none)])}
	})
	if d.Allowed() {
		t.Error("allowed")
	}
}
