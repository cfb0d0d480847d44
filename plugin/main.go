// Command plugin is Sallyport's proxy-wasm filter. It is built as a reactor:
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared
package main

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"

	"sallyport/plugin/internal/filter"
)

func init() {
	proxywasm.SetVMContext(filter.New())
}

// main is never called: a reactor has no entry point but its exports.
func main() {}
