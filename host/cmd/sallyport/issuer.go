package main

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"sallyport/host/internal/api"
	"sallyport/host/internal/issuerkeys"
)

func newIssuer() *cobra.Command {
	return newGroup("issuer", "Issuers whose keys the host fetches", newIssuerRefresh())
}

func newIssuerRefresh() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "refresh NAME",
		Short: "Fetch an issuer's keys now, and show how that went",
		Long: `Fetch an issuer's keys now, and show the keys in force. The exit code is 1 if they could
not be fetched; those that were known then stay in force.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkForm(output); err != nil {
				return err
			}
			if len(args) != 1 {
				return usageError(cmd, "want one NAME of an Issuer")
			}
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			var status issuerkeys.Status
			path := "/api/v1/issuers/" + api.PathName(args[0]) + "/refresh"
			if err := c.do(cmd.Context(), http.MethodPost, path, "", nil, &status); err != nil {
				return err
			}
			if err := printAs(cmd.OutOrStdout(), output, status, func(w io.Writer) error { return printKeys(w, status) }); err != nil {
				return err
			}
			if status.LastError != "" {
				return errNo
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", formTable, "table, json or yaml")
	addClientFlags(cmd)
	return cmd
}

// printKeys prints the keys in force and what was wrong with the last fetch.
func printKeys(w io.Writer, s issuerkeys.Status) error {
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "KID\tTYPE\tALG\tSINCE\tNO LONGER LISTED SINCE")
	for _, k := range s.Keys {
		removed := "-"
		if !k.Removed.IsZero() {
			removed = k.Removed.Format(time.RFC3339)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n",
			cmp.Or(printable(k.ID), "-"), k.Type, cmp.Or(k.Algorithm, "-"), k.Since.Format(time.RFC3339), removed)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, reason := range s.Skipped.Reasons {
		fmt.Fprintln(w, "not used:", reason)
	}
	if s.LastError != "" {
		_, err := fmt.Fprintln(w, "error:", s.LastError)
		return err
	}
	_, err := fmt.Fprintln(w, "next refresh:", s.NextRefresh.Format(time.RFC3339))
	return err
}

// printable quotes what would do something to a terminal: an issuer chooses it.
func printable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}
