package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"sallyport/host/internal/api"
)

func newGet() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "get KIND [NAME]",
		Short: "Show what the host has",
		Long: `Show users, groups, policies, roles, services, issuers or revocations; with a name, one
of them, or the revocations of one issuer. Kinds have short names, too: u, g, p, r, svc,
iss, rev. What -o yaml and -o json print of entities, sallyport apply takes.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return usageError(cmd, "want a kind, and perhaps a name")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkForm(output); err != nil {
				return err
			}
			r, err := resourceNamed(cmd, args[0])
			if err != nil {
				return err
			}
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			switch {
			case r.path == revocationsPath:
				return getRevocations(cmd, c, r, output, args[1:])
			case len(args) == 2:
				return getOne(cmd, c, r, output, args[1])
			}
			return getAll(cmd, c, r, output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", formTable, "table, json or yaml")
	addClientFlags(cmd)
	return cmd
}

func getOne(cmd *cobra.Command, c *client, r resource, output, name string) error {
	var doc api.Document
	if err := c.do(cmd.Context(), http.MethodGet, r.at(name), "", nil, &doc); err != nil {
		return err
	}
	return printAs(cmd.OutOrStdout(), output, doc, func(w io.Writer) error { return printRows(w, r, []api.Document{doc}) })
}

func getAll(cmd *cobra.Command, c *client, r resource, output string) error {
	docs, err := list[api.Document](cmd.Context(), c, r.at(), "")
	if err != nil {
		return err
	}
	if output == formYAML {
		return printDocuments(cmd.OutOrStdout(), docs)
	}
	return printAs(cmd.OutOrStdout(), output, docs, func(w io.Writer) error { return printRows(w, r, docs) })
}

// printDocuments writes documents as a stream of YAML.
func printDocuments(w io.Writer, docs []api.Document) error {
	for i, doc := range docs {
		if i > 0 {
			if _, err := io.WriteString(w, "---\n"); err != nil {
				return err
			}
		}
		if err := printYAML(w, doc); err != nil {
			return err
		}
	}
	return nil
}

func printRows(w io.Writer, r resource, docs []api.Document) error {
	rows := [][]string{r.head}
	for _, doc := range docs {
		row, err := r.row(doc)
		if err != nil {
			return err
		}
		rows = append(rows, row)
	}
	return printTable(w, rows)
}

// printTable writes rows in columns; what a terminal would not show as it is, it
// shows quoted.
func printTable(w io.Writer, rows [][]string) error {
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = printable(cell)
		}
		fmt.Fprintln(table, strings.Join(cells, "\t"))
	}
	return table.Flush()
}

func getRevocations(cmd *cobra.Command, c *client, r resource, output string, issuer []string) error {
	prefix := ""
	if len(issuer) == 1 {
		prefix = issuer[0] + "/"
	}
	all, err := list[api.Revocation](cmd.Context(), c, r.at(), prefix)
	if err != nil {
		return err
	}
	return printAs(cmd.OutOrStdout(), output, all, func(w io.Writer) error {
		rows := [][]string{{"ISSUER", "JTI", "EXPIRES"}}
		for _, v := range all {
			rows = append(rows, []string{v.Issuer, v.ID, v.Expires.Format(time.RFC3339)})
		}
		return printTable(w, rows)
	})
}

func newDelete() *cobra.Command {
	var force bool
	var output string
	cmd := &cobra.Command{
		Use:   "delete KIND NAME",
		Short: "Delete an entity, or let a revoked token count again",
		Long: `Delete an entity with all that refers to it, or let a revoked token count again:

  sallyport delete user eric
  sallyport delete revocation ISSUER JTI`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkForm(output); err != nil {
				return err
			}
			path, what, err := toDelete(cmd, args)
			if err != nil {
				return err
			}
			if force {
				path += "?force=true"
			}
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			committed, err := c.delete(cmd.Context(), path)
			if err != nil {
				return err
			}
			warnUnpublished(cmd, committed)
			return printAs(cmd.OutOrStdout(), output, committed, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "deleted %s\ngeneration %d\n", what, committed.Generation)
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "delete a reserved entity, too")
	cmd.Flags().StringVarP(&output, "output", "o", formTable, "table, json or yaml")
	addClientFlags(cmd)
	return cmd
}

// toDelete returns the path of what arguments name, and what to call it.
func toDelete(cmd *cobra.Command, args []string) (path, what string, err error) {
	if len(args) == 0 {
		return "", "", usageError(cmd, "want a kind and a name")
	}
	r, err := resourceNamed(cmd, args[0])
	if err != nil {
		return "", "", err
	}
	wanted, form := 1, "a name"
	if r.path == revocationsPath {
		wanted, form = 2, "ISSUER and JTI"
	}
	if len(args) != 1+wanted {
		return "", "", usageError(cmd, "want "+form+" behind "+strconv.Quote(args[0]))
	}
	return r.at(args[1:]...), r.names[0] + " " + printable(strings.Join(args[1:], " ")), nil
}

func (c *client) delete(ctx context.Context, path string) (committed api.Committed, err error) {
	err = c.do(ctx, http.MethodDelete, path, "", nil, &committed)
	return committed, err
}
