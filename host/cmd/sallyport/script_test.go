package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"sallyport/host/internal/devissuer"
	"sallyport/host/internal/jwks"
)

// hostKey is where a script's environment has its host.
type hostKey struct{}

// runningHost is a host that a script started.
type runningHost struct {
	cancel context.CancelFunc // nil while none runs
	code   chan int
	out    *watchedBuffer
	err    *watchedBuffer
}

var (
	servingHTTP = regexp.MustCompile(`msg=serving http=(\S+)`)
	exported    = regexp.MustCompile(`(?m)^export (SALLYPORT_\w+)=(\S+)$`)
)

func serve(ts *testscript.TestScript, neg bool, args []string) {
	h := ts.Value(hostKey{}).(*runningHost)
	if h.cancel != nil {
		ts.Fatalf("a host is running")
	}
	ctx, cancel := context.WithCancel(context.Background())
	h.code = make(chan int, 1)
	h.out = &watchedBuffer{seen: make(chan struct{}), want: "SALLYPORT_SECRET_ACCESS_KEY"}
	h.err = &watchedBuffer{seen: make(chan struct{}), want: "msg=published"}
	args = append([]string{"serve", "--data-dir", ts.MkAbs("data"), "--http", "127.0.0.1:0", "--xds", "127.0.0.1:0"}, args...)
	go func() { h.code <- run(ctx, args, strings.NewReader(""), h.out, h.err) }()
	select {
	case <-h.err.seen:
	case code := <-h.code:
		cancel()
		if !neg {
			ts.Fatalf("serve ended with %d: %s", code, h.err)
		}
		writeFile(ts, "serve.err", h.err.String())
		return
	}
	h.cancel = cancel
	ts.Defer(func() { end(h) })
	if neg {
		ts.Fatalf("serve started")
	}
	scheme := "http://"
	if slices.Contains(args, "--tls-cert") {
		scheme = "https://"
	}
	ts.Setenv("SALLYPORT_SERVER", scheme+servingHTTP.FindStringSubmatch(h.err.String())[1])
	for _, m := range exported.FindAllStringSubmatch(h.out.String(), -1) {
		ts.Setenv(m[1], m[2])
	}
}

// end ends a host and returns its exit code.
func end(h *runningHost) int {
	if h.cancel == nil {
		return exitYes
	}
	h.cancel()
	h.cancel = nil
	return <-h.code
}

func stop(ts *testscript.TestScript, _ bool, _ []string) {
	h := ts.Value(hostKey{}).(*runningHost)
	if code := end(h); code != exitYes {
		ts.Fatalf("serve ended with %d: %s", code, h.err)
	}
	writeFile(ts, "serve.out", h.out.String())
	writeFile(ts, "serve.err", h.err.String())
}

func writeFile(ts *testscript.TestScript, name, text string) {
	ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o600))
}

func ask(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: http METHOD PATH [anonymous|TOKEN]")
	}
	req, err := http.NewRequest(args[0], ts.Getenv("SALLYPORT_SERVER")+args[1], nil)
	ts.Check(err)
	switch {
	case len(args) == 2:
		req.SetBasicAuth(ts.Getenv("SALLYPORT_ACCESS_KEY_ID"), ts.Getenv("SALLYPORT_SECRET_ACCESS_KEY"))
	case args[2] != "anonymous":
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(ts.ReadFile(args[2])))
	}
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)
	_, err = fmt.Fprintf(ts.Stdout(), "%d %s\n", resp.StatusCode, body)
	ts.Check(err)
}

// use sets the credentials that a file of exports has.
func use(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: use FILE")
	}
	for _, m := range exported.FindAllStringSubmatch(ts.ReadFile(args[0]), -1) {
		ts.Setenv(m[1], m[2])
	}
}

// fetch writes what the host answers anybody to a file.
func fetch(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: fetch PATH FILE")
	}
	resp, err := http.Get(ts.Getenv("SALLYPORT_SERVER") + args[0])
	ts.Check(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)
	writeFile(ts, args[1], string(body))
}

func writeTokens(ts *testscript.TestScript, _ bool, _ []string) {
	issuer, err := devissuer.Open(ts.MkAbs("data"))
	ts.Check(err)
	keys, err := jwks.Marshal(issuer.Keys())
	ts.Check(err)
	writeFile(ts, "dev.yaml", fmt.Sprintf(`apiVersion: sallyport/v1
kind: Issuer
metadata: {name: dev-copy}
spec:
  issuer: %s
  audiences: [%s]
  algorithms: [RS256, ES256]
  jwks: {inline: %s}
`, devissuer.Iss, devissuer.Audience, keys))
	mint := func(alg string) string {
		token, err := issuer.Mint(devissuer.MintRequest{User: "eric", TTL: time.Hour, Alg: alg, Now: time.Now()})
		ts.Check(err)
		return token
	}
	writeFile(ts, "tokens.jsonl", tokenLines(mint, keys))
}

// tokenLines returns lines for token verify, of which only the first two are
// good.
func tokenLines(mint func(alg string) string, keys []byte) string {
	encode := base64.RawURLEncoding.EncodeToString
	rs, es := mint("RS256"), mint("ES256")
	parts := strings.Split(es, ".")
	header := func(h string) string { return encode([]byte(h)) + "." + parts[1] + "." + parts[2] }
	var lines strings.Builder
	add := func(id, jws string, keys []byte) {
		line, err := json.Marshal(map[string]any{"id": id, "jws": jws, "jwks": json.RawMessage(keys)})
		if err != nil {
			panic(err) // of a map of texts
		}
		lines.Write(append(line, '\n'))
	}
	add("rs256", rs, keys)
	add("es256", es, keys)
	add("tampered payload", parts[0]+"."+encode([]byte(`{"sub":"root"}`))+"."+parts[2], keys)
	add("signature of another", parts[0]+"."+parts[1]+"."+strings.Split(mint("ES256"), ".")[2], keys)
	add("alg none", encode([]byte(`{"alg":"none"}`))+"."+parts[1]+".", keys)
	add("hs256", header(`{"alg":"HS256"}`), keys)
	add("wrong kid", header(`{"alg":"ES256","kid":"nobody"}`), keys)
	add("two parts", parts[0]+"."+parts[1], keys)
	add("nothing", "", keys)
	add("keys that are none", es, []byte(`"garbage"`))
	add("no keys at all", es, []byte(`null`))
	return lines.String()
}
