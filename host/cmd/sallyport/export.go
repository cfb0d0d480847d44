package main

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"sallyport/host/internal/api"
)

func newExport() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Print the whole state as documents that apply takes",
		Long: `Print all users, groups, policies, roles, services and issuers, as of one generation, as
documents that apply takes: an empty host to which they are applied exports the same
bytes. Access keys, of which the host itself has digests only, and revoked tokens are
no documents.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != formYAML && output != formJSON {
				return fmt.Errorf("-o %s: there are yaml and json", output)
			}
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			showing := c.shows(cmd, "the host collects")
			defer showing.end()
			var all api.Export
			if err := c.do(cmd.Context(), http.MethodGet, "/api/v1/export", "", nil, &all); err != nil {
				return err
			}
			if showing.stage("writing", 0); isTerminal(cmd.OutOrStdout()) {
				showing.end()
			}
			if output == formJSON {
				return printAs(cmd.OutOrStdout(), output, all.Documents, nil)
			}
			return printDocuments(cmd.OutOrStdout(), all.Documents)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", formYAML, "yaml or json")
	addClientFlags(cmd)
	return cmd
}
