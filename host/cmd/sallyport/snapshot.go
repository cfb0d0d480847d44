package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"sallyport/host/internal/server"
	"sallyport/host/internal/signing"
	"sallyport/policydata"
)

func newSnapshot() *cobra.Command {
	return newGroup("snapshot", "Build, show and verify snapshots", newSnapshotBuild(), newSnapshotShow(), newSnapshotVerify())
}

func newSnapshotBuild() *cobra.Command {
	var files []string
	var dataDir, out string
	var generation uint64
	cmd := &cobra.Command{
		Use:   "build -f PATH... -o FILE",
		Short: "Build a signed snapshot from policy files, for static use",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := required(cmd, "filename", wantPolicies); err != nil {
				return err
			}
			if err := required(cmd, "out", "the file to write, - for standard output"); err != nil {
				return err
			}
			source, err := offlineSource(cmd, files, server.Checks())
			if err != nil {
				return err
			}
			source.Epoch, source.Generation, source.Created = 1, generation, time.Now().Unix()
			body, err := policydata.Build(source)
			if err != nil {
				return err
			}
			key, err := signing.Open(dataDir)
			if err != nil {
				return err
			}
			signed, err := key.Sign(body)
			if err != nil {
				return err
			}
			if out == "-" {
				_, err = cmd.OutOrStdout().Write(signed)
				return err
			}
			return os.WriteFile(out, signed, 0o644)
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&files, "filename", "f", nil, "policy file or directory, - for standard input; may be repeated")
	f.StringVarP(&out, "out", "o", "", "file to write, - for standard output")
	f.StringVar(&dataDir, "data-dir", defaultDataDir, "directory of the signing key, which is made if there is none")
	f.Uint64Var(&generation, "generation", 1, "the snapshot's generation; a proxy takes none that is lower than what it has")
	return cmd
}

// snapshotInfo is what snapshot show prints.
type snapshotInfo struct {
	Epoch      string            `json:"epoch"`
	Generation string            `json:"generation"`
	Created    string            `json:"created"`
	Expires    string            `json:"expires,omitempty"`
	Bytes      int               `json:"bytes"`
	KeyID      string            `json:"keyId"`
	Counts     policydata.Counts `json:"counts"`
	Issuers    []issuerInfo      `json:"issuers"`
}

type issuerInfo struct {
	Name       string   `json:"name"`
	Issuer     string   `json:"issuer"`
	Audiences  []string `json:"audiences"`
	Algorithms []string `json:"algorithms"`
	Keys       []string `json:"keys"`
}

func newSnapshotShow() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "show FILE",
		Short: "Show what a snapshot holds, without checking its signature",
		Args:  oneFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkForm(output); err != nil {
				return err
			}
			s, err := readSnapshot(cmd.InOrStdin(), args[0], func(_, _ []byte) error { return nil })
			if err != nil {
				return err
			}
			info := describe(s)
			return printAs(cmd.OutOrStdout(), output, info, func(w io.Writer) error { return printSnapshot(w, info) })
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", formTable, "table, json or yaml")
	return cmd
}

func describe(s *policydata.Snapshot) snapshotInfo {
	at := func(seconds int64) string {
		if seconds == 0 {
			return ""
		}
		return time.Unix(seconds, 0).UTC().Format(time.RFC3339)
	}
	info := snapshotInfo{
		Epoch: strconv.FormatUint(s.Epoch(), 10), Generation: strconv.FormatUint(s.Generation(), 10),
		Created: at(s.Created()), Expires: at(s.Expires()),
		Bytes: s.Size(), KeyID: s.KeyID(), Counts: s.Counts(), Issuers: []issuerInfo{},
	}
	for _, i := range s.Issuers() {
		entry := issuerInfo{Name: i.Name, Issuer: i.Issuer, Audiences: i.Audiences, Algorithms: i.Algorithms, Keys: []string{}}
		for _, k := range i.Keys {
			entry.Keys = append(entry.Keys, k.ID)
		}
		info.Issuers = append(info.Issuers, entry)
	}
	return info
}

func printSnapshot(w io.Writer, i snapshotInfo) error {
	c := i.Counts
	_, err := fmt.Fprintf(w, "generation %s.%s, created %s, %d bytes, signed by key %s\n"+
		"%d policies with %d rules and %d paths, %d users, %d groups, %d roles, %d services\n",
		i.Epoch, i.Generation, i.Created, i.Bytes, i.KeyID,
		c.Policies, c.Rules, c.Paths, c.Users, c.Groups, c.Roles, c.Services)
	for _, x := range i.Issuers {
		if err == nil {
			_, err = fmt.Fprintf(w, "issuer %s: %s, audiences %v, algorithms %v, %d keys %v\n", x.Name, x.Issuer, x.Audiences, x.Algorithms, len(x.Keys), x.Keys)
		}
	}
	return err
}

func newSnapshotVerify() *cobra.Command {
	var dataDir, key string
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Check a snapshot as a proxy would: signature and every byte",
		Long:  "Exit code 0: a proxy with this key would take it, 1: it would not, 2: error.",
		Args:  oneFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			verify, err := verifier(dataDir, key)
			if err != nil {
				return err
			}
			s, err := readSnapshot(cmd.InOrStdin(), args[0], verify)
			var format *policydata.FormatError
			if errors.Is(err, policydata.ErrSignature) || errors.As(err, &format) {
				fmt.Fprintln(cmd.OutOrStdout(), "refused: "+err.Error())
				return errNo
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "ok: generation %d.%d\n", s.Epoch(), s.Generation())
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&key, "key", "", "public key, as in trusted_keys of a filter's configuration; without it, that of the data directory")
	f.StringVar(&dataDir, "data-dir", defaultDataDir, "directory of the signing key")
	return cmd
}

func verifier(dataDir, key string) (policydata.VerifyFunc, error) {
	if key == "" {
		k, err := signing.Read(dataDir)
		if err != nil {
			return nil, fmt.Errorf("%w; give --key or --data-dir", err)
		}
		return signing.Verifier(k.SPKI())
	}
	spki, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		return nil, errors.New("--key: not base64")
	}
	verify, err := signing.Verifier(spki)
	if err != nil {
		return nil, fmt.Errorf("--key: %w", err)
	}
	return verify, nil
}

func readSnapshot(stdin io.Reader, path string, verify policydata.VerifyFunc) (*policydata.Snapshot, error) {
	r, err := openInput(stdin, path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, policydata.MaxSnapshotBytes+1))
	if err != nil {
		return nil, err
	}
	return policydata.Load(b, verify)
}
