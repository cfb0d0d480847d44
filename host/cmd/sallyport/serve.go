package main

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/host"
	"sallyport/host/internal/filterwasm"
	"sallyport/host/internal/keyfetch"
)

func newServe() *cobra.Command {
	var c host.Config
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the control service",
		Long: `Run the control service: the API on HTTP, and ECDS on xDS, by which Envoy gets the
filter with the policy snapshot. The first start prints the first credentials, once.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			module, err := filterwasm.Module()
			if err != nil {
				return err
			}
			c.Module = module
			c.Logger = newLogger(cmd.ErrOrStderr())
			c.FirstCredentials = func(id, secret string) error { return printCredentials(cmd.OutOrStdout(), id, secret) }
			s, err := host.New(cmd.Context(), c)
			if err != nil {
				return err
			}
			c.Logger.Info("serving", "http", s.HTTPAddr(), "xds", s.XDSAddr(), "data", c.DataDir)
			return s.Run(cmd.Context())
		},
	}
	addServerFlags(cmd, &c)
	f := cmd.Flags()
	f.StringVar(&c.TLSCertFile, "tls-cert", "", "PEM file of the certificate for both addresses; read again when it changes")
	f.StringVar(&c.TLSKeyFile, "tls-key", "", "PEM file of its key")
	f.StringVar(&c.ClientCAFile, "client-ca", "",
		"PEM file of authorities; proxies must show a certificate of them, or a token (sallyport proxies token create)")
	f.BoolVar(&c.RequireProxyAuth, "require-proxy-auth", false,
		"proxies on this machine must prove who they are, too, as all others must: by a token or a certificate")
	f.DurationVar(&c.SnapshotMaxAge, "snapshot-max-age", 0,
		"for how long proxies go by what was pushed last, such as 10m; then they answer 503 until the host is back; 0: for ever")
	f.BoolVar(&c.InsecureDevIssuer, "insecure-dev-issuer", false,
		"trust tokens of the development issuer (sallyport token mint), whose key lies in the data directory")
	return cmd
}

// addServerFlags adds the flags that serve and demo share.
func addServerFlags(cmd *cobra.Command, c *host.Config) {
	f := cmd.Flags()
	f.StringVar(&c.DataDir, "data-dir", defaultDataDir, "directory of the store and the keys")
	f.StringVar(&c.HTTPAddr, "http", defaultHTTPAddr, "address of the API")
	f.StringVar(&c.XDSAddr, "xds", defaultXDSAddr, "address of xDS")
	f.IntVar(&c.Audit.Records, "audit-records", 100_000, "how many audit records are kept; 0: all")
	f.DurationVar(&c.Audit.Age, "audit-age", 400*24*time.Hour, "for how long audit records are kept; 0: for ever")
	f.BoolVar(&c.IdentityHeaders, "identity-headers", false,
		"have proxies send x-sallyport-user, -groups and -generation to the upstream")
	f.BoolVar(&c.IssuerAllowHTTP, strings.TrimPrefix(keyfetch.AllowHTTPFlag, "--"), false,
		"fetch the keys of issuers by http, too: whoever is in between can then sign tokens")
	f.BoolVar(&c.IssuerAllowPrivate, strings.TrimPrefix(keyfetch.AllowPrivateFlag, "--"), false,
		"fetch the keys of issuers from loopback and private addresses, too")
	f.StringVar(&c.IssuerCAFile, strings.TrimPrefix(keyfetch.CAFileFlag, "--"), "",
		"PEM file of certificate authorities that issuers' certificates may be of, beside the system's")
	f.BoolVar(&c.RemoveToken, "remove-token", false, "have proxies take the token off what goes to the upstream")
}

func newLogger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, nil))
}

// printCredentials shows the first access key as lines for a shell.
func printCredentials(w io.Writer, id, secret string) error {
	return printExports(w, "# The first credentials. They are shown this once; keep them.", id, secret)
}

func printExports(w io.Writer, comment, id, secret string) error {
	_, err := fmt.Fprintf(w, "%s\nexport SALLYPORT_ACCESS_KEY_ID=%s\nexport SALLYPORT_SECRET_ACCESS_KEY=%s\n", comment, id, secret)
	return err
}
