package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"sallyport/host/internal/check"
	"sallyport/host/internal/explain"
	"sallyport/policydata"
)

// whoFlags are the flags of who-can.
type whoFlags struct {
	checkFlags // of which it has files, host, headers, now and output
	after      string
	amount     int
}

func newWhoCan() *cobra.Command {
	var f whoFlags
	cmd := &cobra.Command{
		Use:   "who-can [-f PATH...] METHOD PATH",
		Short: "List who may make a request",
		Long: `List who may make a request: everyone, groups, values of role claims, services and
users, each with the rules that allow it and what gives them. Users are listed by what
the store says; what a token adds is listed as groups and claims. A condition that
depends on the token is shown, and so are deny rules: who has one of these, too, is
denied. What everyone may is not listed again for each user and group.
With -f it asks policy files, without it the host. Exit code 0: somebody may, 1: nobody
may, 2: error.

  sallyport who-can GET /workspaces/foo/data
  sallyport who-can POST /api/v1/apply --host ` + policydata.HostAPI,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usageError(cmd, "want a method and a path")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			f.method, f.path = args[0], args[1]
			return f.run(cmd)
		},
	}
	fl := cmd.Flags()
	fl.StringArrayVarP(&f.files, "filename", "f", nil, "policy file or directory, - for standard input; may be repeated")
	fl.StringVar(&f.host, "host", "", "host; "+policydata.HostAPI+" is the host's own API")
	fl.StringArrayVar(&f.headers, "header", nil, "header as name=value; may be repeated")
	fl.StringVar(&f.now, "now", "", "with -f: as at this time (RFC 3339)")
	fl.StringVar(&f.after, "after", "", "the next_offset that the page before ended with")
	fl.IntVar(&f.amount, "amount", 0, fmt.Sprintf("entries of a page (default and most %d)", check.MaxAccess))
	addOutputFlag(cmd, &f.output)
	addClientFlags(cmd)
	return cmd
}

func (f *whoFlags) run(cmd *cobra.Command) error {
	if err := checkForm(f.output); err != nil {
		return err
	}
	asked, err := f.query()
	if err != nil {
		return err
	}
	answer, err := f.ask(cmd, &check.WhoQuery{
		Method: asked.Method, Path: asked.Path, Host: asked.Host, Headers: asked.Headers, After: f.after, Amount: f.amount,
	})
	if err != nil {
		return err
	}
	if err := printAs(cmd.OutOrStdout(), f.output, answer, func(w io.Writer) error { return printWho(w, answer) }); err != nil {
		return err
	}
	if len(answer.Results) == 0 && f.after == "" {
		return errNo
	}
	return nil
}

// ask asks policy files, or the host.
func (f *whoFlags) ask(cmd *cobra.Command, q *check.WhoQuery) (*check.WhoAnswer, error) {
	if len(f.files) == 0 {
		return f.askHost(cmd, q)
	}
	now, err := f.clock()
	if err != nil {
		return nil, err
	}
	snapshot, err := offlineSnapshot(cmd, f.files)
	if err != nil {
		return nil, err
	}
	return check.WhoCan(snapshot, q, now())
}

func (f *whoFlags) askHost(cmd *cobra.Command, q *check.WhoQuery) (*check.WhoAnswer, error) {
	if f.now != "" {
		return nil, usageError(cmd, "--now goes with -f: the host has its own clock")
	}
	c, err := newClient(cmd)
	if err != nil {
		return nil, err
	}
	answer := &check.WhoAnswer{}
	return answer, c.post(cmd.Context(), "/api/v1/who-can", q, answer)
}

// printWho writes who may make a request for people.
func printWho(w io.Writer, a *check.WhoAnswer) error {
	var text strings.Builder
	switch {
	case a.Refused != "":
		fmt.Fprintf(&text, "everybody is denied: %s\n", a.Refused)
	case len(a.Results) == 0:
		text.WriteString("nobody may\n")
	}
	table := tabwriter.NewWriter(&text, 0, 8, 2, ' ', 0)
	if len(a.Results) > 0 {
		fmt.Fprintln(table, "WHO\tRULE\tBY\tWHEN")
	}
	for i := range a.Results {
		x := &a.Results[i]
		for k, r := range x.Rules {
			who := whoText(x)
			if k > 0 {
				who = ""
			}
			whoRow(table, who, r)
		}
		for _, r := range x.Unless {
			whoRow(table, "  unless", r)
		}
	}
	for _, r := range a.Denials {
		whoRow(table, "denied to who has", r)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if a.Pagination.HasMore {
		fmt.Fprintf(&text, "there is more: --after %s\n", a.Pagination.NextOffset)
	}
	if a.Partial {
		text.WriteString("there are so many that some were not looked at\n")
	}
	return printTrimmed(w, text.String())
}

func whoRow(table io.Writer, who string, r policydata.WhoRule) {
	cells := []string{who, r.Policy + "/" + r.Rule, explain.Origins(r.From), r.When}
	for i := range cells {
		cells[i] = explain.Printable(cells[i])
	}
	fmt.Fprintln(table, strings.Join(cells, "\t"))
}

// whoText says who an entry is for.
func whoText(x *policydata.WhoEntry) string {
	switch {
	case x.Kind == policydata.WhoEveryone && x.Name == policydata.GroupUnauthenticated:
		return "everyone without a token"
	case x.Kind == policydata.WhoEveryone:
		return "everyone with a token"
	case x.OnBehalf != nil && x.OnBehalf.Name == "*":
		return "service " + x.Name + " for any of these"
	case x.OnBehalf != nil:
		return "service " + x.Name + " for " + string(x.OnBehalf.Kind) + " " + x.OnBehalf.Name
	case x.Kind == policydata.WhoClaim:
		return "role claim " + x.Name
	case !x.Known:
		return string(x.Kind) + " " + x.Name + " (of a token)"
	}
	return string(x.Kind) + " " + x.Name
}
