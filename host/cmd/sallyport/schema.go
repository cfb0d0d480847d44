package main

import (
	"github.com/spf13/cobra"

	"sallyport/host/internal/api"
	"sallyport/host/internal/manifest"
)

func newSchema() *cobra.Command {
	var openAPI bool
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of documents, for editors",
		Long: `Print the JSON Schema (draft 2020-12) of documents, by which editors complete and check
them, or with --openapi the OpenAPI document of the host's API. A host serves both, at
` + api.SchemaPath + ` and ` + api.OpenAPIPath + `.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			text := manifest.JSONSchema()
			if openAPI {
				text = api.OpenAPI()
			}
			_, err := cmd.OutOrStdout().Write(text)
			return err
		},
	}
	cmd.Flags().BoolVar(&openAPI, "openapi", false, "print the OpenAPI document instead")
	return cmd
}
