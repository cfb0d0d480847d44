package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"sallyport/host/internal/check"
	"sallyport/host/internal/filterwasm"
	"sallyport/host/internal/manifest"
	"sallyport/host/internal/policytest"
	"sallyport/host/internal/server"
	"sallyport/policydata"
)

// testFlags are the flags of test.
type testFlags struct {
	files       []string
	junit       string
	engine      string
	output      string
	coverageMin float64
	verbose     bool
}

func newTest() *cobra.Command {
	var f testFlags
	cmd := &cobra.Command{
		Use:   "test PATH... [-f POLICIES...]",
		Short: "Run policy tests: who may do what, and nothing else",
		Long: `Run the documents of kind PolicyTest in files and directories against policies:
those of -f, or without it what the host has. Each principal of a test makes each
request; what is not expected to be allowed must be denied. Tests may lie beside
policies: test passes over other documents, and apply and check over tests.
Exit code 0: all decisions as expected, 1: not, or too few rules reached, 2: error.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError(cmd, "want files or directories with tests")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	fl := cmd.Flags()
	fl.StringArrayVarP(&f.files, "filename", "f", nil, "policy file or directory, - for standard input; may be repeated")
	fl.StringVar(&f.junit, "junit", "", "also write a JUnit report to this file")
	fl.StringVar(&f.engine, "engine", "go", "with -f: go, or wasm: the filter itself")
	fl.StringVarP(&f.output, "output", "o", formTable, "table, json or yaml")
	fl.Float64Var(&f.coverageMin, "coverage-min", 0, "percent of the rules that tests must reach")
	fl.BoolVarP(&f.verbose, "verbose", "v", false, "print what passed, too")
	addClientFlags(cmd)
	return cmd
}

func (f *testFlags) run(cmd *cobra.Command, paths []string) error {
	if err := f.check(cmd, paths); err != nil {
		return err
	}
	tests, err := manifest.ReadFiles(cmd.InOrStdin(), paths...)
	if err != nil {
		return err
	}
	report, err := f.report(cmd, tests)
	if err != nil {
		return err
	}
	if f.junit != "" {
		if err := writeJUnit(f.junit, report); err != nil {
			return err
		}
	}
	err = printAs(cmd.OutOrStdout(), f.output, report, func(w io.Writer) error { return report.Print(w, f.verbose) })
	if err != nil {
		return err
	}
	if percent := report.Coverage.Percent(); percent < f.coverageMin {
		fmt.Fprintf(cmd.ErrOrStderr(), "tests reach %.1f %% of the rules, and --coverage-min is %g\n", percent, f.coverageMin)
		return errNo
	}
	if report.Failed > 0 {
		return errNo
	}
	return nil
}

func (f *testFlags) check(cmd *cobra.Command, paths []string) error {
	switch {
	case f.coverageMin < 0 || f.coverageMin > 100 || f.coverageMin != f.coverageMin:
		return usageError(cmd, "--coverage-min: want 0 to 100")
	case f.engine != "go" && f.engine != "wasm":
		return fmt.Errorf("--engine %q: there are go and wasm", f.engine)
	case f.engine == "wasm" && len(f.files) == 0:
		return usageError(cmd, "--engine wasm goes with -f: the host decides by its own engine")
	case slices.Contains(paths, manifest.Stdin) && slices.Contains(f.files, manifest.Stdin):
		return usageError(cmd, "standard input can't be both policies and tests")
	}
	return checkForm(f.output)
}

// report runs the tests here, or has the host do it.
func (f *testFlags) report(cmd *cobra.Command, tests []manifest.File) (*policytest.Report, error) {
	suites, err := manifest.ParseSuites(tests)
	if err != nil {
		return nil, err
	}
	if len(f.files) == 0 {
		c, err := newClient(cmd)
		if err != nil {
			return nil, err
		}
		return c.test(cmd.Context(), tests)
	}
	checks := server.Checks()
	checks.WithoutKeys = true
	source, err := offlineSource(cmd, f.files, checks)
	if err != nil {
		return nil, err
	}
	options := policytest.Options{Now: time.Now()}
	if f.engine == "wasm" {
		options.Engine = wasmEngine
	}
	return policytest.Run(cmd.Context(), source, suites, options)
}

// wasmEngine returns the built filter as an engine.
func wasmEngine(ctx context.Context, source policydata.Source, now func() time.Time) (check.Engine, error) {
	module, err := filterwasm.Module()
	if err != nil {
		return nil, err
	}
	return check.NewWasm(ctx, source, check.WasmOptions{Module: module, CacheDir: wasmCacheDir(), Now: now})
}

func writeJUnit(path string, report *policytest.Report) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return report.WriteJUnit(file)
}
