package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"sallyport/host/internal/api"
	"sallyport/host/internal/model"
)

// getFlags are the flags of get.
type getFlags struct {
	output string
	limit  int
	values map[string]*string // by name of a flag
}

// lookups are the flags that say what is looked for, with the parameters of the
// API.
func lookups() []lookup {
	return []lookup{
		{"prefix", "prefix", "those whose names begin so", func(resource) bool { return true }},
		{setFlag, setFlag, "those that belong to this set of documents", func(r resource) bool { return r.kind != "" }},
		{"email", "email", "users with this email, in upper or lower case", isUsers},
		{"id", "id", "the user with this id", isUsers},
		{"external-id", "externalId", "the user with this external id", isUsers},
	}
}

type lookup struct {
	flag, parameter, about string
	finds                  func(resource) bool
}

func isUsers(r resource) bool { return r.kind == model.KindUser }

func newGet() *cobra.Command {
	f := getFlags{values: map[string]*string{}}
	cmd := &cobra.Command{
		ValidArgsFunction: completeNames(false),

		Use:   "get KIND [NAME]",
		Short: "Show what the host has",
		Long: `Show users, groups, policies, roles, services, issuers or revocations; with a name, one
of them, or the revocations of one issuer. Kinds have short names, too: u, g, p, r, svc,
iss, rev. What -o yaml and -o json print of entities, sallyport apply takes.

  sallyport get users --prefix team-
  sallyport get users --email eric@example.org
  sallyport get policies --set catalogue
  sallyport get credentials ACCESSKEYID     whose an access key is`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return usageError(cmd, "want a kind, and perhaps a name")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	flags := cmd.Flags()
	for _, l := range lookups() {
		f.values[l.flag] = flags.String(l.flag, "", l.about)
	}
	flags.IntVar(&f.limit, "limit", 0, "how many at most; 0: all")
	addOutputFlag(cmd, &f.output)
	addClientFlags(cmd)
	return cmd
}

func (f *getFlags) run(cmd *cobra.Command, args []string) error {
	if err := checkForm(f.output); err != nil {
		return err
	}
	if f.limit < 0 {
		return usageError(cmd, "--limit: want 1 or more, or 0 for all")
	}
	if slices.Contains(credentialsNames(), strings.ToLower(args[0])) {
		return getCredentials(cmd, f.output, args[1:])
	}
	r, err := resourceNamed(cmd, args[0])
	if err != nil {
		return err
	}
	query, err := f.query(cmd, r, len(args) == 2)
	if err != nil {
		return err
	}
	c, err := newClient(cmd)
	if err != nil {
		return err
	}
	switch {
	case r.path == revocationsPath:
		return f.getRevocations(cmd, c, r, query, args[1:])
	case len(args) == 2:
		return getOne(cmd, c, r, f.output, args[1])
	}
	return f.getAll(cmd, c, r, query)
}

// query returns what the flags look for.
func (f *getFlags) query(cmd *cobra.Command, r resource, named bool) (url.Values, error) {
	query := url.Values{}
	for _, l := range lookups() {
		if !cmd.Flag(l.flag).Changed {
			continue
		}
		if named {
			return nil, usageError(cmd, "want either a name or --"+l.flag)
		}
		if !l.finds(r) {
			return nil, usageError(cmd, fmt.Sprintf("--%s does not find %s", l.flag, r.path))
		}
		query.Set(l.parameter, *f.values[l.flag])
	}
	return query, nil
}

func getOne(cmd *cobra.Command, c *client, r resource, output, name string) error {
	var doc api.Document
	if err := c.do(cmd.Context(), http.MethodGet, r.at(name), "", nil, &doc); err != nil {
		return err
	}
	return printAs(cmd.OutOrStdout(), output, doc, func(w io.Writer) error { return printRows(w, r, []api.Document{doc}) })
}

func (f *getFlags) getAll(cmd *cobra.Command, c *client, r resource, query url.Values) error {
	docs, err := list[api.Document](cmd.Context(), c, r.at(), query, f.limit)
	if err != nil {
		return err
	}
	if f.output == formYAML {
		return printDocuments(cmd.OutOrStdout(), docs)
	}
	return printAs(cmd.OutOrStdout(), f.output, docs, func(w io.Writer) error { return printRows(w, r, docs) })
}

// credentialsNames are what get calls access keys. They are no documents.
func credentialsNames() []string { return []string{"credentials", "credential", "cred"} }

// getCredentials shows whose an access key is.
func getCredentials(cmd *cobra.Command, output string, id []string) error {
	if len(id) == 0 {
		return usageError(cmd, "want the id of an access key; sallyport credentials list shows those of a user")
	}
	c, err := newClient(cmd)
	if err != nil {
		return err
	}
	var key api.Credentials
	if err := c.do(cmd.Context(), http.MethodGet, "/api/v1/credentials/"+api.PathName(id[0]), "", nil, &key); err != nil {
		return err
	}
	return printAs(cmd.OutOrStdout(), output, key, func(w io.Writer) error {
		return printTable(w, [][]string{
			{"ACCESS KEY", "KIND", "NAME", "CREATED"},
			{key.AccessKeyID, string(key.Owner.Kind), key.Owner.Name, key.Created.Format(time.RFC3339)},
		})
	})
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

func (f *getFlags) getRevocations(cmd *cobra.Command, c *client, r resource, query url.Values, issuer []string) error {
	if len(issuer) == 1 {
		query.Set("prefix", issuer[0]+"/")
	}
	all, err := list[api.Revocation](cmd.Context(), c, r.at(), query, f.limit)
	if err != nil {
		return err
	}
	return printAs(cmd.OutOrStdout(), f.output, all, func(w io.Writer) error {
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
	var wait time.Duration
	cmd := &cobra.Command{
		ValidArgsFunction: completeNames(true),

		Use:   "delete KIND NAME...",
		Short: "Delete entities, or let a revoked token count again",
		Long: `Delete entities of a kind with all that refers to them, one after the other, or let a
revoked token count again:

  sallyport delete user eric sean
  sallyport delete revocation ISSUER JTI`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkForm(output); err != nil {
				return err
			}
			if err := checkWait(cmd, wait, false); err != nil {
				return err
			}
			list, err := toDelete(cmd, args)
			if err != nil {
				return err
			}
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			committed, err := c.deleteAll(cmd, list, force)
			if err != nil {
				return err
			}
			err = printAs(cmd.OutOrStdout(), output, committed, func(w io.Writer) error {
				for _, t := range list {
					if _, err := fmt.Fprintf(w, "deleted %s\n", t.what); err != nil {
						return err
					}
				}
				_, err := fmt.Fprintf(w, "generation %d\n", committed.Generation)
				return err
			})
			if err != nil {
				return err
			}
			return c.awaitEnforced(cmd, committed.Epoch, committed.Generation, wait)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "delete reserved entities, too")
	addWaitFlag(cmd, &wait)
	addOutputFlag(cmd, &output)
	addClientFlags(cmd)
	return cmd
}

// target is something to delete.
type target struct {
	path string
	what string // for people
}

// toDelete returns what arguments name.
func toDelete(cmd *cobra.Command, args []string) (list []target, err error) {
	if len(args) == 0 {
		return nil, usageError(cmd, "want a kind and a name")
	}
	r, err := resourceNamed(cmd, args[0])
	if err != nil {
		return nil, err
	}
	names := args[1:]
	if r.path == revocationsPath {
		if len(names) != 2 {
			return nil, usageError(cmd, "want ISSUER and JTI behind "+strconv.Quote(args[0]))
		}
		return []target{{r.at(names...), r.names[0] + " " + printable(strings.Join(names, " "))}}, nil
	}
	if len(names) == 0 {
		return nil, usageError(cmd, "want a name behind "+strconv.Quote(args[0]))
	}
	for _, n := range names {
		list = append(list, target{r.at(n), r.names[0] + " " + printable(n)})
	}
	return list, nil
}

// deleteAll deletes one after the other and returns the last commit. An error
// says what was deleted before.
func (c *client) deleteAll(cmd *cobra.Command, list []target, force bool) (committed api.Committed, err error) {
	query := ""
	if force {
		query = "?force=true"
	}
	for i, t := range list {
		committed, err = c.delete(cmd.Context(), t.path+query)
		if err != nil && i > 0 {
			return committed, fmt.Errorf("%w; deleted before that: %s", err, named(list[:i]))
		}
		if err != nil {
			return committed, err
		}
	}
	warnUnpublished(cmd, committed)
	return committed, nil
}

func named(list []target) string {
	names := make([]string, len(list))
	for i, t := range list {
		names[i] = t.what
	}
	return strings.Join(names, ", ")
}

func (c *client) delete(ctx context.Context, path string) (committed api.Committed, err error) {
	err = c.do(ctx, http.MethodDelete, path, "", nil, &committed)
	return committed, err
}
