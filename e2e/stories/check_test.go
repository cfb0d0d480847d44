package stories

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/e2e/hosttest"
)

// TestStoriesInGo asks the engine as Go code, by sallyport check.
func TestStoriesInGo(t *testing.T) { checkStories(t, "go") }

// TestStoriesInWazero asks the built filter in wazero, by sallyport check.
func TestStoriesInWazero(t *testing.T) { checkStories(t, "wasm") }

func checkStories(t *testing.T, engine string) {
	keys := newKeys(t)
	for _, s := range loadStories(t, keys) {
		t.Run(s.name, func(t *testing.T) {
			var batch strings.Builder
			for i := range s.cases {
				line, err := json.Marshal(s.cases[i].query(t, &s, keys))
				if err != nil {
					t.Fatal(err)
				}
				batch.Write(append(line, '\n'))
			}
			dir := t.TempDir()
			policies, requests := filepath.Join(dir, "policies.yaml"), filepath.Join(dir, "requests.jsonl")
			write(t, policies, s.policies)
			write(t, requests, batch.String())
			out := hosttest.Run(t, 0, "", "check", "-f", policies, "--batch", requests, "--engine", engine)
			decisions := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
			if len(decisions) != len(s.cases) {
				t.Fatalf("%d decisions for %d cases", len(decisions), len(s.cases))
			}
			for i := range s.cases {
				t.Run(s.cases[i].Name, func(t *testing.T) { s.cases[i].compare(t, []byte(decisions[i])) })
			}
		})
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
