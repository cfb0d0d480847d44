package main

import (
	"encoding/json"
	"io"

	"github.com/spf13/cobra"

	"sallyport/host/internal/check"
	"sallyport/host/internal/explain"
)

// runExplain decides one request and says how: as a text, unless -o names a
// form for machines.
func (f *checkFlags) runExplain(cmd *cobra.Command, engine check.Engine, q *check.Query) error {
	q.Explain = true
	d, err := engine.Decide(cmd.Context(), q)
	if err != nil {
		return err
	}
	form := f.output
	if !cmd.Flag("output").Changed {
		form = formTable
	}
	err = printAs(cmd.OutOrStdout(), form, d, func(w io.Writer) error { return printExplanation(w, d) })
	if err != nil {
		return err
	}
	return errUnlessAllowed(d)
}

// printExplanation writes an explained decision for people.
func printExplanation(w io.Writer, d json.RawMessage) error {
	var with struct{ Explanation explain.Explanation }
	if err := json.Unmarshal(d, &with); err != nil {
		return err
	}
	return explain.Print(w, &explain.Explained{Decision: d, Explanation: with.Explanation})
}
