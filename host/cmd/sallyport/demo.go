package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"

	"sallyport/host/internal/demo"
	"sallyport/host/internal/filterwasm"
)

func newDemo() *cobra.Command {
	var c demo.Config
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run everything on this machine: host, proxy with the filter, upstream, policies",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			module, err := filterwasm.Module()
			if err != nil {
				return err
			}
			if c.Proxy != demo.ProxyWazero && c.Proxy != demo.ProxyEnvoy {
				return fmt.Errorf("--proxy %q: there are wazero and envoy", c.Proxy)
			}
			if c.Proxy == demo.ProxyEnvoy {
				if c.Envoy, err = findEnvoy(); err != nil {
					return err
				}
			}
			if c.Instances < 1 {
				return errors.New("--instances: want 1 or more")
			}
			c.Host.Module = module
			c.Host.FirstCredentials = func(id, secret string) error { return printCredentials(cmd.OutOrStdout(), id, secret) }
			c.Host.Logger = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
			c.Program = os.Args[0]
			c.Out = cmd.OutOrStdout()
			return demo.Run(cmd.Context(), c)
		},
	}
	addServerFlags(cmd, &c.Host)
	f := cmd.Flags()
	f.StringVar(&c.ProxyAddr, "listen", defaultProxyAddr, "address of the proxy")
	f.StringVar(&c.Proxy, "proxy", demo.ProxyWazero, "wazero or envoy")
	f.IntVar(&c.Instances, "instances", max(2, runtime.GOMAXPROCS(0)), "instances of the filter in wazero")
	return cmd
}

// builtEnvoy is where make envoy puts Envoy.
var builtEnvoy = filepath.Join("build", "envoy-1.40.0", "envoy")

// findEnvoy returns $ENVOY, the one that make envoy fetched, or one in PATH.
func findEnvoy() (string, error) {
	if path := os.Getenv("ENVOY"); path != "" {
		return path, nil
	}
	if path, err := filepath.Abs(builtEnvoy); err == nil {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath("envoy")
	if err != nil {
		return "", errors.New("no Envoy: make envoy fetches one, or set ENVOY to the path of yours")
	}
	return path, nil
}
