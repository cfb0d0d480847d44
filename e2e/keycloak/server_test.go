//go:build keycloak

package keycloak

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/e2e/envoytest"
)

const (
	realm        = "eo"
	admin        = "admin" // name and password; it listens on loopback only
	startTimeout = 4 * time.Minute
	stopTimeout  = 30 * time.Second
)

// server is a running Keycloak with the realm of testdata.
type server struct {
	t      *testing.T
	cmd    *exec.Cmd
	exited chan struct{}
	base   string
	log    string // file
}

// start starts Keycloak on a port of its own, with its database in memory.
func start(t *testing.T) *server {
	t.Helper()
	home := os.Getenv("KEYCLOAK")
	if home == "" {
		t.Fatal("KEYCLOAK is not set: run `make keycloak`, or set it to an unpacked server")
	}
	host, port, err := net.SplitHostPort(unused(t))
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, exited: make(chan struct{}), base: "http://" + net.JoinHostPort(host, port)}
	s.log = filepath.Join(t.TempDir(), "log")
	log, err := os.Create(s.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s.cmd = exec.Command("sh", filepath.Join(home, "bin", "kc.sh"), "start-dev", "--db=dev-mem", "--http-host="+host, "--http-port="+port)
	s.cmd.Env = append(os.Environ(),
		"KC_BOOTSTRAP_ADMIN_USERNAME="+admin, "KC_BOOTSTRAP_ADMIN_PASSWORD="+admin,
		"JAVA_OPTS_KC_HEAP=-Xms64m -Xmx512m",
	)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	// A group of its own, to end the script with the server that it has become.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = s.cmd.Wait() // how it ended is in the log
		close(s.exited)
	}()
	t.Cleanup(s.stop)
	s.await()
	s.importRealm()
	return s
}

// unused returns an address where nothing listens.
func unused(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (s *server) await() {
	s.t.Helper()
	deadline := time.After(startTimeout)
	for {
		response, err := http.Get(s.base + "/realms/master")
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-s.exited:
			s.t.Fatalf("keycloak ended: %v", s.cmd.ProcessState)
		case <-deadline:
			s.t.Fatalf("keycloak: not ready within %v", startTimeout)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (s *server) stop() {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		_ = syscall.Kill(-s.cmd.Process.Pid, signal) // an error says that it is gone already
		select {
		case <-s.exited:
			if s.t.Failed() {
				s.showLog()
			}
			return
		case <-time.After(stopTimeout):
		}
	}
	s.t.Errorf("keycloak: process %d does not end", s.cmd.Process.Pid)
}

func (s *server) showLog() {
	const most = 8 << 10
	text, err := os.ReadFile(s.log)
	if err != nil {
		s.t.Error(err)
		return
	}
	s.t.Logf("the end of Keycloak's log:\n%s", text[max(0, len(text)-most):])
}

// issuer returns the realm's "iss".
func (s *server) issuer() string { return s.base + "/realms/" + realm }

// tokens is what the token endpoint answers.
type tokens struct {
	Access  string `json:"access_token"`
	ID      string `json:"id_token"`
	Refresh string `json:"refresh_token"`
}

// tokensOf asks a realm's token endpoint.
func (s *server) tokensOf(ctx context.Context, realm string, form url.Values) (tokens, error) {
	var answer tokens
	endpoint := s.base + "/realms/" + realm + "/protocol/openid-connect/token"
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return answer, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	err = exchange(r, http.StatusOK, &answer)
	return answer, err
}

// user returns tokens of a user, whose password is the name with "-pw", at a
// client.
func (s *server) user(ctx context.Context, client, name string) (tokens, error) {
	form := url.Values{"grant_type": {"password"}, "client_id": {client}, "username": {name}, "password": {name + "-pw"}, "scope": {"openid"}}
	if client == "mlops" {
		form.Set("client_secret", "mlops-secret")
	}
	return s.tokensOf(ctx, realm, form)
}

// service returns a token of the service account.
func (s *server) service(ctx context.Context) (tokens, error) {
	return s.tokensOf(ctx, realm, url.Values{"grant_type": {"client_credentials"}, "client_id": {"mlops"}, "client_secret": {"mlops-secret"}})
}

// keySet returns the realm's JWK Set.
func (s *server) keySet() json.RawMessage {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.issuer()+"/protocol/openid-connect/certs", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	var set json.RawMessage
	if err := exchange(r, http.StatusOK, &set); err != nil {
		s.t.Fatal(err)
	}
	return set
}

// call calls the admin API.
func (s *server) call(method, path string, body, into any) {
	s.t.Helper()
	t, err := s.tokensOf(s.t.Context(), "master", url.Values{
		"grant_type": {"password"}, "client_id": {"admin-cli"}, "username": {admin}, "password": {admin},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	content, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.base+"/admin/realms"+path, bytes.NewReader(content))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+t.Access)
	r.Header.Set("Content-Type", "application/json")
	want := map[string]int{http.MethodGet: http.StatusOK, http.MethodPost: http.StatusCreated, http.MethodPut: http.StatusNoContent}
	if err := exchange(r, want[method], into); err != nil {
		s.t.Fatal(err)
	}
}

// exchange sends a request and decodes the answer, unless into is nil.
func exchange(r *http.Request, want int, into any) error {
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != want {
		return fmt.Errorf("%s %s: %s: %s", r.Method, r.URL.Path, response.Status, content)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(content, into)
}

func (s *server) importRealm() {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(envoytest.Root(s.t), "e2e", "keycloak", "testdata", "realm.json"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.call(http.MethodPost, "", json.RawMessage(b), nil)
}

// component is a key provider of the realm.
type component struct {
	ID           string              `json:"id,omitempty"`
	Name         string              `json:"name"`
	ProviderID   string              `json:"providerId"`
	ProviderType string              `json:"providerType"`
	ParentID     string              `json:"parentId,omitempty"`
	Config       map[string][]string `json:"config"`
}

const keyProvider = "org.keycloak.keys.KeyProvider"

// provider returns a key provider by its name.
func (s *server) provider(name string) (component, error) {
	s.t.Helper()
	var all []component
	s.call(http.MethodGet, "/"+realm+"/components?type="+keyProvider, nil, &all)
	for _, c := range all {
		if c.Name == name {
			return c, nil
		}
	}
	return component{}, errors.New("no key provider " + name)
}

// addKey adds a key that signs at once, since its priority is the highest.
func (s *server) addKey(name, providerID string, config map[string][]string) {
	s.t.Helper()
	config["priority"], config["enabled"], config["active"] = []string{"200"}, []string{"true"}, []string{"true"}
	s.call(http.MethodPost, "/"+realm+"/components", component{Name: name, ProviderID: providerID, ProviderType: keyProvider, Config: config}, nil)
}

// setKey makes a key passive (still published) or takes it out.
func (s *server) setKey(name, property, value string) {
	s.t.Helper()
	c, err := s.provider(name)
	if err != nil {
		s.t.Fatal(err)
	}
	c.Config[property] = []string{value}
	s.call(http.MethodPut, "/"+realm+"/components/"+c.ID, c, nil)
}
