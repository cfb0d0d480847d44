package main

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"sallyport/host/internal/api"
)

// completeTimeout bounds how long a shell waits for names.
const completeTimeout = 2 * time.Second

// completeNames completes a kind, and then names that the host has. A host that
// does not answer is no error: the shell completes nothing.
func completeNames(several bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			var kinds []string
			for _, r := range resources() {
				kinds = append(kinds, r.path)
			}
			return kinds, cobra.ShellCompDirectiveNoFileComp
		}
		r, err := resourceNamed(cmd, args[0])
		if err != nil || r.kind == "" || len(args) > 1 && !several {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names := hostNames(cmd, r, begun)
		return slices.DeleteFunc(names, func(n string) bool { return slices.Contains(args[1:], n) }), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeProxyTokens completes the id of a proxy's token.
func completeProxyTokens(cmd *cobra.Command, args []string, begun string) (ids []string, _ cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	for _, t := range firstOf[api.ProxyToken](cmd, proxyTokensPath, begun) {
		ids = append(ids, cobra.CompletionWithDesc(t.ID, printable(tokenOwner(t))))
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}

// hostNames returns names that begin as a text does, none where the host does not
// say.
func hostNames(cmd *cobra.Command, r resource, begun string) (names []string) {
	for _, doc := range firstOf[api.Document](cmd, r.at(), begun) {
		if name := doc.Metadata.Name; printable(name) == name {
			names = append(names, name)
		}
	}
	return names
}

// firstOf returns the first of a list of the host that begin as a text does.
func firstOf[T any](cmd *cobra.Command, path, begun string) []T {
	c, err := newClient(cmd)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
	defer cancel()
	var page api.Page[T]
	if err := c.do(ctx, http.MethodGet, path+"?"+url.Values{"prefix": {begun}}.Encode(), "", nil, &page); err != nil {
		return nil
	}
	return page.Results
}
