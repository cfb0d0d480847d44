package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"sallyport/host/internal/api"
	"sallyport/host/internal/directory"
	"sallyport/host/internal/manifest"
	"sallyport/host/internal/model"
)

func newDiff() *cobra.Command {
	var files []string
	var prune bool
	var named string
	cmd := &cobra.Command{
		Use:   "diff -f PATH...",
		Short: "Show how files differ from what the host has",
		Long: `Show how files differ from what the host has, as apply would change it. The exit code
is 0 if nothing differs, and 1 if something does. This needs to read only; apply
--dry-run also asks the host whether it would take the files.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := required(cmd, "filename", wantPolicies); err != nil {
				return err
			}
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			set, err := manifest.ReadFiles(cmd.InOrStdin(), files...)
			if err != nil {
				return err
			}
			gone := func(*model.State, []model.Entity) ([]model.Key, error) { return nil, nil }
			if prune {
				gone = c.undescribed(cmd.Context(), cmp.Or(named, directory.DefaultSet))
			}
			differs, err := c.printDiff(cmd.Context(), cmd.OutOrStdout(), set, gone)
			if err == nil && differs {
				err = errNo
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&files, "filename", "f", nil, "file or directory, - for standard input; may be repeated")
	addSetFlag(cmd, &named)
	f.BoolVar(&prune, "prune", false, "also show what apply --prune would delete")
	addClientFlags(cmd)
	return cmd
}

// printDryRun shows what the changes of a dry run are.
func (c *client) printDryRun(cmd *cobra.Command, w io.Writer, set []manifest.File, changes []directory.Change) error {
	docs, err := manifest.ParseFiles(set)
	if err != nil {
		return err
	}
	return c.printChanged(cmd, w, side{"files", manifest.Entities(docs)}, changes)
}

// printChanged shows what changes to documents are. Who may write and not read is
// shown none.
func (c *client) printChanged(cmd *cobra.Command, w io.Writer, with side, changes []directory.Change) error {
	var gone []model.Key
	for _, change := range changes {
		if change.Action == directory.Deleted {
			gone = append(gone, model.Key{Kind: change.Kind, Name: change.Name})
		}
	}
	_, err := c.printDifferences(cmd.Context(), w, with, func(*model.State, []model.Entity) ([]model.Key, error) { return gone, nil })
	if refused := (*apiError)(nil); errors.As(err, &refused) && refused.Status == http.StatusForbidden {
		fmt.Fprintln(cmd.ErrOrStderr(), "what would change in them is not shown: you may not GET /api/v1/export")
		return nil
	}
	return err
}

// printDiff shows how the host's state differs from what it would be with a set
// and without what is gone, and reports whether it does.
func (c *client) printDiff(
	ctx context.Context, w io.Writer, set []manifest.File, gone func(*model.State, []model.Entity) ([]model.Key, error),
) (differs bool, err error) {
	docs, err := manifest.ParseFiles(set)
	if err != nil {
		return false, err
	}
	return c.printDifferences(ctx, w, side{"files", manifest.Entities(docs)}, gone)
}

// side is what the host's state is compared with.
type side struct {
	name     string
	entities []model.Entity
}

func (c *client) printDifferences(
	ctx context.Context, w io.Writer, with side, gone func(*model.State, []model.Entity) ([]model.Key, error),
) (differs bool, err error) {
	before, err := c.state(ctx)
	if err != nil {
		return false, err
	}
	pruned, err := gone(before, with.entities)
	if err != nil {
		return false, err
	}
	after := before.With(with.entities).Without(pruned)
	out := diffWriter{w: w, colours: onTerminal(w), with: with.name}
	directory.EachDifference(before, after, func(old, new model.Entity) {
		differs = true
		if err == nil {
			err = out.entity(old, new)
		}
	})
	return differs, err
}

// state returns what the host has.
func (c *client) state(ctx context.Context) (*model.State, error) {
	var all struct{ Documents json.RawMessage }
	if err := c.do(ctx, http.MethodGet, "/api/v1/export", "", nil, &all); err != nil {
		return nil, err
	}
	entities, err := answered(all.Documents)
	return (&model.State{}).With(entities), err
}

// answered returns the documents of an answer.
func answered(list json.RawMessage) ([]model.Entity, error) {
	if len(list) == 0 || string(list) == "[]" {
		return nil, nil // which no file of documents says
	}
	docs, err := manifest.Parse("answer.json", list)
	if err != nil {
		return nil, fmt.Errorf("the host's answer: %w; is it of another version?", err)
	}
	return manifest.Entities(docs), nil
}

// diffWriter writes differences of documents.
type diffWriter struct {
	w       io.Writer
	colours bool
	with    string // what the host is compared with
}

// entity writes the difference of an entity; old is nil for a new one, new for
// one that would be deleted.
func (d diffWriter) entity(old, new model.Entity) error {
	e := new
	if e == nil {
		e = old
	}
	name := string(e.Kind()) + " " + printable(e.Meta().Name)
	before, err := yamlOf(old)
	if err != nil {
		return err
	}
	after, err := yamlOf(new)
	if err != nil {
		return err
	}
	text := string(diff.Diff(name+" (host)", before, name+" ("+d.with+")", after))
	// The first line names the command that this looks like.
	_, text, _ = strings.Cut(text, "\n")
	for line := range strings.Lines(text) {
		if _, err := io.WriteString(d.w, d.coloured(line)); err != nil {
			return err
		}
	}
	return nil
}

// yamlOf returns an entity's document, nothing for nil.
func yamlOf(e model.Entity) ([]byte, error) {
	if e == nil {
		return nil, nil
	}
	doc, err := api.DocumentOf(e)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = printYAML(&out, doc)
	return out.Bytes(), err
}

// coloured gives a line of a difference its colour (ECMA-48 section 8.3.117).
func (d diffWriter) coloured(line string) string {
	const red, green, bold, plain = "\x1b[31m", "\x1b[32m", "\x1b[1m", "\x1b[0m"
	colour := ""
	switch {
	case !d.colours:
	case strings.HasPrefix(line, "---"), strings.HasPrefix(line, "+++"):
		colour = bold
	case strings.HasPrefix(line, "-"):
		colour = red
	case strings.HasPrefix(line, "+"):
		colour = green
	}
	if colour == "" {
		return line
	}
	return colour + strings.TrimSuffix(line, "\n") + plain + "\n"
}

// onTerminal reports whether w is a terminal whose user has nothing against
// colours.
func onTerminal(w io.Writer) bool {
	return isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}
