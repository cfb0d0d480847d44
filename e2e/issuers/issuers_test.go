package issuers

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"sallyport/e2e/envoytest"
	"sallyport/e2e/hosttest"
	"sallyport/e2e/oidctest"
	"sallyport/policydata"
	"sallyport/policydata/token"
)

// provider is a file of testdata: the tokens of the provider whose document has
// the same name.
type provider struct {
	Identity struct{ Client, Subject string } // of the ServiceAccount mlops
	Base     any                              // what cases take over by YAML's merge
	Cases    []tokenCase
}

type tokenCase struct {
	Name     string
	Header   map[string]any // besides alg, kid and typ; null: not there
	Claims   map[string]any // iat and exp are added; null: not there
	Lifetime time.Duration  // default 1h
	Raw      string         // in place of all these
	Path     string         // default /any, which is open to all with a token
	Want     want
}

type want struct {
	Reason  string // of the decision
	User    string
	Service string
	Client  string
	Groups  []string
	Roles   []string
}

// accepted reports whether the token is good, whatever its bearer may do.
func (w *want) accepted() bool { return w.Reason == "allowed" || w.Reason == "no_matching_rule" }

// policies let teams use what is theirs, the service its own, and everybody with
// a token /any.
const policies = `
apiVersion: sallyport/v1
kind: Policy
metadata: {name: teams}
spec:
  rules:
  - {name: team, effect: allow, methods: [GET], paths: ["/teams/{team}/**"], when: path.team in token.groups}
  - {name: any, effect: allow, methods: [GET], paths: [/any]}
---
apiVersion: sallyport/v1
kind: Group
metadata: {name: "system:authenticated"}
spec: {policies: [teams]}
---
apiVersion: sallyport/v1
kind: Policy
metadata: {name: service}
spec: {rules: [{effect: allow, methods: [GET], paths: [/service]}]}
---
apiVersion: sallyport/v1
kind: Role
metadata: {name: mlops-runtime}
spec: {policies: [service]}
---
apiVersion: sallyport/v1
kind: ServiceAccount
metadata: {name: mlops}
spec: {role: mlops-runtime, identities: [IDENTITY]}
`

func TestIssuerDocuments(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(envoytest.Root(t), "envoy", "issuers", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) { testDocument(t, file) })
	}
}

func testDocument(t *testing.T, file string) {
	p := readProvider(t, filepath.Join("testdata", filepath.Base(file)))
	document, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	key := oidctest.NewKey(t, "RS256")
	verifiable := withKeys(t, document, oidctest.KeySet(key))
	dir := t.TempDir()
	rest := p.policies(t, nameOf(t, document))
	shippedFiles := write(t, dir, "shipped.yaml", append(document, rest...))
	verifiableFiles := write(t, dir, "verifiable.yaml", append(verifiable, rest...))

	verifier := newVerifier(t, dir, verifiableFiles)
	tokens := make([]string, len(p.Cases))
	var byToken, byClaims []query
	for i := range p.Cases {
		c := &p.Cases[i]
		tokens[i] = c.sign(t, key)
		byToken = append(byToken, query{Token: tokens[i], Method: "GET", Path: c.Path})
		if c.Want.accepted() {
			byClaims = append(byClaims, query{Claims: c.Claims, Method: "GET", Path: c.Path})
		}
	}
	for i, c := range p.Cases {
		t.Run(c.Name, func(t *testing.T) { c.verify(t, verifier, tokens[i]) })
	}
	for engine, decisions := range map[string][]decision{
		"go":   check(t, verifiableFiles, "go", byToken),
		"wasm": check(t, verifiableFiles, "wasm", byToken),
	} {
		for i, d := range decisions {
			if diff := gocmp.Diff(p.Cases[i].Want.decision(), d); diff != "" {
				t.Errorf("%s, engine %s: decision (-want +got):\n%s", p.Cases[i].Name, engine, diff)
			}
		}
	}
	// The document as it is copied has no keys of ours, so claims stand for tokens.
	decisions := check(t, shippedFiles, "go", byClaims)
	for i := range p.Cases {
		if !p.Cases[i].Want.accepted() {
			continue
		}
		if diff := gocmp.Diff(p.Cases[i].Want.decision(), decisions[0]); diff != "" {
			t.Errorf("%s, by claims: decision (-want +got):\n%s", p.Cases[i].Name, diff)
		}
		decisions = decisions[1:]
	}
}

func readProvider(t *testing.T, file string) *provider {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("a document without tokens to test it: %v", err)
	}
	var p provider
	decoder := yaml.NewDecoder(bytes.NewReader(b))
	decoder.KnownFields(true)
	if err := decoder.Decode(&p); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	good, bad := 0, 0
	for i := range p.Cases {
		c := &p.Cases[i]
		c.Path = cmp.Or(c.Path, "/any")
		c.Lifetime = cmp.Or(c.Lifetime, time.Hour)
		absent := func(_ string, value any) bool { return value == nil }
		maps.DeleteFunc(c.Claims, absent)
		if c.Want.Reason == "allowed" {
			good++
		} else {
			bad++
		}
	}
	if good == 0 || bad == 0 {
		t.Fatalf("%s: %d good tokens and %d others: both are needed", file, good, bad)
	}
	return &p
}

// policies returns the policies with the provider's name for the service.
func (p *provider) policies(t *testing.T, issuer string) []byte {
	t.Helper()
	identity, err := json.Marshal(map[string]string{
		"issuer": issuer, "client": p.Identity.Client, "subject": p.Identity.Subject,
	})
	if err != nil {
		t.Fatal(err)
	}
	return []byte("---" + strings.Replace(policies, "IDENTITY", string(identity), 1))
}

// nameOf returns the name of a document.
func nameOf(t *testing.T, document []byte) string {
	t.Helper()
	var d struct{ Metadata struct{ Name string } }
	if err := yaml.Unmarshal(document, &d); err != nil || d.Metadata.Name == "" {
		t.Fatalf("a document without name: %v", err)
	}
	return d.Metadata.Name
}

// sign returns the token of a case.
func (c *tokenCase) sign(t *testing.T, key *oidctest.Key) string {
	t.Helper()
	if c.Raw != "" {
		return c.Raw
	}
	header := map[string]any{"typ": "JWT"}
	maps.Copy(header, c.Header)
	maps.DeleteFunc(header, func(_ string, value any) bool { return value == nil })
	now := time.Now()
	claims := oidctest.Claims{"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(c.Lifetime).Unix()}
	maps.Copy(claims, c.Claims)
	return key.Sign(t, header, claims)
}

// verify checks what the token says.
func (c *tokenCase) verify(t *testing.T, v *token.Verifier, raw string) {
	identity, _, reason := v.Verify(raw, time.Now().Unix())
	if c.Want.accepted() != (reason == policydata.ReasonAllowed) {
		t.Fatalf("token: %s, want %s", reason, c.Want.Reason)
	}
	got := want{
		Reason: c.Want.Reason, Service: c.Want.Service, // decided later
		User: identity.User, Client: identity.Client, Groups: identity.Groups, Roles: identity.Roles,
	}
	if diff := gocmp.Diff(c.Want, got); diff != "" {
		t.Errorf("identity (-want +got):\n%s", diff)
	}
}

// decision is what check says of a request.
type decision struct{ Reason, User, Service string }

func (w *want) decision() decision {
	if w.Service != "" {
		return decision{Reason: w.Reason, Service: w.Service} // its own token: no user
	}
	return decision{Reason: w.Reason, User: w.User}
}

// query is a line of check's batch.
type query struct {
	Claims map[string]any `json:"claims,omitempty"`
	Token  string         `json:"token,omitempty"`
	Method string         `json:"method"`
	Path   string         `json:"path"`
}

// check asks sallyport check.
func check(t *testing.T, policies, engine string, queries []query) []decision {
	t.Helper()
	var batch bytes.Buffer
	encoder := json.NewEncoder(&batch)
	for _, q := range queries {
		if err := encoder.Encode(q); err != nil {
			t.Fatal(err)
		}
	}
	out := hosttest.Run(t, 0, batch.String(), "check", "-f", policies, "--engine", engine, "--batch", "-")
	var decisions []decision
	for line := range strings.Lines(out) {
		var d decision
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		decisions = append(decisions, d)
	}
	if len(decisions) != len(queries) {
		t.Fatalf("%d decisions for %d requests", len(decisions), len(queries))
	}
	return decisions
}

// newVerifier returns what verifies tokens for a proxy with these policies.
func newVerifier(t *testing.T, dir, policies string) *token.Verifier {
	t.Helper()
	file := filepath.Join(dir, "snapshot")
	hosttest.Run(t, 0, "", "snapshot", "build", "-f", policies, "-o", file, "--data-dir", dir)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := policydata.Load(b, func(_, _ []byte) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	v, err := token.NewVerifier(snapshot.Issuers())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// withKeys returns a document with a key set in place of where it says that keys
// come from.
func withKeys(t *testing.T, document, set []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	replaced := 0
	for line := range strings.Lines(string(document)) {
		if strings.HasPrefix(line, "  jwks: ") {
			line = "  jwks: {inline: " + string(set) + "}\n"
			replaced++
		}
		b.WriteString(line)
	}
	if replaced != 1 {
		t.Fatalf("%d lines with jwks, want 1", replaced)
	}
	return b.Bytes()
}

func write(t *testing.T, dir, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Most installations have people and workloads. Two issuers must not be able to
// give out the same names, so one has prefixes.
func TestKeycloakAndKubernetesTogether(t *testing.T) {
	dir := filepath.Join(envoytest.Root(t), "envoy", "issuers")
	hosttest.Run(t, 0, `{"method":"GET","path":"/"}`, "check", "--batch", "-",
		"-f", filepath.Join(dir, "keycloak.yaml"), "-f", filepath.Join(dir, "kubernetes.yaml"))
}
