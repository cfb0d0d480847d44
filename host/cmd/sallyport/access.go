package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"sallyport/host/internal/check"
	"sallyport/host/internal/explain"
	"sallyport/policydata"
)

// accessFlags are the flags of access.
type accessFlags struct {
	checkFlags // of which it has files, claims, token, now and output
	query      check.AccessQuery
}

func newAccess() *cobra.Command {
	var f accessFlags
	cmd := &cobra.Command{
		Use:   "access [-f PATH...] [--claims '{...}' | --token JWT]",
		Short: "List what somebody may do: methods, hosts and paths",
		Long: `List the patterns of requests that somebody may make, with captures such as
{team} filled by the user's own groups where a condition asks for that. Conditions
that depend on the request are shown, and so are deny rules that cut in: what has
neither is allowed, and what is not listed is denied.
With -f it asks policy files, without it the host. Exit code 0: something is
allowed, 1: nothing is, 2: error.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fl := cmd.Flags()
	fl.StringArrayVarP(&f.files, "filename", "f", nil, "policy file or directory, - for standard input; may be repeated")
	fl.StringVar(&f.claims, "claims", "", "claims of a token, as JSON")
	fl.StringVar(&f.token, "token", "", "a token")
	fl.StringVar(&f.now, "now", "", "with -f: as at this time (RFC 3339)")
	fl.StringVar(&f.query.After, "after", "", "the next_offset that the page before ended with")
	fl.IntVar(&f.query.Amount, "amount", 0, fmt.Sprintf("entries of a page (default and most %d)", check.MaxAccess))
	fl.StringVarP(&f.output, "output", "o", formTable, "table, json or yaml")
	addClientFlags(cmd)
	return cmd
}

func (f *accessFlags) run(cmd *cobra.Command) error {
	if err := checkForm(f.output); err != nil {
		return err
	}
	claims := strings.TrimSpace(f.claims)
	if claims != "" && !json.Valid([]byte(claims)) {
		return errors.New("--claims: not JSON")
	}
	f.query.Token = f.token
	if claims != "" {
		f.query.Claims = json.RawMessage(claims)
	}
	answer, err := f.ask(cmd)
	if err != nil {
		return err
	}
	if err := printAs(cmd.OutOrStdout(), f.output, answer, func(w io.Writer) error { return printAccess(w, answer) }); err != nil {
		return err
	}
	if len(answer.Results) == 0 && f.query.After == "" {
		return errNo
	}
	return nil
}

// ask asks policy files, or the host.
func (f *accessFlags) ask(cmd *cobra.Command) (*check.AccessAnswer, error) {
	if len(f.files) == 0 {
		if f.now != "" {
			return nil, usageError(cmd, "--now goes with -f: the host has its own clock")
		}
		return f.askHost(cmd)
	}
	now, err := f.clock()
	if err != nil {
		return nil, err
	}
	snapshot, err := offlineSnapshot(cmd, f.files)
	if err != nil {
		return nil, err
	}
	return check.Access(snapshot, &f.query, now())
}

func (f *accessFlags) askHost(cmd *cobra.Command) (*check.AccessAnswer, error) {
	c, err := newClient(cmd)
	if err != nil {
		return nil, err
	}
	answer := &check.AccessAnswer{}
	return answer, c.post(cmd.Context(), "/api/v1/access", f.query, answer)
}

// printAccess writes what somebody may do for people.
func printAccess(w io.Writer, a *check.AccessAnswer) error {
	if a.Refused != "" {
		_, err := fmt.Fprintf(w, "every request is denied: %s\n", a.Refused)
		return err
	}
	if len(a.Results) == 0 {
		_, err := fmt.Fprintln(w, "nothing is allowed")
		return err
	}
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "METHODS\tHOST\tPATH\tRULE\tWHEN")
	row := func(indent string, p policydata.AccessPattern, policy, rule, when string) {
		cells := []string{indent + strings.Join(p.Methods, " "), cmp.Or(p.Host, "*"), p.Path, policy + "/" + rule, when}
		for i := range cells {
			cells[i] = explain.Printable(cells[i])
		}
		fmt.Fprintln(table, strings.Join(cells, "\t"))
	}
	for i := range a.Results {
		x := &a.Results[i]
		when := x.When
		if x.Service != nil && x.Service.When != "" {
			when += " (and for the service: " + x.Service.When + ")"
		}
		row("", x.AccessPattern, x.Policy, x.Rule, when)
		for _, d := range x.Denials {
			row("  not ", d.AccessPattern, d.Policy, d.Rule, d.When)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if a.Pagination.HasMore {
		fmt.Fprintf(&text, "there is more: --after %s\n", a.Pagination.NextOffset)
	}
	if a.Partial {
		text.WriteString("there are so many rules that some were not looked at\n")
	}
	return printTrimmed(w, text.String())
}
