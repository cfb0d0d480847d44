// Package demo runs the whole of Sallyport on one machine: the host, the filter
// in front of a small upstream, and policies to play with.
package demo

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/manifest"
	"sallyport/host/internal/model"
	"sallyport/host/internal/publish"
	"sallyport/host/internal/server"
	"sallyport/host/wasmhost"
)

//go:embed story.yaml
var story []byte

// storyFile is a copy of the story in the data directory, for the user to edit.
const storyFile = "story.yaml"

// The proxies that the demo can put in front of the upstream.
const (
	ProxyWazero = "wazero"
	ProxyEnvoy  = "envoy"
)

// Config configures a demo.
type Config struct {
	Host      server.Config
	ProxyAddr string
	Proxy     string // ProxyWazero or ProxyEnvoy
	Envoy     string // path of Envoy
	Instances int    // VMs of the filter in wazero
	Program   string // how the user calls this program
	Out       io.Writer
}

// Run runs the demo until ctx is done.
func Run(ctx context.Context, c Config) error {
	c.Out = &lockedWriter{w: c.Out}
	d := &demo{Config: c}
	err := d.run(ctx)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // ended before it was ready
	}
	return err
}

func (d *demo) run(ctx context.Context) error {
	if err := d.openHost(ctx); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.host.Run(ctx) })
	g.Go(func() error { return d.serve(ctx, g) })
	return g.Wait()
}

// lockedWriter takes whole lines from several goroutines.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer // guarded by mu
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

type demo struct {
	Config
	host        *server.Server
	credentials bool // the data directory has those of the first user

	mu     sync.Mutex
	latest *publish.Published // guarded by mu; what was published last
	pool   *wasmhost.Pool     // guarded by mu; nil before the proxy starts, and with Envoy
}

// openHost opens the host; a first start leaves its credentials in the data
// directory, where the command line looks for them.
func (d *demo) openHost(ctx context.Context) error {
	c := d.Config.Host
	c.InsecureDevIssuer = true
	show := c.FirstCredentials
	c.FirstCredentials = func(id, secret string) error {
		err := writeCredentials(c.DataDir, Credentials{"http://" + c.HTTPAddr, id, secret})
		if err == nil && show != nil {
			err = show(id, secret)
		}
		return err
	}
	c.Sinks = []publish.Sink{d.take}
	host, err := server.New(ctx, c)
	if err != nil {
		return explainListen(err)
	}
	d.host = host
	if d.credentials, err = moveCredentials(c.DataDir, "http://"+host.HTTPAddr()); err != nil {
		return errors.Join(err, host.Close())
	}
	return nil
}

// explainListen says what an address in use most likely means.
func explainListen(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "listen" {
		return fmt.Errorf("%w; is another demo or host running? --http, --xds and --listen choose other addresses", err)
	}
	return err
}

// serve starts the upstream and the proxy and tells the user what to try.
func (d *demo) serve(ctx context.Context, g *errgroup.Group) error {
	if err := d.applyStory(ctx); err != nil {
		return err
	}
	upstream, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	serveHTTP(ctx, g, newUpstream(), upstream, nil)
	start := d.startWazero
	if d.Proxy == ProxyEnvoy {
		start = d.startEnvoy
	}
	if err := start(ctx, g, upstream.Addr().String()); err != nil {
		return explainListen(err)
	}
	return d.tell(ctx)
}

// stopTimeout bounds how long open requests may take to end.
const stopTimeout = 2 * time.Second

// serveHTTP serves l until ctx is done. Then it calls stopped, which may be nil,
// with a context that bounds it.
func serveHTTP(ctx context.Context, g *errgroup.Group, s *http.Server, l net.Listener, stopped func(context.Context) error) {
	g.Go(func() error {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		var err error
		if s.Shutdown(stop) != nil {
			err = s.Close() // what is still open is cut
		}
		if stopped != nil {
			err = errors.Join(err, stopped(context.WithoutCancel(ctx)))
		}
		return err
	})
}

// applyStory puts the story's policies into a store that has none yet, and waits
// until they are published. In a store that was used before, what the user made
// of them stays.
func (d *demo) applyStory(ctx context.Context) error {
	revision, err := d.host.Directory().Load(ctx)
	if err != nil {
		return err
	}
	generation := revision.Generation
	used := func(p *model.Policy) bool { return !p.Reserved } // beside what a first start makes
	if !slices.ContainsFunc(revision.State.Policies, used) && len(revision.State.Groups) == 0 {
		docs, err := manifest.Parse(storyFile, story)
		if err != nil {
			return err
		}
		result, err := d.host.Directory().Apply(ctx, manifest.Entities(docs), directory.Options{Set: directory.DefaultSet})
		if err != nil {
			return manifest.Locate(docs, err)
		}
		generation = result.Generation
	}
	path := filepath.Join(d.Config.Host.DataDir, storyFile)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		if err := os.WriteFile(path, story, 0o644); err != nil {
			return err
		}
	}
	_, err = d.host.Publisher().Wait(ctx, generation)
	return err
}

// take is a publish.Sink: it configures the proxy in this process.
func (d *demo) take(ctx context.Context, p *publish.Published) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.latest = p
	if d.pool == nil {
		return nil
	}
	return d.configure(ctx, d.pool, p)
}

// logger returns the host's logger.
func (d *demo) logger() *slog.Logger { return d.Config.Host.Logger }
