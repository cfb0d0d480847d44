// Command trim is the last step of building the filter: it removes exports that
// a proxy would call for nothing (see package trim).
//
//	go run ./plugin/cmd/trim in.wasm out.wasm
package main

import (
	"fmt"
	"os"

	"sallyport/plugin/internal/trim"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: trim in.wasm out.wasm")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "trim:", err)
		os.Exit(1)
	}
}

// run replaces out in one step, so that a build that was interrupted leaves no
// half a module.
func run(in, out string) error {
	wasm, err := os.ReadFile(in)
	if err != nil {
		return err
	}
	trimmed, err := trim.Module(wasm)
	if err != nil {
		return fmt.Errorf("%s: %w", in, err)
	}
	part := out + ".part"
	if err := os.WriteFile(part, trimmed, 0o644); err != nil {
		return err
	}
	return os.Rename(part, out)
}
