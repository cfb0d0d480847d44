package bypass

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"sallyport/e2e/envoytest"
	"sallyport/e2e/hosttest"
)

// rules are the policies without the issuers.
const rules = `
apiVersion: sallyport/v1
kind: Policy
metadata: {name: own-workspace}
spec:
  rules:
  - {name: members, effect: allow, methods: ["*"], paths: ["/workspaces/{team}/**"], when: path.team in token.groups}
  - {name: keep, effect: deny, methods: [DELETE], paths: ["/workspaces/{team}/locked/**"]}
  - {name: tenant, effect: allow, methods: [GET], hosts: ["{team}.ws.example"], paths: ["/tenant/**"], when: host.team in token.groups}
---
apiVersion: sallyport/v1
kind: Policy
metadata: {name: admins}
spec:
  rules:
  - {name: admins, effect: allow, methods: ["*"], paths: ["/admin/**"], when: '"admins" in token.groups'}
---
apiVersion: sallyport/v1
kind: Policy
metadata: {name: public}
spec:
  rules:
  - {effect: allow, methods: [GET, POST], paths: ["/public/**"]}
---
apiVersion: sallyport/v1
kind: Policy
metadata: {name: exact}
spec:
  rules:
  - {effect: allow, methods: [GET], paths: ["/one/{slug}"]}
  - {effect: allow, methods: [GET], paths: ["/root/**"], when: user.name == "root"}
---
apiVersion: sallyport/v1
kind: Group
metadata: {name: "system:authenticated"}
spec: {policies: [own-workspace, admins, public, exact]}
---
apiVersion: sallyport/v1
kind: Group
metadata: {name: "system:unauthenticated"}
spec: {policies: [public]}
`

// proxy is Envoy with the filter, before an upstream.
type proxy struct {
	upstream *upstream
	envoy    *envoytest.Envoy
	host     *hosttest.Host
	client
}

func startProxy(t *testing.T) *proxy {
	t.Helper()
	p := &proxy{upstream: startUpstream(t)}
	p.host = hosttest.Start(t, "", "--identity-headers")
	bootstrap := hosttest.Run(t, 0, "", "envoy", "config", "--push", "ecds", "--data-dir", p.host.DataDir,
		"--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--xds", p.host.XDS, "--upstream", p.upstream.listener.Addr().String())
	p.envoy = envoytest.Start(t, bootstrap)
	p.address = p.envoy.Address("ingress")
	is := newIssuers(t)
	p.tokens = is.tokens(t)
	generation := p.host.Apply(is.policies(t))
	p.envoy.Await("generation "+generation, 3*patience, func() error { return p.enforced(generation) })
	p.upstream.take()
	return p
}

// enforced asks each worker, in as many connections as make it sure that none
// was left out.
func (p *proxy) enforced(generation string) error {
	for range 12 {
		a, err := p.http1("GET /public/x HTTP/1.1\r\nhost: a\r\n\r\n")
		if err != nil {
			return err
		}
		if a.status != 200 {
			return fmt.Errorf("generation %s: a worker answers %d", generation, a.status)
		}
	}
	return nil
}

// attack is what must not reach the upstream. Status 0 is a reset.
type attack struct {
	rule   string
	status int
	raw    string
}

// refused sends all attacks side by side, since Envoy takes a second to close
// what it refuses, and wants their statuses, and nothing at the upstream.
func (p *proxy) refused(t *testing.T, attacks []attack, send func(string) (answer, error)) {
	t.Helper()
	if len(attacks) == 0 {
		t.Fatal("no attacks")
	}
	var g errgroup.Group
	g.SetLimit(32)
	for _, a := range attacks {
		g.Go(func() error {
			if got, err := send(a.raw); err != nil || got.status != a.status {
				t.Errorf("%s: status %d, want %d; %v", a.rule, got.status, a.status, err)
			}
			return nil
		})
	}
	_ = g.Wait() // the errors are reported
	for _, m := range p.upstream.take() {
		t.Errorf("this reached the upstream:\n%s\n%.200q", m.head, m.body)
	}
}

// passed is what may reach the upstream, with the line that it has there.
type passed struct{ rule, raw, line string }

// expectMember wants one message at the upstream, of the user eric, and nothing
// in it that only the proxy may say.
func (p *proxy) expectMember(t *testing.T, line string, a answer, err error) {
	t.Helper()
	seen := p.upstream.take()
	if err != nil || a.status != 200 || len(seen) != 1 {
		t.Fatalf("status %d, %d messages at the upstream; want one and 200: %v", a.status, len(seen), err)
	}
	m := seen[0]
	if m.line != line {
		t.Errorf("the upstream got %q, want %q", m.line, line)
	}
	for _, want := range []string{"\r\nx-sallyport-user: eric\r\n", "\r\nx-sallyport-groups: foo\r\n"} {
		if strings.Count(m.head, want) != 1 {
			t.Errorf("no %q in %q", want, m.head)
		}
	}
	for _, gone := range []string{
		"\r\nx-sallyport-user: admin", "\r\nx-sallyport-user: root", "\r\nx-sallyport-groups: admin", "\r\nx-sallyport-else", "\r\nx_", "sallyport_",
		"\r\nx-http-method", "\r\nx-http_method", "\r\nx-method-override", "\r\nx-envoy-original-path", "\r\nx-envoy-retry-on", "\r\nx-envoy-internal",
		"\r\nupgrade:", "\r\nhttp2-settings:", "bar.ws.example",
	} {
		if strings.Contains(m.head, gone) {
			t.Errorf("%q reached the upstream: %q", gone, m.head)
		}
	}
	if strings.Contains(m.body, "x-sallyport") {
		t.Errorf("a trailer reached the upstream: %q", m.body)
	}
}

// TestBypasses runs all attacks on one Envoy, and looks at what was logged.
func TestBypasses(t *testing.T) {
	p := startProxy(t)
	t.Run("http1/refused", p.testRefusedHTTP1)
	t.Run("http1/passed", p.testPassedHTTP1)
	t.Run("http2/refused", p.testRefusedHTTP2)
	t.Run("http2/passed", p.testPassedHTTP2)
	t.Run("logs", p.testLogs)
	for _, m := range p.upstream.take() {
		t.Errorf("this reached the upstream late:\n%s", m.head)
	}
}

// testLogs: what a client sends is a value in the log, and never a line, and no
// token is in it.
func (p *proxy) testLogs(t *testing.T) {
	lines := p.envoy.AccessLog(100) // each is an object, or this fails
	for _, line := range lines {
		text := fmt.Sprint(line)
		if strings.Contains(text, "eyJ") || strings.Contains(text, "access_token") {
			t.Errorf("a token is in the log: %s", text)
		}
		if line["path"] == "/admin/x" && line["status"] == 200.0 {
			t.Errorf("a client chose what is logged as its path: %s", text)
		}
	}
	if log := p.host.Log() + p.envoy.Log(); strings.Contains(log, "eyJ") {
		t.Errorf("a token is in a log:\n%s", log)
	}
}
