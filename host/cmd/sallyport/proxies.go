package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"sallyport/host/internal/api"
	"sallyport/host/internal/fleet"
)

// watchEvery is how often --watch looks.
const watchEvery = 2 * time.Second

func newProxies() *cobra.Command {
	var output string
	var watch bool
	cmd := &cobra.Command{
		Use:   "proxies",
		Short: "Show what each proxy enforces",
		Long: `Show what the workers of each proxy enforce, as they report it themselves: that a
proxy has acknowledged a configuration does not say that it enforces it.

WORKERS has how many of a proxy's workers enforce what is published, ENFORCES the oldest
version among them, and LAG how many generations that is behind. A proxy that is "ahead"
has a version that this host has not published, and takes none of its lower ones: it has
had another host, or this one's store was put back without sallyport restore. A proxy
whose WORKERS are "silent" takes configurations and does not report. REFUSED is a later
version that a worker could not take, or the proxy itself before any worker saw it, and
why. Envoy has a worker more than its --concurrency, on its main thread.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkForm(output); err != nil {
				return err
			}
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			if watch {
				return watchProxies(cmd, c, output, watchEvery)
			}
			page, err := c.proxies(cmd.Context(), url.Values{})
			if err != nil {
				return err
			}
			return showProxies(cmd.OutOrStdout(), output, page)
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "look again every two seconds, until it is interrupted")
	addOutputFlag(cmd, &output)
	addClientFlags(cmd)
	cmd.AddCommand(newProxyToken())
	return cmd
}

// watchProxies shows proxies until the command is interrupted. A host that was
// there may go away, and come back.
func watchProxies(cmd *cobra.Command, c *client, output string, every time.Duration) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for first := true; ; first = false {
		page, err := c.proxies(cmd.Context(), url.Values{})
		switch {
		case cmd.Context().Err() != nil:
			return nil
		case err != nil && (first || final(err)):
			return err
		case err != nil:
			fmt.Fprintf(cmd.ErrOrStderr(), "sallyport: %v\n", err)
		default:
			if err := beginWatch(cmd.OutOrStdout(), output, first); err != nil {
				return err
			}
			if err := showProxies(cmd.OutOrStdout(), output, page); err != nil {
				return err
			}
		}
		select {
		case <-ticker.C:
		case <-cmd.Context().Done():
			return nil
		}
	}
}

// beginWatch sets what is shown next off from what was shown before.
func beginWatch(w io.Writer, output string, first bool) (err error) {
	switch {
	case output == formYAML && !first:
		_, err = io.WriteString(w, "---\n")
	case output == formTable && isTerminal(w):
		_, err = io.WriteString(w, "\x1b[H\x1b[2J") // to the top, and all clear
	case output == formTable && !first:
		_, err = io.WriteString(w, "\n")
	}
	return err
}

func showProxies(w io.Writer, output string, page api.ProxyPage) error {
	return printAs(w, output, page, func(w io.Writer) error { return printProxies(w, page) })
}

// proxies reads all pages of what is known of proxies.
func (c *client) proxies(ctx context.Context, query url.Values) (all api.ProxyPage, err error) {
	query.Set("amount", maxAmount)
	results := []fleet.Proxy{}
	for {
		all = api.ProxyPage{}
		if err := c.do(ctx, http.MethodGet, "/api/v1/proxies?"+query.Encode(), "", nil, &all); err != nil {
			return all, err
		}
		results = append(results, all.Results...)
		if !all.Pagination.HasMore {
			all.Results, all.Pagination.Results = results, len(results)
			return all, nil
		}
		query.Set("after", all.Pagination.NextOffset)
	}
}

func printProxies(w io.Writer, page api.ProxyPage) error {
	s := page.Summary
	if _, err := fmt.Fprintf(w, "published %s: %s, %d of %d workers\n", page.Published, enforcedBy(s), s.Enforcing, s.Workers); err != nil {
		return err
	}
	if !page.Complete {
		if _, err := fmt.Fprintf(w, "%s: there may be workers that are not known\n", printable(page.Incomplete)); err != nil {
			return err
		}
	}
	rows := [][]string{{"NAME", "INSTANCE", "WORKERS", "ENFORCES", "LAG", "REFUSED", "SEEN"}}
	for i := range page.Results {
		rows = append(rows, proxyRow(&page.Results[i]))
	}
	return printTable(w, rows)
}

func enforcedBy(s fleet.Summary) string {
	return fmt.Sprintf("enforced by %d of %d proxies", s.Proxies-s.Lagging, s.Proxies)
}

func proxyRow(p *fleet.Proxy) []string {
	enforcing := 0
	for _, w := range p.Workers {
		if w.State == fleet.Enforcing {
			enforcing++
		}
	}
	workers := fmt.Sprintf("%d/%d", enforcing, len(p.Workers))
	if p.State == fleet.Silent {
		workers = string(fleet.Silent)
	}
	refused := dash(p.Refused)
	if p.Reason != "" {
		refused += " " + firstLine(p.Reason)
	}
	return []string{
		dash(p.Identity), dash(p.Instance), workers, dash(p.Enforced), lagOf(p), refused,
		(time.Duration(p.Seen) * time.Second).String() + " ago",
	}
}

// lagOf says how far a proxy is behind.
func lagOf(p *fleet.Proxy) string {
	switch {
	case p.State == fleet.Enforcing:
		return "-"
	case p.State == fleet.Ahead:
		return string(fleet.Ahead)
	case p.Behind > 0:
		return strconv.FormatUint(p.Behind, 10)
	}
	return "?" // it has nothing, or something of another epoch
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
