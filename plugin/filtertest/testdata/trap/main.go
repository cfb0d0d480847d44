// Command trap is the filter, but that a request can end its VM: tests want to
// know what the proxy does then. The product has no such switch.
//
// The header x-trap says how: "panic", or "memory" for all that the VM can have.
// A trailer x-trap makes those of its request fail.
package main

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"sallyport/plugin/internal/filter"
)

// main is never called: a reactor has no entry point but its exports.
func main() {}

func init() { proxywasm.SetVMContext(vm{filter.New()}) }

type vm struct{ types.VMContext }

func (v vm) NewPluginContext(id uint32) types.PluginContext {
	return plugin{v.VMContext.NewPluginContext(id)}
}

type plugin struct{ types.PluginContext }

func (p plugin) NewHttpContext(id uint32) types.HttpContext {
	return request{p.PluginContext.NewHttpContext(id), p.PluginContext.NewHttpContext(id)}
}

type request struct {
	types.HttpContext
	undecided types.HttpContext // never asked for a decision
}

// held keeps what was allocated, so that it is not freed.
var held [][]byte

func (r request) OnHttpRequestHeaders(n int, end bool) types.Action {
	switch how, _ := proxywasm.GetHttpRequestHeader("x-trap"); how {
	case "panic":
		panic("asked for")
	case "memory":
		for { // a VM of 32 bits has 4 GiB at most
			held = append(held, make([]byte, 256<<20))
		}
	}
	return r.HttpContext.OnHttpRequestHeaders(n, end)
}

func (r request) OnHttpRequestTrailers(n int) types.Action {
	if how, _ := proxywasm.GetHttpRequestTrailer("x-trap"); how != "" {
		return r.undecided.OnHttpRequestTrailers(n)
	}
	return r.HttpContext.OnHttpRequestTrailers(n)
}
