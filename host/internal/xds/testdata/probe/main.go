// Command probe is a filter that answers each request with its own
// configuration: so a test sees which one a worker runs. One that begins with
// "refuse" it refuses at the start; without "run" at its beginning it answers
// 503, as the real filter does without a snapshot.
package main

import (
	"bytes"
	"strconv"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

// main is never called: a reactor module starts by its init functions.
func main() {}

func init() { proxywasm.SetVMContext(&vm{}) }

type vm struct{ types.DefaultVMContext }

func (*vm) NewPluginContext(uint32) types.PluginContext { return &plugin{} }

type plugin struct {
	types.DefaultPluginContext
	configuration []byte
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	configuration, err := proxywasm.GetPluginConfiguration()
	if err != nil || bytes.HasPrefix(configuration, []byte("refuse")) {
		return types.OnPluginStartStatusFailed
	}
	p.configuration = configuration
	return types.OnPluginStartStatusOK
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext { return &request{plugin: p} }

type request struct {
	types.DefaultHttpContext
	plugin *plugin
}

func (r *request) OnHttpRequestHeaders(int, bool) types.Action {
	body, status := r.plugin.configuration, uint32(200)
	if !bytes.HasPrefix(body, []byte("run")) {
		status = 503
	}
	if len(body) > 64 {
		body = strconv.AppendInt(nil, int64(len(body)), 10)
	}
	// What the access log of the bootstraps prints.
	_ = proxywasm.SetProperty([]string{"sallyport"}, []byte(`{"status":`+strconv.Itoa(int(status))+`}`))
	_ = proxywasm.SendHttpResponse(status, nil, body, -1)
	return types.ActionPause
}
