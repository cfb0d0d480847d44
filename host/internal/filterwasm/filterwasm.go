// Package filterwasm holds the filter that this binary was built with.
package filterwasm

import (
	"embed"
	"errors"
)

// The directory is embedded, not the file, so that the package compiles before
// the filter was built.
//
//go:embed all:module
var files embed.FS

// ErrNotBuilt is returned by Module in a binary that was built without the
// filter.
var ErrNotBuilt = errors.New("this binary was built without the filter: build it with make build")

// Module returns the filter's wasm.
func Module() ([]byte, error) {
	b, err := files.ReadFile("module/sallyport.wasm")
	if err != nil {
		return nil, ErrNotBuilt
	}
	return b, nil
}
