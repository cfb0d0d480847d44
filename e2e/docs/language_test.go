package docs

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/e2e/hosttest"
	"sallyport/policydata"
)

const policy = `apiVersion: sallyport/v1
kind: Policy
metadata: {name: p}
spec: {rules: [{effect: allow, methods: [%s], paths: [%q], when: %s}]}
---
apiVersion: sallyport/v1
kind: Group
metadata: {name: "system:unauthenticated"}
spec: {policies: [p]}
`

// page is a documentation page as its examples are run.
type page struct {
	dir      string
	issuer   string
	policies string // of the last block of YAML, with the issuer
	ran      map[string]int
}

// TestLanguage runs the examples of policydata/LANGUAGE.md.
func TestLanguage(t *testing.T) {
	p := page{dir: t.TempDir(), ran: map[string]int{}}
	blocks := readPage(t, "policydata", "LANGUAGE.md")
	for i := range blocks {
		if blocks[i].kind == "yaml issuer" {
			p.issuer = blocks[i].text + "---\n"
		}
	}
	for i := range blocks {
		p.run(t, blocks, i)
	}
	for kind, want := range map[string]int{"decision": 40, "pattern": 7, "condition": 5, "command": 1, "reason": int(policydata.NumReasons)} {
		if p.ran[kind] < want {
			t.Errorf("%d examples of kind %s, want %d: the page is not read as it was meant", p.ran[kind], kind, want)
		}
	}
}

func (p *page) run(t *testing.T, blocks []block, i int) {
	t.Helper()
	b := &blocks[i]
	switch b.kind {
	case "yaml":
		p.policies = p.issuer + b.text
	case "console":
		p.command(t, b.text, firstPolicies(blocks))
	case "request | claims | decision":
		p.decisions(t, b.rows)
	case "pattern | matches | does not match":
		p.patterns(t, b.rows)
	case "condition | error":
		p.refused(t, b.rows)
	case "reason | status |":
		p.reasons(t, b.rows)
	}
}

func firstPolicies(blocks []block) string {
	for i := range blocks {
		if blocks[i].kind == "yaml" {
			return blocks[i].text
		}
	}
	return ""
}

func (p *page) write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(p.dir, "policies.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// command runs a command line of the page on the page's first policies and
// wants the output that stands below it.
func (p *page) command(t *testing.T, text, policies string) {
	t.Helper()
	line, want, _ := strings.Cut(text, "\n")
	args := shellWords(strings.TrimPrefix(line, "$ sallyport "))
	for i := range args {
		if args[i] == "policies.yaml" {
			args[i] = p.write(t, p.issuer+policies)
		}
	}
	if got := hosttest.Run(t, 0, "", args...); got != want {
		t.Errorf("%s\nprints %swant   %s", line, got, want)
	}
	p.ran["command"]++
}

// shellWords parts a command line at spaces outside of single quotes.
func shellWords(line string) []string {
	var words []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	return words
}

// query is a line of the batch of sallyport check.
type query struct {
	Claims  json.RawMessage   `json:"claims,omitempty"`
	Method  string            `json:"method"`
	Path    string            `json:"path"`
	Host    string            `json:"host,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
}

// decision is what is compared of an answer.
type decision struct {
	Reason string `json:"reason"`
	Policy string `json:"policy"`
	Rule   string `json:"rule"`
}

func (p *page) decisions(t *testing.T, rows [][]string) {
	t.Helper()
	var queries []query
	for _, row := range rows {
		request, claims := spans(row[0]), spans(row[1])
		method, path, _ := strings.Cut(request[0], " ")
		q := query{Method: method, Path: path, Headers: map[string]string{}}
		for _, header := range request[1:] {
			name, value, _ := strings.Cut(header, ": ")
			if name == "host" {
				q.Host = value
				continue
			}
			q.Headers[name] = value
		}
		if len(claims) > 0 {
			q.Claims = json.RawMessage(claims[0])
		}
		queries = append(queries, q)
	}
	for i, got := range p.ask(t, p.policies, queries) {
		want := append(spans(rows[i][2]), "", "")[:3]
		if got != (decision{want[0], want[1], want[2]}) {
			t.Errorf("%v: %+v", rows[i], got)
		}
		p.ran["decision"]++
	}
}

// ask asks the Go engine and the built filter, and wants the same of both.
func (p *page) ask(t *testing.T, policies string, queries []query) []decision {
	t.Helper()
	var batch strings.Builder
	for _, q := range queries {
		line, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		batch.Write(append(line, '\n'))
	}
	requests := filepath.Join(p.dir, "requests.jsonl")
	if err := os.WriteFile(requests, []byte(batch.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	file := p.write(t, policies)
	out := hosttest.Run(t, 0, "", "check", "-f", file, "--batch", requests)
	if wasm := hosttest.Run(t, 0, "", "check", "-f", file, "--batch", requests, "--engine", "wasm"); wasm != out {
		t.Errorf("the engines disagree:\n%s\n%s", out, wasm)
	}
	var decisions []decision
	for line := range strings.Lines(out) {
		var d decision
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			t.Fatal(err)
		}
		decisions = append(decisions, d)
	}
	if len(decisions) != len(queries) {
		t.Fatalf("%d decisions for %d requests", len(decisions), len(queries))
	}
	return decisions
}

func (p *page) patterns(t *testing.T, rows [][]string) {
	t.Helper()
	for _, row := range rows {
		pattern := spans(row[0])[0]
		var queries []query
		matching := spans(row[1])
		for _, path := range append(matching, spans(row[2])...) {
			queries = append(queries, query{Method: "GET", Path: path})
		}
		for i, d := range p.ask(t, p.issuer+fmt.Sprintf(policy, "GET", pattern, `"true"`), queries) {
			if want := i < len(matching); (d.Reason == "allowed") != want {
				t.Errorf("%s and %s: %s", pattern, queries[i].Path, d.Reason)
			}
		}
		p.ran["pattern"]++
	}
}

func (p *page) refused(t *testing.T, rows [][]string) {
	t.Helper()
	for _, row := range rows {
		quoted, err := json.Marshal(spans(row[0])[0])
		if err != nil {
			t.Fatal(err)
		}
		file := p.write(t, p.issuer+fmt.Sprintf(policy, "GET", "/ws/{team}/**", quoted))
		out, err := exec.CommandContext(t.Context(), hosttest.Program(t), "check", "-f", file, "--path", "/").CombinedOutput()
		if want := spans(row[1])[0]; err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v, %s, want %q", row[0], err, out, want)
		}
		p.ran["condition"]++
	}
}

// reasons holds the table of reasons to those that there are, and to their
// statuses.
func (p *page) reasons(t *testing.T, rows [][]string) {
	t.Helper()
	documented := map[string]string{}
	for _, row := range rows {
		for _, reason := range spans(row[0]) {
			documented[reason] = row[1]
		}
	}
	for r := range policydata.NumReasons {
		if documented[r.String()] != fmt.Sprint(r.Status()) {
			t.Errorf("%v has the status %d, documented is %q", r, r.Status(), documented[r.String()])
		}
	}
	p.ran["reason"] = len(documented)
}
