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

// TestStoriesCoverReasons holds that each reason which policies and tokens can
// have stands in some story. The others need more than these: replayed a store of
// seen tokens; no_snapshot, stale_snapshot and internal_error a filter that has
// none, an old one, or is broken.
func TestStoriesCoverReasons(t *testing.T) {
	missing := map[string]bool{
		"allowed": true, "no_token": true, "bad_token": true, "expired": true, "not_yet_valid": true, "unknown_issuer": true,
		"bad_audience": true, "bad_signature": true, "revoked": true, "bad_path": true, "user_disabled": true,
		"service_disabled": true, "unknown_user": true, "denied_by_rule": true, "condition_error": true, "no_matching_rule": true, "service_gate": true,
	}
	for _, s := range loadStories(t, newKeys(t)) {
		for i := range s.cases {
			reason, _ := s.cases[i].Want["reason"].(string)
			delete(missing, reason)
		}
	}
	if len(missing) > 0 {
		t.Errorf("no story has %v", missing)
	}
}
