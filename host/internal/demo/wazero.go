package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/tidwall/gjson"
	"golang.org/x/sync/errgroup"

	"sallyport/host/internal/envoyconfig"
	"sallyport/host/internal/publish"
	"sallyport/host/wasmhost"
	"sallyport/policydata/pluginconfig"
)

// cacheDir keeps the filter's machine code, below the data directory.
const cacheDir = "wazero-cache"

// startWazero serves the proxy by the filter in wazero.
func (d *demo) startWazero(ctx context.Context, g *errgroup.Group, upstream string) error {
	l, err := net.Listen("tcp", d.ProxyAddr)
	if err != nil {
		return fmt.Errorf("proxy address: %w", err)
	}
	d.ProxyAddr = l.Addr().String()
	rt, err := wasmhost.NewRuntime(ctx, wasmhost.Options{
		CacheDir: filepath.Join(d.Config.Host.DataDir, cacheDir),
		Logger:   d.logger(),
		Clusters: map[string]wasmhost.Cluster{
			envoyconfig.HostCluster: {URL: &url.URL{Scheme: "http", Host: d.host.HTTPAddr()}},
		},
	})
	if err != nil {
		return errors.Join(err, l.Close())
	}
	proxy, err := d.newProxy(ctx, rt, upstream)
	if err != nil {
		return errors.Join(err, l.Close(), rt.Close(context.WithoutCancel(ctx)))
	}
	serveHTTP(ctx, g, wasmhost.NewServer(proxy), l, func(ctx context.Context) error {
		return errors.Join(d.stopPool(ctx), rt.Close(ctx))
	})
	return nil
}

func (d *demo) newProxy(ctx context.Context, rt *wasmhost.Runtime, upstream string) (http.Handler, error) {
	module, err := d.compile(ctx, rt)
	if err != nil {
		return nil, err
	}
	pool, err := d.startPool(ctx, module)
	if err != nil {
		return nil, err
	}
	return wasmhost.NewReverseProxy(pool, &url.URL{Scheme: "http", Host: upstream},
		wasmhost.ProxyOptions{Logger: d.logger(), Observe: d.observe})
}

// startPool starts the filter with what is published; what is published from
// then on reaches it by take.
func (d *demo) startPool(ctx context.Context, module *wasmhost.Module) (*wasmhost.Pool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	pool, err := wasmhost.NewPool(ctx, module, d.host.PluginConfiguration(d.latest), d.Instances)
	d.pool = pool
	return pool, err
}

// stopPool ends the filter's instances. What is pushed from then on goes nowhere.
func (d *demo) stopPool(ctx context.Context) error {
	d.mu.Lock()
	pool := d.pool
	d.pool = nil
	d.mu.Unlock()
	return pool.Close(ctx)
}

// compile translates the filter to machine code, which takes seconds the first
// time, and shows that it does.
func (d *demo) compile(ctx context.Context, rt *wasmhost.Runtime) (*wasmhost.Module, error) {
	fmt.Fprint(d.Out, "Compiling the filter (some seconds the first time) ")
	start := time.Now()
	done := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-time.After(500 * time.Millisecond):
				fmt.Fprint(d.Out, ".")
			case <-done:
				return
			}
		}
	}()
	module, err := rt.Compile(ctx, d.Config.Host.Module)
	close(done)
	<-stopped
	if err != nil {
		fmt.Fprintln(d.Out)
	} else {
		fmt.Fprintf(d.Out, " ready after %s\n", time.Since(start).Round(10*time.Millisecond))
	}
	return module, err
}

// configure pushes a snapshot to the pool. What the filter refuses changes
// nothing, as in Envoy.
func (d *demo) configure(ctx context.Context, pool *wasmhost.Pool, p *publish.Published) error {
	if err := pool.Configure(ctx, d.host.PluginConfiguration(p)); err != nil {
		return fmt.Errorf("the filter refused it; the one before stays in force: %w", err)
	}
	fmt.Fprintf(d.Out, "-- the proxy enforces generation %d\n", p.Version.Generation)
	return nil
}

// observe prints a line a decision.
func (d *demo) observe(r *http.Request, result wasmhost.Result) {
	v := gjson.Parse(result.FilterState[pluginconfig.FilterState])
	who := v.Get("user").Str
	if who == "" {
		who = "-"
	}
	rule := v.Get("policy").Str
	if rule != "" {
		rule += "/" + v.Get("rule").Str
	}
	fmt.Fprintf(d.Out, "%s  %-6s %-40q %d %s  user=%q %s\n", time.Now().Format(time.TimeOnly),
		r.Method, pathOf(r.RequestURI), v.Get("status").Int(), v.Get("reason").Str, who, rule)
}

// pathOf returns a request's target without its query, where some clients put
// tokens.
func pathOf(target string) string {
	path, _, _ := strings.Cut(target, "?")
	return path
}
