package e2e_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tetratelabs/wazero"

	"sallyport/host/wasmhost"
	"sallyport/policydata"
)

// configurationPath are the hostcalls of a configuration, with whether it is
// refused where each fails.
var configurationPath = map[string]bool{
	"proxy_get_buffer_bytes":      true,
	"proxy_define_metric":         true,
	"proxy_record_metric":         true,
	"proxy_get_property":          false, // a plugin without a name has one of its own
	"proxy_log":                   false,
	"proxy_call_foreign_function": true, // that verifies the snapshot's signature
}

// pollingPath are the hostcalls that serve only to get snapshots from the host,
// and to share them among workers. No decision needs them; they are made to fail
// in e2e/poll, too, with all the others that serve to that.
var pollingPath = []string{"proxy_get_shared_data", "proxy_set_shared_data"}

// systemCalls are the imports that are no hostcalls. Go's runtime has them, and
// one that fails is either of no use to the filter, or a trap, after which the
// proxy refuses; the filter itself has the clock, without which it denies.
var systemCalls = []string{
	"args_get", "args_sizes_get", "clock_time_get", "environ_get", "environ_sizes_get", "fd_close", "fd_fdstat_get",
	"fd_fdstat_set_flags", "fd_prestat_dir_name", "fd_prestat_get", "fd_read", "fd_write", "path_filestat_get", "path_open",
	"poll_oneoff", "proc_exit", "random_get", "sched_yield",
}

// Every function that the filter imports is a row of a table in which it is made
// to fail: a new one fails here until it is.
func TestEveryImportIsMadeToFail(t *testing.T) {
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	defer r.Close(ctx)
	module, err := r.CompileModule(ctx, filterWasm)
	if err != nil {
		t.Fatal(err)
	}
	imports := map[string][]string{}
	for _, f := range module.ImportedFunctions() {
		from, name, _ := f.Import()
		imports[from] = append(imports[from], name)
	}
	rows := map[string]bool{}
	for _, name := range requestPath {
		rows[name] = true
	}
	for _, name := range trailersPath {
		rows[name] = true
	}
	for name := range waitingPath {
		rows[name] = true
	}
	for name := range configurationPath {
		rows[name] = true
	}
	for _, name := range pollingPath {
		rows[name] = true
	}
	want := map[string][]string{"env": slices.Sorted(maps.Keys(rows)), "wasi_snapshot_preview1": systemCalls}
	for from, names := range imports {
		slices.Sort(names)
		imports[from] = slices.Compact(names)
	}
	if diff := cmp.Diff(want, imports); diff != "" {
		t.Errorf("imports (-made to fail +imported):\n%s", diff)
	}
}

// A configuration during which a hostcall fails is refused, or is in force as it
// is: never anything between.
func TestHostcallsOfAConfiguration(t *testing.T) {
	f := fixture()
	for broken, refused := range configurationPath {
		t.Run(broken, func(t *testing.T) {
			now := ""
			h := newHost(t.Context(), t, wasmhost.Options{
				Foreign: verifySignature,
				Inject: func(name string) (wasmhost.Status, bool) {
					return wasmhost.StatusInternalFailure, name == now
				},
			})
			in := h.start(t, f.Setting(t, ""))
			next := f.Config(t, func(s *policydata.Source) {
				s.Generation = 8
				s.Groups = s.Groups[:1] // /healthz is not public
			})
			now = broken
			err := in.Reconfigure(next.AppendBinary(nil))
			now = ""
			want, generation := policydata.ReasonNoToken, "8"
			if refused {
				want, generation = policydata.ReasonAllowed, "7"
			}
			if errors.Is(err, wasmhost.ErrConfigRejected) != refused {
				t.Errorf("got %v, refused is %t", err, refused)
			}
			out, _ := request(t, in, f.Request("GET", "/healthz"))
			wantState(t, out, want, generation)

			now = broken
			fresh, err := h.module.NewInstance(t.Context(), next.AppendBinary(nil))
			now = ""
			if errors.Is(err, wasmhost.ErrConfigRejected) != refused {
				t.Fatalf("a new VM: got %v, refused is %t", err, refused)
			}
			if err == nil {
				out, _ := request(t, fresh, f.Request("GET", "/healthz"))
				wantState(t, out, policydata.ReasonNoToken, "8")
				_ = fresh.Close(context.Background())
			}
		})
	}
}

// Without shared data each worker is on its own, and decides as it would.
func TestFilterDecidesWithoutSharedData(t *testing.T) {
	for _, broken := range pollingPath {
		t.Run(broken, func(t *testing.T) {
			w := startWaiting(t, true)
			w.broken = broken
			wantState(t, w.request("RS256", t), policydata.ReasonAllowed, "7")
			wantState(t, w.request("next", t), policydata.ReasonAllowed, "8")
		})
	}
}
