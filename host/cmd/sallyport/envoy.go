package main

import (
	"encoding/base64"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"sallyport/host/internal/envoyconfig"
	"sallyport/host/internal/filterwasm"
	"sallyport/host/internal/server"
	"sallyport/host/internal/signing"
)

func newEnvoy() *cobra.Command {
	return newGroup("envoy", "Configure Envoy", newEnvoyConfig())
}

func newEnvoyConfig() *cobra.Command {
	var o envoyconfig.Options
	var push, dataDir, snapshot string
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print a bootstrap for Envoy",
		Long: `Print a whole bootstrap: with --push ecds the filter's configuration comes from the
host, with the snapshot in it, over xDS; with --push poll it is in the bootstrap, and the
filter polls the host for snapshots; with --push static it is in the bootstrap together
with the snapshot of --snapshot, and no host is needed.
What the bootstrap refers to is put into the data directory if it is not there yet: the
key that signs snapshots, and the filter.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			key, err := signing.Open(dataDir)
			if err != nil {
				return err
			}
			o.Keys = []string{base64.StdEncoding.EncodeToString(key.SPKI())}
			text, err := renderEnvoy(cmd, &o, push, snapshot)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), text)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&push, "push", "ecds", "ecds, poll or static")
	f.StringVar(&dataDir, "data-dir", defaultDataDir, "directory of the key that signs snapshots")
	f.StringVar(&snapshot, "snapshot", "", "signed snapshot for --push static, and for --push poll while the host is away (sallyport snapshot build)")
	f.StringVar(&o.NodeID, "node-id", envoyconfig.DefaultNodeID, "what the proxy calls itself")
	f.StringVar(&o.Listen, "listen", envoyconfig.DefaultListen, "address that Envoy listens on")
	f.StringVar(&o.Admin, "admin", envoyconfig.DefaultAdmin, "address of Envoy's admin interface")
	f.StringVar(&o.Upstream, "upstream", envoyconfig.DefaultUpstream, "host:port of the upstream")
	f.StringVar(&o.Host, "host", envoyconfig.DefaultHost, "host:port of the host's HTTP service")
	f.StringVar(&o.XDS, "xds", envoyconfig.DefaultXDS, "host:port of the host's xDS")
	f.StringVar(&o.HostCA, "host-ca", "", "PEM file on Envoy's machine of the authorities of the host's certificate; without it, no TLS to the host")
	f.StringVar(&o.Cert, "cert", "", "PEM file on Envoy's machine of the certificate that it shows to the host")
	f.StringVar(&o.Key, "key", "", "PEM file of its key")
	f.StringVar(&o.ModulePath, "module", "", "path of the filter on Envoy's machine (default: the one in the data directory)")
	return cmd
}

func renderEnvoy(cmd *cobra.Command, o *envoyconfig.Options, push, snapshot string) (string, error) {
	if o.ModulePath == "" {
		module, err := filterwasm.Module()
		if err != nil {
			return "", err
		}
		if o.ModulePath, err = server.WriteModule(cmd.Flag("data-dir").Value.String(), module); err != nil {
			return "", err
		}
	}
	if snapshot != "" {
		b, err := os.ReadFile(snapshot)
		if err != nil {
			return "", err
		}
		o.Snapshot = b
	}
	switch push {
	case "ecds":
		return envoyconfig.ECDS(*o)
	case "poll":
		return envoyconfig.Poll(*o)
	case "static":
		return envoyconfig.Static(*o)
	}
	return "", fmt.Errorf("--push %q: there are ecds, poll and static", push)
}
