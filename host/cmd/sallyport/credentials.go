package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"sallyport/host/internal/api"
	"sallyport/host/internal/model"
)

func newCredentials() *cobra.Command {
	return newGroup("credentials", "Access keys of users and services",
		newCredentialsList(), newCredentialsCreate(), newCredentialsRotate(), newCredentialsDelete())
}

// ownerUse is how commands name whose access keys they are about.
const ownerUse = "user|service NAME"

// owner is whose access keys a command is about.
type owner struct {
	path string // of the access keys
	what string // for people
}

// ownerNamed returns what the first two arguments name.
func ownerNamed(cmd *cobra.Command, args []string, more int) (o owner, err error) {
	if len(args) != 2+more {
		return o, usageError(cmd, "want "+cmd.Use[len(cmd.Name())+1:])
	}
	r, err := resourceNamed(cmd, args[0])
	if err != nil {
		return o, err
	}
	if r.kind != model.KindUser && r.kind != model.KindServiceAccount {
		return o, usageError(cmd, "only users and services have access keys")
	}
	return owner{r.at(args[1]) + "/credentials", r.names[0] + " " + printable(args[1])}, nil
}

// clientFor returns the client of a command about the access keys of the owner
// that its first two arguments name, once what it was given is right.
func clientFor(cmd *cobra.Command, args []string, more int, output string) (*client, owner, error) {
	if err := checkForm(output); err != nil {
		return nil, owner{}, err
	}
	o, err := ownerNamed(cmd, args, more)
	if err != nil {
		return nil, owner{}, err
	}
	c, err := newClient(cmd)
	return c, o, err
}

func newCredentialsList() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "list " + ownerUse,
		Short: "List access keys",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, o, err := clientFor(cmd, args, 0, output)
			if err != nil {
				return err
			}
			keys, err := list[api.Credentials](cmd.Context(), c, o.path, url.Values{}, 0)
			if err != nil {
				return err
			}
			return printAs(cmd.OutOrStdout(), output, keys, func(w io.Writer) error {
				rows := [][]string{{"ACCESS KEY", "CREATED"}}
				for _, k := range keys {
					rows = append(rows, []string{k.AccessKeyID, k.Created.Format(time.RFC3339)})
				}
				return printTable(w, rows)
			})
		},
	}
	addOutputFlag(cmd, &output)
	addClientFlags(cmd)
	return cmd
}

func addOutputFlag(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", formTable, "table, json or yaml")
}

func newCredentialsCreate() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "create " + ownerUse,
		Short: "Make an access key, and print it with its secret, this once",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, o, err := clientFor(cmd, args, 0, output)
			if err != nil {
				return err
			}
			made, err := c.createKey(cmd.Context(), o)
			if err != nil {
				return err
			}
			return printKey(cmd, output, o, made)
		},
	}
	addOutputFlag(cmd, &output)
	addClientFlags(cmd)
	return cmd
}

func (c *client) createKey(ctx context.Context, o owner) (made api.Credentials, err error) {
	err = c.do(ctx, http.MethodPost, o.path, "", nil, &made)
	return made, err
}

// printKey shows a new access key.
func printKey(cmd *cobra.Command, output string, o owner, made api.Credentials) error {
	return printAs(cmd.OutOrStdout(), output, made, func(w io.Writer) error {
		return printExports(w, "# An access key of "+o.what+". Its secret is shown this once.", made.AccessKeyID, made.Secret)
	})
}

func newCredentialsRotate() *cobra.Command {
	var output, old string
	cmd := &cobra.Command{
		Use:   "rotate " + ownerUse,
		Short: "Make an access key in place of one, and withdraw that",
		Long: `Make an access key, print it with its secret, this once, and
withdraw the one in whose place it is: the only one there is, or the one that --replace
names. The old one is withdrawn last: whatever happens, one of both is good.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, o, err := clientFor(cmd, args, 0, output)
			if err != nil {
				return err
			}
			if old, err = c.keyToRotate(cmd.Context(), o, old); err != nil {
				return err
			}
			made, err := c.createKey(cmd.Context(), o)
			if err != nil {
				return err
			}
			if err := printKey(cmd, output, o, made); err != nil {
				return errors.Join(err, fmt.Errorf("access key %s stays; %s was made and could not be shown: delete it", old, made.AccessKeyID))
			}
			if err := c.withdraw(cmd.Context(), o, old, made); err != nil {
				return fmt.Errorf("access key %s is still good, beside the new one: %w", old, err)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "access key %s is withdrawn\n", old)
			return nil
		},
	}
	cmd.Flags().StringVar(&old, "replace", "", "id of the access key to withdraw, if there are several")
	addOutputFlag(cmd, &output)
	addClientFlags(cmd)
	return cmd
}

// keyToRotate returns the access key to withdraw.
func (c *client) keyToRotate(ctx context.Context, o owner, id string) (string, error) {
	keys, err := list[api.Credentials](ctx, c, o.path, url.Values{}, 0)
	if err != nil {
		return "", err
	}
	if id == "" && len(keys) == 1 {
		return keys[0].AccessKeyID, nil
	}
	for _, k := range keys {
		if k.AccessKeyID == id {
			return id, nil
		}
	}
	switch {
	case len(keys) == 0:
		return "", fmt.Errorf("%s has no access key: sallyport credentials create makes one", o.what)
	case id == "":
		return "", fmt.Errorf("%s has %d access keys: say by --replace which to withdraw; sallyport credentials list shows them", o.what, len(keys))
	}
	return "", fmt.Errorf("%s has no access key %q; sallyport credentials list shows those there are", o.what, id)
}

// withdraw deletes an access key. Where that is the caller's own, the new one
// deletes it, which shows that the host takes it.
func (c *client) withdraw(ctx context.Context, o owner, old string, made api.Credentials) error {
	as := *c
	if old == c.accessKeyID {
		as.accessKeyID, as.secret = made.AccessKeyID, made.Secret
	}
	_, err := as.delete(ctx, o.path+"/"+api.PathName(old))
	return err
}

func newCredentialsDelete() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "delete " + ownerUse + " KEY",
		Short: "Withdraw an access key at once",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, o, err := clientFor(cmd, args, 1, output)
			if err != nil {
				return err
			}
			committed, err := c.delete(cmd.Context(), o.path+"/"+api.PathName(args[2]))
			if err != nil {
				return err
			}
			return printAs(cmd.OutOrStdout(), output, committed, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "withdrew %s of %s\n", printable(args[2]), o.what)
				return err
			})
		},
	}
	addOutputFlag(cmd, &output)
	addClientFlags(cmd)
	return cmd
}
