package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"sallyport/host/internal/api"
	"sallyport/host/internal/directory"
)

func newRollback() *cobra.Command {
	var request api.RollbackRequest
	var to uint64
	var output string
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "rollback --to GENERATION",
		Short: "Make the documents what they were, as a new generation",
		Long: `Make users, groups, policies, roles, services and issuers what they were at a generation,
which sallyport audit shows. This makes a new generation, of which the audit records say
that it is a rollback: nothing that proxies have seen before counts again, and what goes
wrong can be gone back on in the same way.

What was closed since stays closed:
  - access keys stay as they are: one that was deleted or replaced does not come back;
  - revoked tokens stay revoked, and fetched keys of issuers are those of today;
  - the later tokensNotBefore of a user counts;
  - users and services that were disabled since stay disabled, without --enable;
  - inline keys of issuers that were taken out since stay out, without --keys.
What was deleted since comes back as something new, without the access keys that it had.
What was created since is deleted, with its access keys.

How far back it goes is a matter of the audit records that are kept (serve
--audit-records, --audit-age); a restored backup is where it ends.

  sallyport rollback --to 41 --dry-run
  sallyport rollback --to 41`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkForm(output); err != nil {
				return err
			}
			if err := required(cmd, "to", "a generation"); err != nil {
				return err
			}
			if err := checkWait(cmd, wait, request.DryRun); err != nil {
				return err
			}
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			request.To = strconv.FormatUint(to, 10)
			result, err := c.rollback(cmd, request)
			if err != nil {
				return err
			}
			if !request.DryRun && !result.Published {
				fmt.Fprintf(cmd.ErrOrStderr(), "generation %d is committed and not published yet: the host's log says why\n", result.Generation)
			}
			err = printAs(cmd.OutOrStdout(), output, result, func(w io.Writer) error {
				return c.printRollback(cmd, w, request, result)
			})
			if err != nil {
				return err
			}
			return c.awaitEnforced(cmd, result.Epoch, result.Generation, wait)
		},
	}
	f := cmd.Flags()
	f.Uint64Var(&to, "to", 0, "the generation")
	f.BoolVar(&request.DryRun, "dry-run", false, "show what would change, and change nothing")
	f.BoolVar(&request.Force, "force", false, "change reserved entities, too")
	f.BoolVar(&request.Enable, "enable", false, "enable users and services that were disabled since")
	f.BoolVar(&request.Keys, "keys", false, "trust inline keys of issuers that were taken out since")
	addWaitFlag(cmd, &wait)
	f.StringVarP(&output, "output", "o", formTable, "table, json or yaml")
	addClientFlags(cmd)
	return cmd
}

func (c *client) rollback(cmd *cobra.Command, request api.RollbackRequest) (result api.RolledBack, err error) {
	err = c.post(cmd.Context(), "/api/v1/rollback", request, &result)
	return result, err
}

// printRollback shows what a rollback did, or would do.
func (c *client) printRollback(cmd *cobra.Command, w io.Writer, request api.RollbackRequest, result api.RolledBack) error {
	if request.DryRun {
		with := side{name: "generation " + request.To}
		if len(result.Documents) > 0 {
			list, err := json.Marshal(result.Documents)
			if err != nil {
				return err
			}
			if with.entities, err = answered(list); err != nil {
				return err
			}
		}
		if err := c.printChanged(cmd, w, with, result.Changes); err != nil {
			return err
		}
	}
	for _, k := range result.Kept {
		if _, err := fmt.Fprintf(w, "%s %s: %s %s%s\n", k.Kind, printable(k.Name), k.Field, k.Detail, liftedBy(k)); err != nil {
			return err
		}
	}
	return printChanges(w, result.Result, request.DryRun)
}

// liftedBy names the flag that would not have kept something.
func liftedBy(k directory.Kept) string {
	switch k.Field {
	case "spec.disabled":
		return " (--enable)"
	case "spec.jwks.inline":
		return " (--keys)"
	}
	return ""
}
