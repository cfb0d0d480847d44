package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"sallyport/host/internal/envoyconfig"
)

// readyTimeout bounds the start of Envoy, which compiles the filter.
const readyTimeout = time.Minute

// startEnvoy serves the proxy by Envoy, which gets the filter by ECDS.
func (d *demo) startEnvoy(ctx context.Context, g *errgroup.Group, upstream string) error {
	admin, err := freeAddress()
	if err != nil {
		return err
	}
	bootstrap, err := envoyconfig.ECDS(envoyconfig.Options{
		Listen: d.ProxyAddr, Admin: admin, Upstream: upstream,
		Host: d.host.HTTPAddr(), XDS: d.host.XDSAddr(), ModulePath: d.host.ModuleFile(), Keys: []string{d.host.TrustedKey()},
	})
	if err != nil {
		return err
	}
	path := filepath.Join(d.Config.Host.DataDir, "envoy.yaml")
	if err := os.WriteFile(path, []byte(bootstrap), 0o600); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(d.Config.Host.DataDir, "envoy.log"))
	if err != nil {
		return err
	}
	fmt.Fprintf(d.Out, "Starting %s (its log is %s) ...\n", d.Envoy, log.Name())
	cmd := exec.CommandContext(ctx, d.Envoy, "-c", path, "--use-dynamic-base-id", "--concurrency", "2")
	cmd.Stdout, cmd.Stderr = d.Out, log // the access log comes on standard output
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		return errors.Join(err, log.Close())
	}
	ended := make(chan struct{})
	g.Go(func() error {
		err := cmd.Wait()
		close(ended)
		if ctx.Err() != nil {
			err = nil // we ended it
		} else if err == nil {
			err = errors.New("it ended by itself")
		}
		if err != nil {
			err = fmt.Errorf("envoy: %w; its log is %s", err, log.Name())
		}
		return errors.Join(err, log.Close())
	})
	return awaitReady(ctx, "http://"+admin+"/ready", ended)
}

// awaitReady waits until Envoy says that it is.
func awaitReady(ctx context.Context, url string, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			text, _ := io.ReadAll(io.LimitReader(resp.Body, 64)) // of no use if it can't be read
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK && strings.HasPrefix(string(text), "LIVE") {
				return nil
			}
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ended:
			<-ctx.Done() // who waits for the process says why
			return ctx.Err()
		case <-ctx.Done():
			return fmt.Errorf("envoy was not ready: %w", ctx.Err())
		}
	}
}

// freeAddress returns a loopback address that nobody uses now.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
