package stories

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"sallyport/e2e/envoytest"
)

// story is one file: policies, and requests with the decisions that are wanted.
type story struct {
	name     string
	policies string
	issuers  []issuerInfo
	cases    []storyCase
}

// storyCase is a request and what is wanted of it.
type storyCase struct {
	Name    string           `json:"name"`
	Claims  json.RawMessage  `json:"claims"`
	Token   string           `json:"token"`
	Mint    *mint            `json:"mint"`
	Scheme  string           `json:"scheme"` // in place of "Bearer", for runners that send headers
	Method  string           `json:"method"`
	Path    string           `json:"path"`
	Host    string           `json:"host"`
	Headers map[string]texts `json:"headers"`
	Envoy   int              `json:"envoy"` // the status by which Envoy refuses it itself; 0: it asks the filter
	Want    map[string]any   `json:"want"`
}

// texts are one text or a list of them.
type texts []string

func (x *texts) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*x = texts{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(x))
}

// query is a line of the batch of sallyport check.
type query struct {
	Claims  json.RawMessage     `json:"claims,omitempty"`
	Token   string              `json:"token,omitempty"`
	Method  string              `json:"method"`
	Path    string              `json:"path"`
	Host    string              `json:"host,omitempty"`
	Headers map[string][]string `json:"headers,omitempty"`
}

// loadStories reads all stories, with the keys of the tests in their issuers.
func loadStories(t *testing.T, keys *keys) []story {
	t.Helper()
	pattern := filepath.Join(envoytest.Root(t), "policydata", "testdata", "decide", "*.txtar")
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories at %s: %v", pattern, err)
	}
	stories := make([]story, len(files))
	for i, f := range files {
		stories[i] = loadStory(t, f, keys)
	}
	return stories
}

func loadStory(t *testing.T, file string, keys *keys) story {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := story{name: strings.TrimSuffix(filepath.Base(file), ".txtar")}
	for _, f := range archive.Files {
		switch f.Name {
		case "policies.yaml":
			s.policies = strings.ReplaceAll(string(f.Data), "{keys: []}", keys.jwks(t))
			s.issuers = readIssuers(t, f.Data)
		case "cases.jsonl":
			s.cases = readCases(t, file, f.Data)
		default:
			t.Fatalf("%s: unknown part %q", file, f.Name)
		}
	}
	if s.policies == "" || len(s.cases) == 0 {
		t.Fatalf("%s: needs policies.yaml and cases.jsonl", file)
	}
	return s
}

func readCases(t *testing.T, file string, data []byte) []storyCase {
	t.Helper()
	var cases []storyCase
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		decoder := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		decoder.DisallowUnknownFields()
		var c storyCase
		if err := decoder.Decode(&c); err != nil {
			t.Fatalf("%s: case %d: %v", file, n, err)
		}
		if c.Name == "" || c.Want["reason"] == nil {
			t.Fatalf("%s: case %d: needs a name and a reason", file, n)
		}
		cases = append(cases, c)
	}
	return cases
}

// query returns the case for sallyport check. A scheme of its own needs the
// token in a header, as a proxy gets it.
func (c *storyCase) query(t *testing.T, s *story, keys *keys) query {
	t.Helper()
	q := query{Claims: c.Claims, Token: c.Token, Method: c.Method, Path: c.Path, Host: c.Host, Headers: map[string][]string{}}
	for name, values := range c.Headers {
		q.Headers[name] = values
	}
	if c.Mint != nil {
		q.Token = keys.mint(t, s, c.Mint)
	}
	if c.Scheme != "" {
		q.Headers["authorization"] = append(q.Headers["authorization"], c.Scheme+" "+q.Token)
		q.Token = ""
	}
	return q
}

// compare reports where a decision is not as wanted.
func (c *storyCase) compare(t *testing.T, decision []byte) {
	t.Helper()
	var got map[string]any
	if err := json.Unmarshal(decision, &got); err != nil {
		t.Fatalf("decision %q: %v", decision, err)
	}
	for name, want := range c.Want {
		if !reflect.DeepEqual(got[name], want) {
			t.Errorf("%s is %s, want %s, in %s", name, text(got[name]), text(want), decision)
		}
	}
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}
