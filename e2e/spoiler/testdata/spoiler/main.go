// Command spoiler is a plugin of another who writes into the data that all plugins
// with one vm_id share. Its configuration is JSON:
//
//	{"entries":[{"key":"sallyport/...","value":"<base64>"}]}
//
// It writes each value to its key at its start and at each tick, whatever stands
// there. It lets every request pass, and tells in the answer's header x-spoiled, as
// base64, what now stands at the first key.
package main

import (
	"encoding/base64"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
	"github.com/tidwall/gjson"
)

const tickMillis = 20

// main is never called: a reactor has no entry point but its exports.
func main() {}

func init() { proxywasm.SetVMContext(&vm{}) }

type vm struct{ types.DefaultVMContext }

func (*vm) NewPluginContext(uint32) types.PluginContext { return &plugin{} }

type plugin struct {
	types.DefaultPluginContext
	entries []entry
}

type entry struct {
	key   string
	value []byte
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	configuration, err := proxywasm.GetPluginConfiguration()
	if err != nil {
		return types.OnPluginStartStatusFailed
	}
	for _, e := range gjson.GetBytes(configuration, "entries").Array() {
		value, err := base64.StdEncoding.DecodeString(e.Get("value").Str)
		if err != nil {
			return types.OnPluginStartStatusFailed
		}
		p.entries = append(p.entries, entry{e.Get("key").Str, value})
	}
	if err := proxywasm.SetTickPeriodMilliSeconds(tickMillis); err != nil {
		return types.OnPluginStartStatusFailed
	}
	p.OnTick()
	return types.OnPluginStartStatusOK
}

func (p *plugin) OnTick() {
	for _, e := range p.entries {
		// A cas of 0 overwrites whatever is there.
		if err := proxywasm.SetSharedData(e.key, e.value, 0); err != nil {
			proxywasm.LogCritical("spoiler: " + err.Error())
		}
	}
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext { return &request{plugin: p} }

type request struct {
	types.DefaultHttpContext
	plugin *plugin
}

func (r *request) OnHttpResponseHeaders(int, bool) types.Action {
	if len(r.plugin.entries) > 0 {
		// Without a value the header says so: a test then fails.
		value, _, _ := proxywasm.GetSharedData(r.plugin.entries[0].key)
		_ = proxywasm.AddHttpResponseHeader("x-spoiled", base64.StdEncoding.EncodeToString(value))
	}
	return types.ActionContinue
}
