package demo

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/e2e/hosttest"
	"sallyport/host/internal/devissuer"
	"sallyport/host/internal/directory"
	"sallyport/host/internal/filterwasm"
	"sallyport/host/internal/manifest"
	"sallyport/host/internal/server"
)

// compiled is where the tests keep the filter's machine code, which each would
// need seconds for.
var compiled = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "sallyport-demo-test-")
	if err != nil {
		return "", err
	}
	return dir, hosttest.Precompile(dir, filterFile)
})

// filterFile is the filter that is embedded.
const filterFile = "../filterwasm/module/sallyport.wasm"

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := compiled(); err == nil {
		_ = os.RemoveAll(dir) // what is left in a directory for temporary files is no failure
	}
	os.Exit(code)
}

// output is what a demo printed; the channel is closed when it is ready.
type output struct {
	mu    sync.Mutex
	text  bytes.Buffer // guarded by mu
	ready chan struct{}
}

const lastWords = "Ctrl-C ends all of it"

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	before := strings.Contains(o.text.String(), lastWords)
	o.text.Write(p)
	if !before && strings.Contains(o.text.String(), lastWords) {
		close(o.ready)
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// config returns the configuration of a demo in dir on free ports, which finds
// the filter's machine code if one was run before.
func config(t *testing.T, dir string) (Config, *output) {
	t.Helper()
	module, err := filterwasm.Module()
	if err != nil {
		t.Fatalf("%v (run make build)", err)
	}
	cache, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(cache, filepath.Join(dir, cacheDir)); err != nil && !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	out := &output{ready: make(chan struct{})}
	return Config{
		Host: server.Config{
			DataDir: dir, HTTPAddr: "127.0.0.1:0", XDSAddr: "127.0.0.1:0", Module: module,
			Logger: slog.New(slog.DiscardHandler),
		},
		ProxyAddr: "127.0.0.1:0", Proxy: ProxyWazero, Instances: 2, Program: "./sally port", Out: out,
	}, out
}

// start runs a demo until stop, and waits until it is ready.
func start(t *testing.T, c Config, out *output) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, c) }()
	select {
	case <-out.ready:
	case err := <-ended:
		cancel()
		t.Fatalf("the demo ended: %v\n%s", err, out)
	}
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return stop
}

// trialLine finds what the demo suggests: the answer that it announces, options
// and URL.
var trialLine = regexp.MustCompile(`(?m)^# \S+ \S+ by \w+: (\d+).*\ncurl -i(?: -X (\S+))?(?: -H 'Authorization: ([^']+)')? (http://\S+)$`)

func send(t *testing.T, method, url, authorization string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestTheDemoAnswersWhatItAnnounces(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "my data")
	c, out := config(t, dir)
	stop := start(t, c, out)
	text := out.String()
	found := trialLine.FindAllStringSubmatch(text, -1)
	if len(found) != len(trials) {
		t.Fatalf("%d lines to try, want %d:\n%s", len(found), len(trials), text)
	}
	statuses := map[string]int{}
	for _, m := range found {
		method := m[2]
		if method == "" {
			method = http.MethodGet
		}
		status, body := send(t, method, m[4], m[3])
		if got := http.StatusText(status); got != statusText(m[1]) {
			t.Errorf("%s: got %d, announced %s", m[0], status, m[1])
		}
		if reached := strings.Contains(body, "you reached the upstream"); reached != (status == 200) {
			t.Errorf("%s: %d, and upstream reached: %t", m[0], status, reached)
		}
		if m[3] != "" && strings.Contains(body, m[3]) {
			t.Errorf("%s: the upstream repeats the token", m[0])
		}
		statuses[m[1]]++
	}
	if statuses["200"] == 0 || statuses["403"] == 0 || statuses["401"] == 0 {
		t.Errorf("the trials don't show all answers: %v", statuses)
	}
	for _, want := range []string{"'./sally port' apply --data-dir '" + dir + "' -f '" + dir + "'/story.yaml", "'./sally port' token mint --data-dir '" + dir + "' --user eric --group foo"} {
		if !strings.Contains(text, want) {
			t.Errorf("the output has no %q:\n%s", want, text)
		}
	}
	changeWithoutRestart(t, dir, found[0][4])
	ports := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindAllString(text, -1)
	if err := stop(); err != nil {
		t.Errorf("Ctrl-C: %v", err)
	}
	for _, addr := range ports {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Errorf("%s is not free: %v", addr, err)
			continue
		}
		_ = l.Close() // it was only asked for
	}
}

func statusText(status string) string {
	return map[string]string{"200": "OK", "401": "Unauthorized", "403": "Forbidden"}[status]
}

// changeWithoutRestart does what the demo tells the user to do: with the
// credentials of the data directory it applies a story that says otherwise.
func changeWithoutRestart(t *testing.T, dir, url string) {
	t.Helper()
	creds, err := ReadCredentials(dir)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(story), "effect: allow", "effect: deny", 1)
	req, err := http.NewRequest(http.MethodPost, creds.Server+"/api/v1/apply", strings.NewReader(changed))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(creds.AccessKeyID, creds.Secret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("apply: %s", resp.Status)
	}
	issuer, err := devissuer.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	minted, err := issuer.Mint(devissuer.MintRequest{User: "eric", Groups: []string{"foo"}, TTL: time.Hour, Alg: "RS256", Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	for range 8 { // whichever instance answers
		if status, body := send(t, http.MethodGet, url, "Bearer "+minted); status != http.StatusForbidden {
			t.Errorf("after the change: got %d %s, want 403", status, body)
		}
	}
}

func TestASecondStartUsesWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	c, out := config(t, dir)
	if err := start(t, c, out)(); err != nil {
		t.Fatal(err)
	}
	cache := files(t, filepath.Join(dir, cacheDir))
	if len(cache) == 0 {
		t.Fatal("no machine code is kept")
	}
	first, err := ReadCredentials(dir)
	if err != nil {
		t.Fatal(err)
	}
	storyPath := filepath.Join(dir, storyFile)
	if err := os.WriteFile(storyPath, []byte("# mine\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	c, out = config(t, dir)
	if err := start(t, c, out)(); err != nil {
		t.Fatal(err)
	}
	for name, info := range files(t, filepath.Join(dir, cacheDir)) {
		if before, ok := cache[name]; !ok || !before.ModTime().Equal(info.ModTime()) {
			t.Errorf("%s was compiled again", name)
		}
	}
	second, err := ReadCredentials(dir)
	if err != nil || second.AccessKeyID != first.AccessKeyID || second.Secret != first.Secret {
		t.Errorf("other credentials, or %v", err)
	}
	if second.Server == first.Server {
		t.Errorf("both say that the host is at %s, which had another port", first.Server)
	}
	if b, err := os.ReadFile(storyPath); err != nil || string(b) != "# mine\n" {
		t.Errorf("the user's file was overwritten: %q, %v", b, err)
	}
}

func files(t *testing.T, dir string) map[string]fs.FileInfo {
	t.Helper()
	found := map[string]fs.FileInfo{}
	target, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(target, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		found[path], err = d.Info()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

const mine = `apiVersion: sallyport/v1
kind: Policy
metadata: {name: mine}
spec:
  rules:
  - {effect: allow, methods: [GET], paths: ["/healthz"]}
---
apiVersion: sallyport/v1
kind: Group
metadata: {name: "system:unauthenticated"}
spec: {policies: [mine]}
`

func TestAStoreThatWasUsedIsLeftAsItIs(t *testing.T) {
	dir := t.TempDir()
	c, out := config(t, dir)
	s, err := server.New(t.Context(), c.Host)
	if err != nil {
		t.Fatal(err)
	}
	docs, err := manifest.Parse("mine.yaml", []byte(mine))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Directory().Apply(t.Context(), manifest.Entities(docs), directory.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := start(t, c, out)(); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	if !strings.Contains(text, "the credentials that the first serve printed") {
		t.Errorf("it does not say where the credentials are:\n%s", text)
	}
	for _, m := range trialLine.FindAllStringSubmatch(text, -1) { // of the story, only this is left
		if allowed := m[1] == "200"; allowed != strings.HasSuffix(m[4], "/healthz") {
			t.Errorf("announced %s", m[0])
		}
	}
	again, err := server.New(t.Context(), c.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	revision, err := again.Directory().Load(t.Context())
	if err != nil || revision.Generation != 2 {
		t.Errorf("generation %d, %v", revision.Generation, err)
	}
}

func TestServeDoesNotTrustTheDevelopmentIssuerOfADemo(t *testing.T) {
	dir := t.TempDir()
	c, out := config(t, dir)
	if err := start(t, c, out)(); err != nil {
		t.Fatal(err)
	}
	s, err := server.New(t.Context(), c.Host) // without InsecureDevIssuer
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	p, err := s.Publisher().Wait(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(p.Loaded.Issuers()); n != 0 {
		t.Errorf("%d issuers are trusted", n)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestPortsInUseAreExplained(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, change := range map[string]func(*Config){
		"HTTP address":  func(c *Config) { c.Host.HTTPAddr = taken.Addr().String() },
		"xDS address":   func(c *Config) { c.Host.XDSAddr = taken.Addr().String() },
		"proxy address": func(c *Config) { c.ProxyAddr = taken.Addr().String() },
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := config(t, t.TempDir())
			change(&c)
			err := Run(t.Context(), c)
			if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "is another demo or host running? --http, --xds and --listen") {
				t.Errorf("got error %v", err)
			}
		})
	}
}

func TestTwoDemosInOneDirectory(t *testing.T) {
	dir := t.TempDir()
	c, out := config(t, dir)
	start(t, c, out)
	second, _ := config(t, dir)
	if err := Run(t.Context(), second); err == nil || !strings.Contains(err.Error(), "stop the other process, or use another data directory") {
		t.Errorf("got error %v", err)
	}
}

// notifying tells when something was written.
type notifying struct {
	once    sync.Once
	written chan struct{}
}

func (n *notifying) Write(p []byte) (int, error) {
	n.once.Do(func() { close(n.written) })
	return len(p), nil
}

func TestCtrlCWhileTheFilterIsCompiled(t *testing.T) {
	dir := t.TempDir()
	c, _ := config(t, dir)
	if err := os.Remove(filepath.Join(dir, cacheDir)); err != nil { // so that it is compiled
		t.Fatal(err)
	}
	out := &notifying{written: make(chan struct{})}
	c.Out = out
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, c) }()
	<-out.written // "Compiling the filter"
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("got error %v", err)
	}
	if len(files(t, filepath.Join(dir, cacheDir))) != 0 {
		t.Error("it was compiled to the end")
	}
}

func TestACanceledDemoDoesNotStart(t *testing.T) {
	c, _ := config(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Run(ctx, c); err != nil {
		t.Errorf("got error %v", err)
	}
}

func TestReadCredentialsRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadCredentials(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want ErrNotExist", err)
	}
	if err := writeCredentials(dir, Credentials{"http://127.0.0.1:1", "SPX", "secret"}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, credentialsFile)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	for content, want := range map[string]string{"secret": "damaged", "{}": "damaged", `{"server":"x","accessKeyId":"secret"}`: "damaged"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadCredentials(dir); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got error %v", content, err)
		}
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadCredentials(dir); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("got error %v", err)
	}
}

func TestQuote(t *testing.T) {
	for word, want := range map[string]string{"./sallyport-data": "./sallyport-data", "a b": "'a b'", "": "''", "it's": `'it'\''s'`, "$(x)": "'$(x)'"} {
		if got := quote(word); got != want {
			t.Errorf("quote(%q) = %s, want %s", word, got, want)
		}
	}
}
