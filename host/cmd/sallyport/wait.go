package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/host/internal/api"
	"sallyport/host/internal/fleet"
	"sallyport/policydata/pushapi"
)

const (
	// askEvery is how often a wait asks what proxies enforce.
	askEvery = 200 * time.Millisecond
	// answerTime is how long the last answer may take: a host that hangs must not
	// hold a wait up.
	answerTime = 5 * time.Second
	// maxNamed bounds the laggards that a wait names.
	maxNamed = 50
)

// addWaitFlag adds --wait, with which a command that writes ends when proxies
// enforce what it wrote.
func addWaitFlag(cmd *cobra.Command, wait *time.Duration) {
	cmd.Flags().DurationVar(wait, "wait", 0,
		"how long to wait until all proxies' workers enforce this; if they don't, say which and end with exit code 1")
}

// checkWait refuses a wait that could not be one, before anything is written.
func checkWait(cmd *cobra.Command, wait time.Duration, dryRun bool) error {
	switch {
	case wait < 0:
		return usageError(cmd, "--wait: want a time such as 30s")
	case wait > 0 && dryRun:
		return usageError(cmd, "--dry-run changes nothing that --wait could wait for")
	}
	return nil
}

// awaitEnforced waits until all proxies' workers enforce a version or a later
// one. Otherwise it says on standard error which don't, and returns errNo; so it
// does where nobody reports. A wait of 0 asks nothing.
func (c *client) awaitEnforced(cmd *cobra.Command, epoch, generation uint64, wait time.Duration) error {
	if wait <= 0 {
		return nil
	}
	version := pushapi.Version{Epoch: epoch, Generation: generation}
	page, err := c.pollEnforced(cmd.Context(), version, wait)
	if err != nil {
		return err
	}
	if enforced(&page) {
		_, err := fmt.Fprintf(cmd.ErrOrStderr(), "%s is %s, %d workers\n", version, enforcedBy(page.Summary), page.Summary.Workers)
		return err
	}
	if err := printLaggards(cmd.ErrOrStderr(), version, wait, &page); err != nil {
		return err
	}
	return errNo
}

// enforced reports whether all that there are enforce what was asked about.
func enforced(page *api.ProxyPage) bool {
	return page.Complete && page.Summary.Workers > 0 && page.Summary.Lagging == 0
}

// pollEnforced asks until a version is enforced, or the time is over. The host may
// go away meanwhile and come back: an error counts if it is the last answer.
func (c *client) pollEnforced(ctx context.Context, version pushapi.Version, wait time.Duration) (page api.ProxyPage, err error) {
	query := url.Values{"generation": {version.String()}, "lagging": {"true"}}
	deadline := time.Now().Add(wait)
	ctx, cancel := context.WithDeadline(ctx, deadline.Add(answerTime))
	defer cancel()
	for {
		query.Del("after")
		page, err = c.proxies(ctx, query)
		if err == nil && enforced(&page) || final(err) {
			return page, err
		}
		left := time.Until(deadline)
		if left <= 0 {
			return page, err
		}
		select {
		case <-time.After(min(left, askEvery)):
		case <-ctx.Done():
			return page, ctx.Err()
		}
	}
}

// final reports whether asking again is of no use.
func final(err error) bool {
	var answer *apiError
	return errors.As(err, &answer) && answer.Status/100 == 4 && answer.Status != http.StatusTooManyRequests
}

// printLaggards says who does not enforce a version.
func printLaggards(w io.Writer, version pushapi.Version, wait time.Duration, page *api.ProxyPage) error {
	var out strings.Builder
	s := page.Summary
	switch {
	case s.Proxies == 0:
		fmt.Fprintf(&out, "after %s no proxy has reported: nobody is known to enforce %s\n", wait, version)
	case s.Lagging == 0:
		fmt.Fprintf(&out, "after %s all %d proxies that have reported enforce %s\n", wait, s.Proxies, version)
	default:
		fmt.Fprintf(&out, "after %s %s is %s:\n", wait, version, enforcedBy(s))
	}
	named := 0
	for i := range page.Results {
		for _, line := range laggards(&page.Results[i]) {
			if named++; named <= maxNamed {
				fmt.Fprintf(&out, "  %s\n", line)
			}
		}
	}
	if named > maxNamed {
		fmt.Fprintf(&out, "  and %d more; sallyport proxies shows all\n", named-maxNamed)
	}
	if !page.Complete {
		fmt.Fprintf(&out, "%s: there may be workers that are not known\n", printable(page.Incomplete))
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// laggards says of each worker of a proxy that lags what it does.
func laggards(p *fleet.Proxy) (lines []string) {
	name := printable(dash(p.Instance))
	if p.Identity != "" {
		name += " (" + printable(p.Identity) + ")"
	}
	if p.State == fleet.Silent {
		return []string{"proxy " + name + silence(p)}
	}
	for _, w := range p.Workers {
		what := " enforces nothing"
		if w.Enforced != "" {
			what = " enforces " + w.Enforced
		}
		switch w.State {
		case fleet.Enforcing:
			continue
		case fleet.Refusing:
			what += " and refuses " + w.Refused + ": " + printable(w.Reason)
		case fleet.Lagging:
			what += trial(p)
		}
		lines = append(lines, fmt.Sprintf("proxy %s: worker %.8s of process %.8s%s", name, w.Worker, p.Process, what))
	}
	return lines
}

// trial says what a proxy has refused before its workers saw it.
func trial(p *fleet.Proxy) string {
	for i := range p.Workers {
		if p.Workers[i].State == fleet.Refusing {
			return "" // what is said of the proxy is what that one has refused
		}
	}
	if p.Refused == "" {
		return ""
	}
	return ", and the proxy refuses " + p.Refused + ": " + printable(p.Reason)
}

// silence says what is known of a proxy that does not report.
func silence(p *fleet.Proxy) string {
	text := " takes configurations but does not report"
	for _, s := range p.Streams {
		text += ", at " + printable(s.Address)
		if s.Nacked != "" {
			text += ", and refuses " + printable(s.Nacked) + ": " + printable(s.Error)
		}
	}
	return text
}
