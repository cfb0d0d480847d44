package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// Exit codes: 0 yes, 1 no, 2 error.
const (
	exitYes = iota
	exitNo
	exitError
)

// errNo ends a command whose answer is no, and has been printed: exit code 1.
var errNo = errors.New("no")

// Defaults that users rely on.
const (
	defaultDataDir   = "./sallyport-data"
	defaultHTTPAddr  = "127.0.0.1:8470"
	defaultXDSAddr   = "127.0.0.1:8471"
	defaultProxyAddr = "127.0.0.1:8472"
)

// run is the program. Results go to stdout, everything else to stderr.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	switch err := root.ExecuteContext(ctx); {
	case err == nil:
		return exitYes
	case errors.Is(err, errNo):
		return exitNo
	default:
		fmt.Fprintln(stderr, "sallyport: "+err.Error())
		return exitError
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "sallyport",
		Short:         "Authorization that decides inside the proxy",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.AddCommand(
		newServe(), newDemo(), newApply(), newCheck(),
		newToken(), newSnapshot(), newEnvoy(),
	)
	return root
}
