// Command precompile puts a module's machine code into a cache of wasmhost, as
// Options.CacheDir names it. Tests run it, by hosttest.Precompile, since compiling
// takes ten times as long in a process that has the race detector.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"sallyport/host/wasmhost"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: precompile CACHEDIR MODULE")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "precompile:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir, path string) (err error) {
	module, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	rt, err := wasmhost.NewRuntime(ctx, wasmhost.Options{CacheDir: dir})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rt.Close(ctx)) }()
	_, err = rt.Compile(ctx, module)
	return err
}
