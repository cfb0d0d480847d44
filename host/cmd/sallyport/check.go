package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/tidwall/gjson"

	"sallyport/host/internal/check"
	"sallyport/host/internal/compile"
	"sallyport/host/internal/manifest"
	"sallyport/host/internal/model"
	"sallyport/host/internal/server"
	"sallyport/policydata"
)

// wantPolicies says what -f takes.
const wantPolicies = "policy files or directories, - for standard input"

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
	explain bool
}

func newCheck() *cobra.Command {
	var f checkFlags
	cmd := &cobra.Command{
		Use:   "check -f PATH... --method GET --path /x [--claims '{...}' | --token JWT]",
		Short: "Decide a request offline, from policy files",
		Long: `Decide a request as a proxy with these policies would. With --claims the checks of a
token are skipped; with --token it is verified; with neither the request has no token.
With --explain it says how it decided: what the token said, which policies counted and
through what, what kept each rule from matching, and what would have to change.
Exit code 0: allowed, 1: denied, 2: error; with --batch 0 unless there is an error.`,
		Args: noArgs,
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
	fl.BoolVar(&f.explain, "explain", false, "say how it was decided; as a text for people unless -o says otherwise")
	return cmd
}

func (f *checkFlags) run(cmd *cobra.Command) error {
	if err := f.check(cmd); err != nil {
		return err
	}
	now, err := f.clock()
	if err != nil {
		return err
	}
	checks := server.Checks()
	checks.WithoutKeys = true // a token of such an issuer has no key that fits
	source, err := offlineSource(cmd, f.files, checks)
	if err != nil {
		return err
	}
	if len(source.Issuers) == 0 && (f.batch != "" || f.claims != "" || f.token != "") {
		fmt.Fprintln(cmd.ErrOrStderr(), "note: the files have no Issuer, and without one no claims and no token are good")
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
	if f.explain {
		return f.runExplain(cmd, engine, q)
	}
	d, err := engine.Decide(cmd.Context(), q)
	if err != nil {
		return err
	}
	if err := printAs(cmd.OutOrStdout(), f.output, d, func(w io.Writer) error { return printDecision(w, d) }); err != nil {
		return err
	}
	return errUnlessAllowed(d)
}

// errUnlessAllowed returns the error that makes the exit code of a denial.
func errUnlessAllowed(decision json.RawMessage) error {
	if gjson.GetBytes(decision, "decision").Str != "allow" {
		return errNo
	}
	return nil
}

// check says what does not fit together, before anything is read.
func (f *checkFlags) check(cmd *cobra.Command) error {
	if err := required(cmd, "filename", wantPolicies); err != nil {
		return err
	}
	if f.explain && f.engine != "go" {
		return usageError(cmd, "--explain does not go with --engine "+f.engine+": "+check.ErrNoExplanation.Error())
	}
	if f.batch == "" {
		if f.path == "" {
			return usageError(cmd, "want --path, or --batch")
		}
		return checkForm(f.output)
	}
	for _, name := range []string{"path", "method", "host", "header", "claims", "token"} {
		if cmd.Flag(name).Changed {
			return usageError(cmd, "--"+name+" does not go with --batch, whose file has the requests")
		}
	}
	if f.output != formJSON {
		return usageError(cmd, "--batch prints a JSON object a line, and nothing else")
	}
	if f.batch == manifest.Stdin && slices.Contains(f.files, manifest.Stdin) {
		return usageError(cmd, "standard input can't be both policies and requests")
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
		return wasmEngine(ctx, source, now)
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
	claims := strings.TrimSpace(f.claims)
	if claims != "" && !json.Valid([]byte(claims)) {
		return nil, errors.New("--claims: not JSON")
	}
	q := &check.Query{
		Claims: json.RawMessage(claims), Token: f.token,
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
	return eachLine(cmd, f.batch, func(line []byte) (any, error) {
		q, err := check.ParseQuery(line)
		if err != nil {
			return nil, err
		}
		q.Explain = q.Explain || f.explain
		return engine.Decide(cmd.Context(), q)
	})
}

// offlineSource reads policy files as a store would take them, and returns what
// their snapshot is built from.
func offlineSource(cmd *cobra.Command, paths []string, checks model.Checks) (policydata.Source, error) {
	_, state, err := offlineState(cmd, paths, checks)
	if err != nil {
		return policydata.Source{}, err
	}
	return compile.New().Source(state, compile.Version{})
}

// offlineSnapshot returns the snapshot of policy files, of which nothing is asked
// that needs their issuers' keys.
func offlineSnapshot(cmd *cobra.Command, paths []string) (*policydata.Snapshot, error) {
	checks := server.Checks()
	checks.WithoutKeys = true
	source, err := offlineSource(cmd, paths, checks)
	if err != nil {
		return nil, err
	}
	return check.Load(source)
}

// offlineState reads policy files as an empty store would take them.
func offlineState(cmd *cobra.Command, paths []string, checks model.Checks) ([]manifest.Document, *model.State, error) {
	files, err := manifest.ReadFiles(cmd.InOrStdin(), paths...)
	if err != nil {
		return nil, nil, err
	}
	docs, err := manifest.ParseFiles(files)
	if err != nil {
		return nil, nil, err
	}
	entities := manifest.Entities(docs)
	state := (&model.State{}).With(entities)
	if err := state.Check(entities, checks); err != nil {
		return nil, nil, manifest.Locate(docs, err)
	}
	return docs, state, nil
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
