package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"sallyport/host/internal/backup"
	"sallyport/host/internal/signing"
	"sallyport/host/internal/store"
	"sallyport/host/internal/store/bolt"
)

// backupTimeout bounds how long a backup may take to come over.
const backupTimeout = time.Hour

func newBackup() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write what the host's store holds to a file",
		Long: `Write what the host's store holds to a new file, - for standard output, while the host
goes on. It is of one generation, and sallyport restore makes a store of it.

The key that snapshots are signed with is not in it: keep ` + signing.KeyFile + ` of the data
directory, too, or proxies that don't get theirs by ECDS will refuse what a restored host
pushes. Of access keys it has digests only.`,
		Args: oneFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			showing := c.shows(cmd, "the host reads its store")
			defer showing.end()
			if args[0] == "-" {
				return c.backup(cmd.Context(), cmd.OutOrStdout())
			}
			pairs, err := backupTo(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			showing.end()
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %d records\n", args[0], pairs)
			return err
		},
	}
	addClientFlags(cmd)
	return cmd
}

// backupTo writes a backup that was read once to a file that does not exist, and
// returns how many pairs it has.
func backupTo(ctx context.Context, c *client, path string) (pairs int, err error) {
	if _, err := os.Lstat(path); err == nil {
		return 0, fmt.Errorf("%s: %w; a backup is a new file", path, fs.ErrExist)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name()) // of no effect once it is linked
	err = c.backup(ctx, f)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return 0, err
	}
	c.progress.stage("checking what came", 0)
	if pairs, err = readBackup(f.Name()); err != nil {
		return 0, err
	}
	return pairs, os.Link(f.Name(), path) // unlike renaming, this replaces nothing
}

// readBackup reads a backup to its end, and returns how many pairs it has.
func readBackup(path string) (pairs int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	err = backup.Read(f, func(store.Pair) error {
		pairs++
		return nil
	})
	return pairs, err
}

// backup copies a backup of the host to w.
func (c *client) backup(ctx context.Context, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, backupTimeout)
	defer cancel()
	c.http.Timeout = backupTimeout
	resp, err := c.send(ctx, http.MethodGet, "/api/v1/backup", "", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
		if err != nil {
			return err
		}
		return errorOf(resp, answer)
	}
	_, err = io.Copy(w, resp.Body)
	return err
}

func newRestore() *cobra.Command {
	var dataDir string
	var force bool
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make a store of a backup, for a host that does not run",
		Long: `Make the store of a data directory of a backup, - for standard input. The host that has
the directory must not run. The restored store begins a new epoch, so that proxies take
what it says although they may have seen later generations. What was withdrawn after the
backup was taken counts again: access keys, tokens of proxies, and revoked tokens.

Put ` + signing.KeyFile + ` of the old data directory there, too, before the host starts.
Without it a new key is made. Proxies that poll or have their snapshot in a file refuse
what it signs until their trusted_keys has it. By ECDS the trusted key comes with the
snapshot, so those proxies follow; but then they would also follow the old host, should it
be started again, which with one key they refuse.`,
		Args: oneFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := openInput(cmd.InOrStdin(), args[0])
			if err != nil {
				return err
			}
			defer in.Close()
			showing := newProgress(cmd.ErrOrStderr(), progressDelay)
			defer showing.end()
			counted := showing.reading(in, "restoring", sizeOf(in), "checking and committing")
			restored, err := backup.Restore(cmd.Context(), counted, dataDir, force)
			showing.end()
			if errors.Is(err, backup.ErrStoreExists) {
				return fmt.Errorf("%w; --force replaces it", err)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			return printRestored(cmd, dataDir, restored)
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", defaultDataDir, "directory of the store")
	cmd.Flags().BoolVar(&force, "force", false, "replace the store that is there, which is kept beside the new one")
	return cmd
}

// sizeOf returns how much there is to read, 0 if that is not known.
func sizeOf(in io.Reader) int64 {
	f, ok := in.(*os.File)
	if !ok {
		return 0
	}
	info, err := f.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}

func printRestored(cmd *cobra.Command, dataDir string, r backup.Restored) error {
	if r.Replaced != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "what was there before is now %s\n", r.Replaced)
	}
	if _, err := os.Stat(filepath.Join(dataDir, signing.KeyFile)); err != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s has no %s: without that of the old host a new one is made, which proxies trust at once by ECDS alone\n", dataDir, signing.KeyFile)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "restored %s\nepoch       %d\ngeneration  %d\n", filepath.Join(dataDir, bolt.FileName), r.Epoch, r.Generation)
	return err
}
