package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/manifest"
)

func newApply() *cobra.Command {
	var files, tests []string
	var dryRun, prune, force bool
	var output, named string
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "apply -f PATH...",
		Short: "Make the host's state what files say, all or nothing",
		Long:  "Make the host's state what files say, all or nothing.\n\n" + aboutSets,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkForm(output); err != nil {
				return err
			}
			if err := required(cmd, "filename", wantPolicies); err != nil {
				return err
			}
			if err := checkWait(cmd, wait, dryRun); err != nil {
				return err
			}
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			showing := c.shows(cmd, "the host checks and commits")
			defer showing.end()
			set, err := manifest.ReadFiles(cmd.InOrStdin(), files...)
			if err != nil {
				return err
			}
			suites, err := readTests(cmd, files, tests)
			if err != nil {
				return err
			}
			query := setQuery(cmd, named)
			maps.Copy(query, url.Values{
				"dryRun": {strconv.FormatBool(dryRun)}, "prune": {strconv.FormatBool(prune)}, "force": {strconv.FormatBool(force)},
			})
			result, err := c.apply(cmd.Context(), set, suites, "?"+query.Encode())
			showing.end()
			if err != nil {
				return printRefusal(cmd.OutOrStdout(), err)
			}
			if !dryRun && !result.Published {
				fmt.Fprintf(cmd.ErrOrStderr(), "generation %d is committed and not published yet: the host's log says why\n", result.Generation)
			}
			err = printAs(cmd.OutOrStdout(), output, result, func(w io.Writer) error {
				if dryRun {
					if err := c.printDryRun(cmd, w, set, result.Changes); err != nil {
						return err
					}
				}
				return printChanges(w, result.Result, dryRun)
			})
			if err != nil {
				return err
			}
			return c.awaitEnforced(cmd, result.Epoch, result.Generation, wait)
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&files, "filename", "f", nil, "file or directory, - for standard input; may be repeated")
	f.StringArrayVar(&tests, "tests", nil, "file or directory of policy tests; a set by which one fails is refused; may be repeated")
	f.BoolVar(&dryRun, "dry-run", false, "show what would change, and change nothing")
	addSetFlag(cmd, &named)
	f.BoolVar(&prune, "prune", false, "delete what belongs to the set and no file describes, except what is reserved")
	f.BoolVar(&force, "force", false, "change what is reserved, and with --set take what belongs to another set")
	addWaitFlag(cmd, &wait)
	f.StringVarP(&output, "output", "o", formTable, "table, json or yaml")
	addClientFlags(cmd)
	return cmd
}

// readTests reads the tests that a set of documents must pass. They are checked
// here, too, so that a directory without any is found before anything is sent.
func readTests(cmd *cobra.Command, files, paths []string) ([]manifest.File, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	if slices.Contains(files, manifest.Stdin) && slices.Contains(paths, manifest.Stdin) {
		return nil, usageError(cmd, "standard input can't be both documents and tests")
	}
	tests, err := manifest.ReadFiles(cmd.InOrStdin(), paths...)
	if err != nil {
		return nil, err
	}
	_, err = manifest.ParseSuites(tests)
	return tests, err
}

// printRefusal prints the failures by which a set of documents was refused,
// which is a no and not an error.
func printRefusal(w io.Writer, err error) error {
	var refused *apiError
	if !errors.As(err, &refused) || refused.Tests == nil {
		return err
	}
	if err := refused.Tests.Print(w, false); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(w, refused.Detail); err != nil {
		return err
	}
	return errNo
}

func printChanges(w io.Writer, result directory.Result, dryRun bool) error {
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, c := range result.Changes {
		fmt.Fprintf(table, "%s\t%s\t%s\n", c.Kind, c.Name, inSet(c))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if dryRun {
		_, err := fmt.Fprintln(w, "dry run: nothing was changed")
		return err
	}
	_, err := fmt.Fprintf(w, "generation %d\n", result.Generation)
	return err
}
