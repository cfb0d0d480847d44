package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"sallyport/host/internal/lint"
	"sallyport/host/internal/manifest"
	"sallyport/host/internal/server"
)

func newLint() *cobra.Command {
	var files []string
	cmd := &cobra.Command{
		Use:   "lint -f PATH...",
		Short: "Find in policy files what is allowed and hardly meant",
		Long: `Find in policy files what is allowed and hardly meant, such as a rule that can never
allow anything, or a policy that nobody has. The files are taken as a whole: what is
only in the host's store is not seen. The exit code is 1 if there is a finding.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := required(cmd, "filename", wantPolicies); err != nil {
				return err
			}
			docs, state, err := offlineState(cmd, files, server.Checks())
			if err != nil {
				return err
			}
			problems := lint.Check(state.Entities())
			if len(problems) == 0 {
				return nil
			}
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), manifest.Locate(docs, problems)); err != nil {
				return err
			}
			return errNo
		},
	}
	cmd.Flags().StringArrayVarP(&files, "filename", "f", nil, "file or directory, - for standard input; may be repeated")
	return cmd
}
