package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/tidwall/gjson"

	"sallyport/host/internal/check"
	"sallyport/host/internal/compile"
	"sallyport/host/internal/filterwasm"
	"sallyport/host/internal/manifest"
	"sallyport/host/internal/model"
	"sallyport/host/internal/server"
	"sallyport/policydata"
)

// maxBatchLine bounds a line of a batch.
const maxBatchLine = 1 << 20

// checkFlags are the flags of check.
type checkFlags struct {
	files   []string
	claims  string
	token   string
	method  string
	path    string
	host    string
	headers []string
	now     string
	batch   string
	engine  string
	output  string
}

func newCheck() *cobra.Command {
	var f checkFlags
	cmd := &cobra.Command{
		Use:   "check -f PATH... --method GET --path /x [--claims '{...}' | --token JWT]",
		Short: "Decide a request offline, from policy files",
		Long: `Decide a request as a proxy with these policies would. With --claims the checks of a
token are skipped; with --token it is verified; with neither the request has no token.
Exit code 0: allowed, 1: denied, 2: error; with --batch 0 unless there is an error.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fl := cmd.Flags()
	fl.StringArrayVarP(&f.files, "filename", "f", nil, "policy file or directory, - for standard input; may be repeated")
	fl.StringVar(&f.claims, "claims", "", "claims of a token, as JSON")
	fl.StringVar(&f.token, "token", "", "a token")
	fl.StringVar(&f.method, "method", "GET", "method")
	fl.StringVar(&f.path, "path", "", "raw path, with the query if there is one")
	fl.StringVar(&f.host, "host", "", "host")
	fl.StringArrayVar(&f.headers, "header", nil, "header as name=value; may be repeated")
	fl.StringVar(&f.now, "now", "", "decide as at this time (RFC 3339)")
	fl.StringVar(&f.batch, "batch", "", `file of requests, one JSON object a line: {"claims":{},"token":"","method":"","path":"","host":"","headers":{}}`)
	fl.StringVar(&f.engine, "engine", "go", "go, or wasm: the filter itself")
	fl.StringVarP(&f.output, "output", "o", formJSON, "json, yaml or table")
	_ = cmd.MarkFlagRequired("filename") // it exists
	return cmd
}

func (f *checkFlags) run(cmd *cobra.Command) error {
	if f.batch != "" && (f.path != "" || f.claims != "" || f.token != "" || len(f.headers) > 0) {
		return errors.New("--batch stands alone: the requests are in its file")
	}
	now, err := f.clock()
	if err != nil {
		return err
	}
	source, err := offlineSource(cmd.InOrStdin(), f.files)
	if err != nil {
		return err
	}
	engine, err := f.newEngine(cmd.Context(), source, now)
	if err != nil {
		return err
	}
	defer engine.Close(context.WithoutCancel(cmd.Context()))
	if f.batch != "" {
		return f.runBatch(cmd, engine)
	}
	q, err := f.query()
	if err != nil {
		return err
	}
	d, err := engine.Decide(cmd.Context(), q)
	if err != nil {
		return err
	}
	if err := printAs(cmd.OutOrStdout(), f.output, d, func(w io.Writer) error { return printDecision(w, d) }); err != nil {
		return err
	}
	if gjson.GetBytes(d, "decision").Str != "allow" {
		return errNo
	}
	return nil
}

func (f *checkFlags) clock() (func() time.Time, error) {
	if f.now == "" {
		return time.Now, nil
	}
	at, err := time.Parse(time.RFC3339, f.now)
	if err != nil {
		return nil, fmt.Errorf("--now %q: want a time as in RFC 3339, such as 2026-11-01T12:00:00Z", f.now)
	}
	return func() time.Time { return at }, nil
}

func (f *checkFlags) newEngine(ctx context.Context, source policydata.Source, now func() time.Time) (check.Engine, error) {
	switch f.engine {
	case "go":
		snapshot, err := check.Load(source)
		if err != nil {
			return nil, err
		}
		return check.NewGo(snapshot, now)
	case "wasm":
		module, err := filterwasm.Module()
		if err != nil {
			return nil, err
		}
		return check.NewWasm(ctx, source, check.WasmOptions{Module: module, CacheDir: wasmCacheDir(), Now: now})
	}
	return nil, fmt.Errorf("--engine %q: there are go and wasm", f.engine)
}

// wasmCacheDir is where compiled filters are kept between runs: the user's cache
// directory, which nobody else may write to.
func wasmCacheDir() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "sallyport", "wazero")
}

func (f *checkFlags) query() (*check.Query, error) {
	if f.path == "" {
		return nil, errors.New("--path is required, or --batch")
	}
	if f.claims != "" && !json.Valid([]byte(f.claims)) {
		return nil, errors.New("--claims: not JSON")
	}
	q := &check.Query{
		Claims: json.RawMessage(f.claims), Token: f.token,
		Method: f.method, Path: f.path, Host: f.host, Headers: check.Headers{},
	}
	for _, h := range f.headers {
		name, value, ok := strings.Cut(h, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--header %q: want name=value", h)
		}
		q.Headers[name] = append(q.Headers[name], value)
	}
	return q, nil
}

func (f *checkFlags) runBatch(cmd *cobra.Command, engine check.Engine) error {
	r, err := openInput(cmd.InOrStdin(), f.batch)
	if err != nil {
		return err
	}
	defer r.Close()
	out := bufio.NewWriter(cmd.OutOrStdout())
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxBatchLine)
	n := 0
	for lines.Scan() {
		n++
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		d, err := decideLine(cmd.Context(), engine, lines.Bytes())
		if err != nil {
			_ = out.Flush() // what was decided so far stands
			return fmt.Errorf("%s:%d: %w", f.batch, n, err)
		}
		if _, err := out.Write(append(d, '\n')); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s:%d: %w", f.batch, n+1, err)
	}
	return out.Flush()
}

func decideLine(ctx context.Context, engine check.Engine, line []byte) (json.RawMessage, error) {
	var q check.Query
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&q); err != nil {
		return nil, err
	}
	return engine.Decide(ctx, &q)
}

// openInput opens a file, or standard input for "-".
func openInput(stdin io.Reader, path string) (io.ReadCloser, error) {
	if path == manifest.Stdin {
		return io.NopCloser(stdin), nil
	}
	return os.Open(path)
}

// offlineSource reads policy files as a store would take them, and returns what
// their snapshot is built from.
func offlineSource(stdin io.Reader, paths []string) (policydata.Source, error) {
	files, err := manifest.ReadFiles(stdin, paths...)
	if err != nil {
		return policydata.Source{}, err
	}
	docs, err := manifest.ParseFiles(files)
	if err != nil {
		return policydata.Source{}, err
	}
	entities := manifest.Entities(docs)
	state := (&model.State{}).With(entities)
	if err := state.Check(entities, server.Checks()); err != nil {
		return policydata.Source{}, manifest.Locate(docs, err)
	}
	return compile.New().Source(state, compile.Version{})
}

// printDecision writes a decision for people.
func printDecision(w io.Writer, d json.RawMessage) error {
	v := gjson.ParseBytes(d)
	_, err := fmt.Fprintf(w, "%s  %d %s\n", strings.ToUpper(v.Get("decision").Str), v.Get("status").Int(), v.Get("reason").Str)
	for _, name := range []string{"gate", "policy", "rule", "user", "service"} {
		if err == nil && v.Get(name).Str != "" {
			_, err = fmt.Fprintf(w, "  %-8s %s\n", name, v.Get(name).Str)
		}
	}
	v.Get("captures").ForEach(func(name, value gjson.Result) bool {
		if err == nil {
			_, err = fmt.Fprintf(w, "  %-8s %s=%s\n", "capture", name.Str, value.Str)
		}
		return true
	})
	return err
}
