package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/host/internal/api"
	"sallyport/host/internal/directory"
)

// followEvery is how often audit --follow asks.
const followEvery = time.Second

// auditFlags are the flags of audit.
type auditFlags struct {
	kind, name, user, since, output string
	last                            int
	follow                          bool
}

func newAudit() *cobra.Command {
	var f auditFlags
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Show who changed what, and when",
		Long: `Show the last writes to the host, the oldest of them first: who made them, what they
changed, and the generation that has it. -o json prints a record a line, with what was
so before and is so after.

  sallyport audit --kind user --name eric
  sallyport audit --since 24h --user sean
  sallyport audit --follow`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return showAudit(cmd, f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.kind, "kind", "", "of this kind, such as user")
	flags.StringVar(&f.name, "name", "", "of this name")
	flags.StringVar(&f.user, "user", "", "made by this user")
	flags.StringVar(&f.since, "since", "", "all since a time such as 2026-11-01T12:00:00Z, or for as long as 24h")
	flags.IntVarP(&f.last, "last", "n", 50, "how many, 1 to 1000; with --since all are shown")
	flags.BoolVar(&f.follow, "follow", false, "go on with what is written from now on")
	flags.StringVarP(&f.output, "output", "o", formTable, "table or json")
	addClientFlags(cmd)
	return cmd
}

// query returns what the flags ask the host for.
func (f *auditFlags) query(cmd *cobra.Command, now time.Time) (url.Values, error) {
	query := url.Values{}
	if f.kind != "" {
		r, err := resourceNamed(cmd, f.kind)
		if err != nil {
			return nil, err
		}
		if r.kind == "" {
			return nil, usageError(cmd, fmt.Sprintf("--kind %s: it has no documents", f.kind))
		}
		query.Set("kind", string(r.kind))
	}
	for name, value := range map[string]string{"name": f.name, "user": f.user} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if f.since == "" {
		return query, nil
	}
	since, err := time.Parse(time.RFC3339, f.since)
	if ago, notAgo := time.ParseDuration(f.since); notAgo == nil {
		since, err = now.Add(-ago), nil
	}
	if err != nil {
		return nil, fmt.Errorf("--since %q: want a time such as 2026-11-01T12:00:00Z, or 24h", f.since)
	}
	query.Set("since", since.UTC().Format(time.RFC3339))
	return query, nil
}

func showAudit(cmd *cobra.Command, f auditFlags) error {
	if f.output != formTable && f.output != formJSON {
		return fmt.Errorf("-o %s: there are table and json", f.output)
	}
	if f.last < 1 || f.last > 1000 {
		return usageError(cmd, "--last: want 1 to 1000")
	}
	query, err := f.query(cmd, time.Now())
	if err != nil {
		return err
	}
	c, err := newClient(cmd)
	if err != nil {
		return err
	}
	p := &auditPrinter{cmd.OutOrStdout(), f.output, false}
	last, err := f.showPast(cmd.Context(), c, query, p)
	if err != nil || !f.follow {
		return err
	}
	return follow(cmd.Context(), c, query, last, p)
}

// showPast prints what there is, and returns the number of the last record.
func (f *auditFlags) showPast(ctx context.Context, c *client, query url.Values, p *auditPrinter) (uint64, error) {
	if f.since != "" {
		return forward(ctx, c, query, 0, p)
	}
	newest := url.Values{"amount": {strconv.Itoa(f.last)}}
	for name, values := range query {
		newest[name] = values
	}
	var records []directory.Record
	for len(records) < f.last {
		page, err := c.audit(ctx, newest)
		if err != nil {
			return 0, err
		}
		records = append(records, page.Results...)
		if !page.Pagination.HasMore {
			break
		}
		newest.Set("after", page.Pagination.NextOffset)
	}
	records = records[:min(len(records), f.last)]
	slices.Reverse(records)
	last := uint64(0)
	if len(records) > 0 {
		last = records[len(records)-1].Sequence
	}
	return last, p.print(records)
}

// forward prints all records behind a number, and returns the last one's.
func forward(ctx context.Context, c *client, query url.Values, after uint64, p *auditPrinter) (uint64, error) {
	query.Set("order", "oldest")
	query.Set("amount", maxAmount)
	for {
		if after > 0 {
			query.Set("after", strconv.FormatUint(after, 10))
		}
		page, err := c.audit(ctx, query)
		if err != nil {
			return after, err
		}
		if err := p.print(page.Results); err != nil {
			return after, err
		}
		if n := len(page.Results); n > 0 {
			after = page.Results[n-1].Sequence
		}
		if !page.Pagination.HasMore {
			return after, nil
		}
		if after, err = strconv.ParseUint(page.Pagination.NextOffset, 10, 64); err != nil {
			return after, fmt.Errorf("the host's answer: %w", err)
		}
	}
}

func follow(ctx context.Context, c *client, query url.Values, last uint64, p *auditPrinter) error {
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
		var err error
		if last, err = forward(ctx, c, query, last, p); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

func (c *client) audit(ctx context.Context, query url.Values) (page api.Page[directory.Record], err error) {
	err = c.do(ctx, http.MethodGet, "/api/v1/audit?"+query.Encode(), "", nil, &page)
	return page, err
}

// auditPrinter prints records as they come.
type auditPrinter struct {
	out    io.Writer
	output string
	headed bool
}

// auditLine has columns of fixed width, since what comes later is not known.
const auditLine = "%-20s  %-11s  %-24s  %-20s  %s\n"

func (p *auditPrinter) print(records []directory.Record) error {
	for _, r := range records {
		if p.output == formJSON {
			if err := printAs(p.out, formJSON, r, nil); err != nil {
				return err
			}
			continue
		}
		if !p.headed {
			p.headed = true
			fmt.Fprintf(p.out, auditLine, "TIME", "GENERATION", "WHO", "OPERATION", "WHAT")
		}
		_, err := fmt.Fprintf(p.out, auditLine, r.Time.Format(time.RFC3339), strconv.FormatUint(r.Generation, 10),
			printable(whoOf(r.Actor)), r.Operation, printable(whatOf(r)))
		if err != nil {
			return err
		}
	}
	return nil
}

// whoOf says who an actor is, in one word if it has one.
func whoOf(a directory.Actor) string {
	var parts []string
	if a.User != "" {
		parts = append(parts, a.User)
	}
	if a.Service != "" {
		parts = append(parts, "service:"+a.Service)
	}
	if a.Host != "" {
		parts = append(parts, "("+a.Host+")")
	}
	return strings.Join(parts, " by ")
}

func whatOf(r directory.Record) string {
	switch r.Operation {
	case directory.RolledBack:
		return "to generation " + afterOf(r)["to"]
	case directory.MaxAgeSet:
		return cmp.Or(afterOf(r)["maxAge"], "none")
	}
	if r.Kind == "" {
		return r.Name
	}
	return string(r.Kind) + " " + r.Name
}

// afterOf returns what is so after a record that has texts only.
func afterOf(r directory.Record) (texts map[string]string) {
	_ = json.Unmarshal(r.After, &texts) // of a host that says it otherwise, there is none
	return texts
}
