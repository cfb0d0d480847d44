package filter_test

import (
	"io"
	"log"
	"strings"
	"testing"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/proxytest"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"sallyport/plugin/filtertest"
	"sallyport/plugin/internal/filter"
	"sallyport/policydata"
)

// The emulated host is one global, so no test here runs in parallel. It joins
// no repeated headers and removes only the first of them; what depends on that
// is left to the tests of the built module.

// proxy is the emulated host with the filter in it.
type proxy struct{ proxytest.HostEmulator }

// start runs a filter with a configuration. That it may be refused is for the
// caller.
func start(t testing.TB, vm types.VMContext, name string, config []byte) (proxy, types.OnPluginStartStatus) {
	t.Helper()
	option := proxytest.NewEmulatorOption().WithVMContext(vm).WithPluginConfiguration(config)
	if name != "" { // the emulated host can't give out an empty text
		option = option.WithProperty([]string{"plugin_name"}, []byte(name))
	}
	host, reset := proxytest.NewHostEmulator(option)
	t.Cleanup(reset)
	host.RegisterForeignFunction("verify_signature", filtertest.VerifySignature)
	return proxy{host}, host.StartPlugin()
}

func (p proxy) request(headers [][2]string) filtertest.Outcome {
	id := p.InitializeHttpContext()
	action := p.CallOnRequestHeaders(id, headers, true)
	out := filtertest.Outcome{Allowed: action == types.ActionContinue, Headers: p.GetCurrentRequestHeaders(id)}
	if local := p.GetSentLocalResponse(id); local != nil {
		out.Allowed = false
		out.Status, out.Answer, out.Body = int(local.StatusCode), local.Headers, string(local.Data)
	}
	state, _ := p.GetProperty([]string{"sallyport"})
	out.FilterState = strings.Clone(string(state))
	p.CompleteHttpContext(id)
	return out
}

func (p proxy) logs() string {
	all := [][]string{p.GetTraceLogs(), p.GetDebugLogs(), p.GetInfoLogs(), p.GetWarnLogs(), p.GetErrorLogs(), p.GetCriticalLogs()}
	var text strings.Builder
	for _, lines := range all {
		text.WriteString(strings.Join(lines, "\n"))
	}
	return text.String()
}

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // the emulated host prints each foreign call
	m.Run()
}

func TestRequests(t *testing.T) {
	f := filtertest.NewFixture(t)
	for _, c := range filtertest.Cases(t) {
		t.Run(c.Name, func(t *testing.T) {
			p, status := start(t, filter.New(), "a", f.Setting(t, c.Setting))
			if status != types.OnPluginStartStatusOK {
				t.Fatal(p.logs())
			}
			f.Check(t, &c, p.request(f.Headers(&c)))
			if n, err := p.GetCounterMetric("sallyport_decisions_" + c.Reason.String()); err != nil || n != 1 {
				t.Errorf("the reason was counted %d times: %v", n, err)
			}
			f.CheckNoToken(t, p.logs())
		})
	}
}

func TestConfigurationsThatAreRefused(t *testing.T) {
	f := filtertest.NewFixture(t)
	for _, c := range f.BadConfigs(t) {
		t.Run(c.Name, func(t *testing.T) {
			p, status := start(t, filter.New(), "a", c.Config)
			if status != types.OnPluginStartStatusFailed {
				t.Error("it was accepted")
			}
			if !strings.Contains(p.logs(), c.Want) {
				t.Errorf("the log does not say %q: %s", c.Want, p.logs())
			}
			if got := p.request(f.Request("GET", "/healthz")); got.Allowed || got.Status != 503 {
				t.Errorf("a request was answered: %+v", got)
			}
		})
	}
}

// A configuration is a new plugin context in the same VM.
func TestSequencesOfConfigurations(t *testing.T) {
	f := filtertest.NewFixture(t)
	for _, c := range f.Sequences(t) {
		t.Run(c.Name, func(t *testing.T) {
			vm := filter.New()
			for _, step := range c.Steps {
				t.Run(step.Name, func(t *testing.T) {
					p, status := start(t, vm, "a", step.Config)
					if status != types.OnPluginStartStatusOK {
						t.Fatal(p.logs())
					}
					step.Check(t, p.request(f.Request("GET", "/healthz")))
				})
			}
		})
	}
}

// Plugins of one module may share a VM: what one enforces is not the other's.
func TestPluginsOfOneVM(t *testing.T) {
	f := filtertest.NewFixture(t)
	config := func(generation uint64, open bool) []byte {
		c := f.Config(t, func(s *policydata.Source) {
			s.Generation = generation
			if !open {
				s.Groups = s.Groups[:1]
			}
		})
		return c.AppendJSON(nil)
	}
	vm := filter.New()
	steps := []struct {
		rule, plugin string
		config       []byte
		want         bool
	}{
		{"the first plugin", "a", config(9, true), true},
		{"another begins with an older generation", "b", config(3, false), false},
		{"the first refuses it", "a", config(3, false), true},
		{"the other goes on", "b", config(4, true), true},
		{"a third begins anew", "", config(1, false), false},
	}
	for _, step := range steps {
		t.Run(step.rule, func(t *testing.T) {
			p, status := start(t, vm, step.plugin, step.config)
			if status != types.OnPluginStartStatusOK {
				t.Fatal(p.logs())
			}
			if got := p.request(f.Request("GET", "/healthz")); got.Allowed != step.want {
				t.Errorf("allowed: %t, want %t; %s", got.Allowed, step.want, got.FilterState)
			}
		})
	}
}
