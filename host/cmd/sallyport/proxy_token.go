package main

import (
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"sallyport/host/internal/api"
	"sallyport/policydata/pushapi"
)

const proxyTokensPath = "/api/v1/proxy-tokens"

func newProxyToken() *cobra.Command {
	return newGroup("token", "Tokens by which proxies prove who they are",
		newProxyTokenCreate(), newProxyTokenList(), newProxyTokenRevoke())
}

func newProxyTokenCreate() *cobra.Command {
	var output string
	var isFleet bool
	var ttl time.Duration
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a token, and print it, this once",
		Long: `Make a token for the proxy whose node.id is NAME, which can report for itself alone, or
with --fleet one that any proxy of a fleet can have. It is printed this once. The proxy
has it in its environment. A token is good for what proxies ask for and nothing else.

To replace a token make one of the same name, give it to the proxy, and revoke the old one.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError(cmd, "want a NAME")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkForm(output); err != nil {
				return err
			}
			wanted := api.NewProxyToken{Name: args[0], Fleet: isFleet}
			if cmd.Flag("ttl").Changed {
				wanted.TTL = ttl.String()
			}
			made, err := createProxyToken(cmd, wanted)
			if err != nil {
				return err
			}
			return printAs(cmd.OutOrStdout(), output, made, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "# The token %s of %s. It is shown this once.\nexport %s=%s\n",
					made.ID, printable(tokenOwner(made)), pushapi.TokenVariable, made.Token)
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&isFleet, "fleet", false, "for any proxy of a fleet")
	cmd.Flags().DurationVar(&ttl, "ttl", 0, "after what time it expires, such as 720h; without it, never")
	addOutputFlag(cmd, &output)
	addClientFlags(cmd)
	return cmd
}

func createProxyToken(cmd *cobra.Command, wanted api.NewProxyToken) (made api.ProxyToken, err error) {
	c, err := newClient(cmd)
	if err != nil {
		return made, err
	}
	err = c.post(cmd.Context(), proxyTokensPath, wanted, &made)
	return made, err
}

func tokenOwner(t api.ProxyToken) string {
	if t.Fleet {
		return "fleet " + t.Name
	}
	return "proxy " + t.Name
}

func newProxyTokenList() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List tokens",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkForm(output); err != nil {
				return err
			}
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			tokens, err := list[api.ProxyToken](cmd.Context(), c, proxyTokensPath, url.Values{}, 0)
			if err != nil {
				return err
			}
			return printAs(cmd.OutOrStdout(), output, tokens, func(w io.Writer) error {
				rows := [][]string{{"ID", "OF", "CREATED", "EXPIRES"}}
				for _, t := range tokens {
					rows = append(rows, []string{t.ID, tokenOwner(t), t.Created.Format(time.RFC3339), expiry(t)})
				}
				return printTable(w, rows)
			})
		},
	}
	addOutputFlag(cmd, &output)
	addClientFlags(cmd)
	return cmd
}

func expiry(t api.ProxyToken) string {
	switch {
	case t.Expires.IsZero():
		return "never"
	case t.Expired:
		return t.Expires.Format(time.RFC3339) + " (has expired)"
	}
	return t.Expires.Format(time.RFC3339)
}

func newProxyTokenRevoke() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		ValidArgsFunction: completeProxyTokens,

		Use:   "revoke ID",
		Short: "Revoke a token at once",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError(cmd, "want the ID of a token; sallyport proxies token list shows them")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkForm(output); err != nil {
				return err
			}
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			committed, err := c.delete(cmd.Context(), proxyTokensPath+"/"+api.PathName(args[0]))
			if err != nil {
				return err
			}
			return printAs(cmd.OutOrStdout(), output, committed, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "revoked %s\n", printable(args[0]))
				return err
			})
		},
	}
	addOutputFlag(cmd, &output)
	addClientFlags(cmd)
	return cmd
}
