package e2e_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/host/wasmhost"
)

// spoofed are trailers by which a client might be taken for another, or for one
// who may do something else; only the first says nothing.
var spoofed = [][2]string{
	{"x-checksum", "1"},
	{"x-sallyport-user", "admin"},
	{"x-sallyport-user", "root"},
	{"x_sallyport_groups", "admin"},
	{"x-sallyport-anything", "1"},
	{"x-http-method-override", "DELETE"},
	{"x_method_override", "DELETE"},
	{"x-tenant", "another"},
	{"x_email", "another"},
}

func TestFilterCleansTrailers(t *testing.T) {
	f := fixture()
	h := newHost(t.Context(), t, wasmhost.Options{})
	token := [2]string{"authorization", "Bearer {tenant}"}
	for _, c := range []struct {
		rule, setting string
		want          [][2]string
	}{
		{"names that are the filter's, and method overrides", "", [][2]string{spoofed[0], spoofed[7], spoofed[8]}},
		{"headers that claims set", "claims", spoofed[:1]},
	} {
		t.Run(c.rule, func(t *testing.T) {
			in := h.start(t, f.Setting(t, c.setting))
			r, err := in.RequestWithTrailers(t.Context(), f.Request("POST", "/workspaces/foo/x", token), spoofed)
			if err != nil || r.Verdict != wasmhost.VerdictContinue {
				t.Fatalf("verdict %d, %v, decision %s", r.Verdict, err, r.FilterState)
			}
			if diff := cmp.Diff(c.want, r.Trailers); diff != "" {
				t.Errorf("trailers (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("of who may not, they are not even asked for", func(t *testing.T) {
		in := h.start(t, f.Setting(t, ""))
		r, err := in.RequestWithTrailers(t.Context(), f.Request("POST", "/workspaces/bar/x", token), spoofed)
		if err != nil || r.Verdict != wasmhost.VerdictLocal || r.Trailers != nil {
			t.Errorf("verdict %d, trailers %v, %v", r.Verdict, r.Trailers, err)
		}
	})
}

// trailersPath are the hostcalls for the trailers of a request that was let go on.
// Where one fails the request ends. The last is made only where another fails.
var trailersPath = []string{"proxy_get_header_map_pairs", "proxy_remove_header_map_value", "proxy_send_local_response"}

func TestFilterEndsARequestWhoseTrailersItCannotClean(t *testing.T) {
	f := fixture()
	headers := f.Request("POST", "/workspaces/foo/x", [2]string{"authorization", "Bearer {eric}"})
	for _, broken := range trailersPath {
		t.Run(broken, func(t *testing.T) {
			calls := map[string]int{}
			fails := func(string) bool { return false }
			h := newHost(t.Context(), t, wasmhost.Options{Inject: func(name string) (wasmhost.Status, bool) {
				calls[name]++
				return wasmhost.StatusInternalFailure, fails(name)
			}})
			in := h.start(t, f.Setting(t, ""))
			clear(calls)
			if r, err := in.Request(t.Context(), headers, false); err != nil || r.Verdict != wasmhost.VerdictContinue {
				t.Fatalf("verdict %d, %v", r.Verdict, err)
			}
			ofHeaders := calls["proxy_get_header_map_pairs"]
			clear(calls)
			fails = func(name string) bool {
				switch broken {
				case "proxy_get_header_map_pairs":
					return name == broken && calls[name] > ofHeaders
				case "proxy_send_local_response": // whose turn comes where trailers can't be removed
					return name == broken || name == "proxy_remove_header_map_value"
				}
				return name == broken
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			r, err := in.RequestWithTrailers(ctx, headers, spoofed)
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			if calls[broken] == 0 {
				t.Error("it was never called")
			}
			if r.Verdict == wasmhost.VerdictContinue {
				t.Errorf("the trailers went on: %v", r.Trailers)
			}
			if broken != "proxy_send_local_response" && (r.Local == nil || r.Local.Status != 503) {
				t.Errorf("the answer is %+v", r.Local)
			}
		})
	}
}
