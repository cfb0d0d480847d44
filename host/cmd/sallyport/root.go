package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/host/internal/manifest"
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
		printError(stderr, err)
		return exitError
	}
}

// printError prints an error under the program's name; what names files and
// lines is printed as it is, so that editors find the places.
func printError(w io.Writer, err error) {
	text := err.Error()
	if located := manifest.Errors(nil); !errors.As(err, &located) && !strings.Contains(text, "\n") {
		text = "sallyport: " + text
	}
	fmt.Fprintln(w, text)
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "sallyport",
		Short: "Authorization that decides inside the proxy",
		Long: `Sallyport decides inside the proxy whether a request may pass.

  sallyport demo     runs everything on this machine, to try it out
  sallyport check    decides a request by policy files, without a host
  sallyport serve    runs the control service, which proxies get their policy from

Exit codes: 0 yes, 1 no (denied, refused), 2 error.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE:          groupOnly,

		SuggestionsMinimumDistance: 2,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageError(cmd, err.Error()) })
	root.AddCommand(
		newServe(), newDemo(), newApply(), newRollback(), newDiff(), newGet(), newDelete(), newExport(), newRevoke(), newCredentials(),
		newAudit(), newBackup(), newRestore(), newCheck(), newTest(), newAccess(), newWhoCan(), newLint(), newSchema(),
		newToken(), newSnapshot(), newEnvoy(), newIssuer(), newProxies(),
	)
	return root
}

// groupOnly runs a command that has others below it and does nothing itself.
func groupOnly(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	text := fmt.Sprintf("unknown command %q", args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		text += fmt.Sprintf(" (did you mean %q?)", near[0])
	}
	return usageError(cmd, text)
}

// newGroup returns a command that has others below it and does nothing itself.
func newGroup(use, short string, below ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs, SuggestionsMinimumDistance: 2, RunE: groupOnly}
	cmd.AddCommand(below...)
	return cmd
}

// usageError is an error in how a command was called.
func usageError(cmd *cobra.Command, text string) error {
	return fmt.Errorf("%s; see %s --help", text, cmd.CommandPath())
}

// noArgs and oneFile refuse other arguments than a command has.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError(cmd, fmt.Sprintf("unexpected argument %q", args[0]))
	}
	return nil
}

func oneFile(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usageError(cmd, "want one FILE, - for standard input")
	}
	return nil
}

// required says what is missing unless the flag called name was given.
func required(cmd *cobra.Command, name, what string) error {
	flag := cmd.Flag(name)
	if flag.Changed {
		return nil
	}
	option := "--" + name
	if flag.Shorthand != "" {
		option = "-" + flag.Shorthand
	}
	return usageError(cmd, "want "+option+" with "+what)
}
