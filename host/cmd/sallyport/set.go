package main

import (
	"context"
	"net/url"

	"github.com/spf13/cobra"

	"sallyport/host/internal/api"
	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
)

const setFlag = "set"

// aboutSets says what sets are.
const aboutSets = `Files are a set, which --set names: it has what they create, and what they describe and
no set has. --prune deletes what belongs to the set and no file describes any more, and
nothing else: not what other sets have, and not what was written one by one. What belongs
to another set is refused; --force moves it.

Without --set the set is "` + directory.DefaultSet + `", and what other sets have is changed and stays with them.
Who applies several directories to a host gives each its name.`

func addSetFlag(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVar(name, setFlag, "", "name of the set that the files are (default \""+directory.DefaultSet+"\")")
}

// setQuery returns the query of a set, if one was named.
func setQuery(cmd *cobra.Command, name string) url.Values {
	if !cmd.Flag(setFlag).Changed {
		return url.Values{}
	}
	return url.Values{setFlag: {name}}
}

// inSet says what became of an entity, and of which set it is unless that is the
// default one.
func inSet(c directory.Change) string {
	if c.Set == "" || c.Set == directory.DefaultSet {
		return string(c.Action)
	}
	return string(c.Action) + "\tset " + printable(c.Set)
}

// undescribed returns what names the entities that pruning a set would delete from
// a state of the host.
func (c *client) undescribed(ctx context.Context, set string) func(*model.State, []model.Entity) ([]model.Key, error) {
	return func(s *model.State, entities []model.Entity) ([]model.Key, error) {
		var keys []model.Key
		for _, kind := range model.Kinds() {
			docs, err := list[api.Document](ctx, c, "/api/v1/"+kind.Collection(), url.Values{setFlag: {set}}, 0)
			if err != nil {
				return nil, err
			}
			for _, doc := range docs {
				keys = append(keys, model.Key{Kind: kind, Name: doc.Metadata.Name})
			}
		}
		return directory.Undescribed(s.InSet(set, keys), entities, set, false), nil
	}
}
